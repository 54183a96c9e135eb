package config

import (
	"net/netip"
	"slices"
)

// ServicePoints returns where mail is taken at the service addresses: each of them with each port of
// ingress.listen that serves it, in the order of the file. [::] serves every address, 0.0.0.0 every
// IPv4 one, any other address itself alone. A port 0 is not known before the node listens, and is
// left out.
func (c *Config) ServicePoints() []netip.AddrPort {
	var points []netip.AddrPort
	for _, service := range c.Anycast.Addresses {
		if !service.IsSingleIP() {
			continue
		}
		for _, text := range c.Ingress.Listen {
			listen, err := parseListen(text)
			if err != nil {
				continue
			}
			point := netip.AddrPortFrom(service.Addr(), listen.Port())
			if overlap(listen, point) && !slices.Contains(points, point) {
				points = append(points, point)
			}
		}
	}
	return points
}

// The families of addresses, as BGPPeer.Families names them.
const (
	FamilyIPv4 = "ipv4"
	FamilyIPv6 = "ipv6"
)

func familyOf(a netip.Addr) string {
	if a.Is4() {
		return FamilyIPv4
	}
	return FamilyIPv6
}

// OfferedFamilies returns the families that the router is offered: Families, or where that is
// empty, all that have a next hop. It does not look at the prefixes: the first prefix of a family
// must not cost a session that carries the other one.
func (p *BGPPeer) OfferedFamilies() []string {
	if len(p.Families) > 0 {
		return p.Families
	}
	return p.reachable()
}

// reachable returns the families that have a next hop: that of the session, and those with one of
// their own.
func (p *BGPPeer) reachable() []string {
	var families []string
	if p.Address.Is4() || p.NextHop4.IsValid() {
		families = append(families, FamilyIPv4)
	}
	if p.Address.Is6() || p.NextHop6.IsValid() {
		families = append(families, FamilyIPv6)
	}
	return families
}

// Unoffered returns the prefixes that are announced to none of the routers, because none of them is
// offered their family. In most networks that is a mistake; the speaker warns of it, and works.
func (c *Config) Unoffered() []netip.Prefix {
	if c.BGP == nil {
		return nil
	}
	var unoffered []netip.Prefix
	for _, prefix := range c.Anycast.Prefixes {
		family := familyOf(prefix.Addr())
		if !slices.ContainsFunc(c.BGP.Peers, func(p BGPPeer) bool { return slices.Contains(p.OfferedFamilies(), family) }) {
			unoffered = append(unoffered, prefix)
		}
	}
	return unoffered
}
