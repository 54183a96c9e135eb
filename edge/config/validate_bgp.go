package config

import (
	"net/netip"
	"slices"
	"strings"
)

// maxCommunities keeps the attributes of a route well below the 4,096 bytes of a BGP message; it
// counts for communities and for large ones.
const maxCommunities = 64

func (v *checker) bgp() {
	b := v.BGP
	if b == nil {
		return
	}
	v.bgpHealth()
	v.probed()
	if len(v.Anycast.Prefixes) == 0 {
		v.report("anycast.prefixes", "missing: there is a [bgp] section, and nothing to announce")
	}
	first := map[netip.Addr]int{}
	for i := range b.Peers {
		v.bgpPeer(index("bgp.peer", i), &b.Peers[i])
		if earlier, twice := first[b.Peers[i].Address]; twice && b.Peers[i].Address.IsValid() {
			v.report(index("bgp.peer", i)+".address", "%s appears twice, first at %s", b.Peers[i].Address, index("bgp.peer", earlier))
		} else {
			first[b.Peers[i].Address] = i
		}
	}
}

func (v *checker) bgpHealth() {
	h := &v.BGP.Health
	if !v.sound("bgp.health.interval", "bgp.health.timeout", "ingress.banner_delay") {
		return
	}
	switch delay := v.Ingress.BannerDelay; {
	case h.Timeout < h.Interval:
		v.report("bgp.health.timeout", "%s is shorter than bgp.health.interval, %s", h.Timeout, h.Interval)
	case h.Timeout <= delay:
		v.report("bgp.health.timeout", "%s is not longer than ingress.banner_delay, %s: no banner would come in time", h.Timeout, delay)
	}
}

// probed checks that the speaker can have a banner of each service address: that the node listens
// there, on a port that is known beforehand.
func (v *checker) probed() {
	if len(v.Ingress.Listen) == 0 {
		return // which is reported, here as below
	}
	for _, text := range v.Ingress.Listen {
		if _, err := parseListen(text); err != nil {
			return
		}
	}
	points := v.ServicePoints()
	for i, p := range v.Anycast.Addresses {
		at := func(point netip.AddrPort) bool { return point.Addr() == p.Addr() }
		if p.IsSingleIP() && !slices.ContainsFunc(points, at) {
			v.report(index("anycast.addresses", i), "%s is announced, and ingress.listen has no port for it (0, any port, does not count)", p.Addr())
		}
	}
}

func (v *checker) bgpPeer(at string, p *BGPPeer) {
	if p.Address.IsValid() {
		v.unicast(at+".address", p.Address, "a router's address")
	}
	if p.Prepend > 0 && p.ASN == v.BGP.ASN && p.ASN != 0 {
		v.report(at+".prepend", "must be 0 on an iBGP session: a router of the own AS takes a path with its own number for a loop")
	}
	v.communities(at+".communities", p.Communities)
	v.localAddress(at+".local_address", p)
	v.nextHops(at, p)
	v.families(at, p)
}

func (v *checker) communities(key string, texts []string) {
	count := map[int]int{} // by the colons in it
	for _, c := range texts {
		if checkCommunity(c) != nil {
			continue
		}
		if colons := strings.Count(c, ":"); count[colons] < maxCommunities {
			count[colons]++
		} else {
			v.report(key, "has more than %d communities of a kind", maxCommunities)
		}
	}
}

func (v *checker) localAddress(key string, p *BGPPeer) {
	local := p.LocalAddress
	switch {
	case !local.IsValid():
	case p.Address.IsValid() && local.Is4() != p.Address.Is4():
		v.report(key, "%s is %s and the router's address is %s", local, protocol(local), protocol(p.Address))
	case local == p.Address:
		v.report(key, "%s is the router's own address", local)
	case v.isService(local):
		v.report(key, "%s is a service address: what the router sends there could end at another node", local)
	default:
		v.unicast(key, local, "the node's end of a session")
	}
}

func (v *checker) nextHops(at string, p *BGPPeer) {
	for _, hop := range []struct {
		key  string
		addr netip.Addr
		four bool
	}{
		{at + ".next_hop4", p.NextHop4, true},
		{at + ".next_hop6", p.NextHop6, false},
	} {
		switch {
		case !hop.addr.IsValid():
		case hop.addr.Is4() != hop.four:
			v.report(hop.key, "%s is %s", hop.addr, protocol(hop.addr))
		case hop.addr.IsLoopback():
			v.report(hop.key, "%s cannot be a next hop", hop.addr)
		case v.isService(hop.addr):
			v.report(hop.key, "%s is a service address: the route would lead to itself", hop.addr)
		default:
			v.unicast(hop.key, hop.addr, "a next hop")
		}
	}
}

func (v *checker) families(at string, p *BGPPeer) {
	first := map[string]int{}
	for i, family := range p.Families {
		key, hop := index(at+".families", i), nextHopKey[family]
		if earlier, twice := first[family]; twice {
			v.report(key, "%s appears twice, first as %s", quote(family), index(at+".families", earlier))
			continue
		}
		first[family] = i
		if hop != "" && p.Address.IsValid() && !slices.Contains(p.reachable(), family) && !v.faulty[at+"."+hop] {
			v.report(key, "there is no next hop: the session is over %s; write %s", protocol(p.Address), hop)
		}
	}
}

var nextHopKey = map[string]string{FamilyIPv4: "next_hop4", FamilyIPv6: "next_hop6"}

// unicast reports an address that is not that of one host, or that is valid on one link only.
func (v *checker) unicast(key string, a netip.Addr, what string) {
	switch {
	case a.IsUnspecified() || a.IsMulticast():
		v.report(key, "%s cannot be %s", a, what)
	case a.IsLinkLocalUnicast():
		v.report(key, "%s is valid on one link only and cannot be %s", a, what)
	}
}

// isService reports whether an address is among the service addresses.
func (v *checker) isService(a netip.Addr) bool {
	return slices.ContainsFunc(v.Anycast.Addresses, func(p netip.Prefix) bool { return p.IsSingleIP() && p.Addr() == a })
}

// protocol names the family of an address as people do.
func protocol(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}
