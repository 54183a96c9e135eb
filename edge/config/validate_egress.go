package config

import (
	"net/netip"
)

func (v *checker) egress() {
	names := map[string]int{}
	own := v.ownAddresses()
	for i := range v.Egress.Sources {
		s, at := &v.Egress.Sources[i], index("egress.source", i)
		if earlier, twice := names[s.Name]; twice && s.Name != "" {
			v.report(at+".name", "%s appears twice, first at %s", quote(s.Name), index("egress.source", earlier))
		} else {
			names[s.Name] = i
		}
		if other, taken := own[s.Address.Addr()]; taken {
			v.report(at+".address", "%s is also %s; a source has an address of its own", s.Address.Addr(), other)
		} else if s.Address.IsValid() {
			own[s.Address.Addr()] = at + ".address"
		}
		v.sourceAddress(at+".address", s.Address)
		if v.Tunnel != nil && s.Interface == v.Tunnel.Interface && s.Interface != "" {
			v.report(at+".interface", "%s is the tunnel, which leads to core and not to the world", quote(s.Interface))
		}
	}
	for i := range v.Egress.Sources {
		v.gateway(index("egress.source", i)+".gateway", &v.Egress.Sources[i], own)
	}
}

// ownAddresses maps the node's addresses that no source may have to their keys.
func (v *checker) ownAddresses() map[netip.Addr]string {
	own := map[netip.Addr]string{}
	for i, p := range v.Anycast.Addresses {
		if p.IsSingleIP() {
			own[p.Addr()] = index("anycast.addresses", i)
		}
	}
	if v.Tunnel != nil {
		for i, p := range v.Tunnel.Address {
			if p.IsValid() {
				own[p.Addr()] = index("tunnel.address", i)
			}
		}
	}
	return own
}

// sourceAddress reports what cannot be a host's address. A network of two addresses (RFC 3021, RFC
// 6164) has one for each end; in a larger one the first is the network itself, and the last one of
// IPv4 is everyone in it.
func (v *checker) sourceAddress(key string, p netip.Prefix) {
	a := p.Addr()
	switch {
	case !p.IsValid():
	case a.IsLoopback():
		v.report(key, "%s cannot be a source of mail", a)
	case a.IsUnspecified() || a.IsMulticast() || a.IsLinkLocalUnicast():
		v.unicast(key, a, "a source of mail")
	case p.Bits() >= a.BitLen()-1:
	case p == p.Masked():
		v.report(key, "%s is a network; write an address in it, with the network's length", p)
	case a.Is4() && !p.Contains(a.Next()):
		v.report(key, "%s is the broadcast address of its network", p)
	}
	for i, prefix := range v.Anycast.Prefixes {
		if prefix.Contains(a) {
			v.report(key, "%s is inside %s, %s: answers to it could end at another node", a, index("anycast.prefixes", i), prefix)
		}
	}
}

func (v *checker) gateway(key string, s *EgressSource, own map[netip.Addr]string) {
	g := s.Gateway
	if !g.IsValid() || !s.Address.IsValid() {
		return
	}
	switch other, taken := own[g]; {
	case g.Is4() != s.Address.Addr().Is4():
		v.report(key, "%s is %s and the source's address is %s", g, protocol(g), protocol(s.Address.Addr()))
	case g == s.Address.Addr():
		v.report(key, "%s is the source itself; write the router's address", g)
	case taken:
		v.report(key, "%s is this node itself, by %s; write the router's address", g, other)
	case g.Is6() && g.IsLinkLocalUnicast():
	case !s.Address.Masked().Contains(g):
		v.report(key, "%s is outside of %s, the network of the source's address: nothing could be sent to it", g, s.Address.Masked())
	}
}
