package config

import (
	"net/netip"
	"time"
)

// network reports a prefix that is missing or has bits set behind its length.
func (v *checker) network(key string, p netip.Prefix) {
	switch {
	case !p.IsValid():
		v.report(key, "missing: write a network")
	case p != p.Masked():
		v.report(key, "%s has bits set behind its length; write %s", p, p.Masked())
	}
}

// seconds reports a duration that is not whole seconds, which its protocol counts in.
func (v *checker) seconds(key string, d Duration) {
	if d%Duration(time.Second) != 0 {
		v.report(key, "%s is not a whole number of seconds", d)
	}
}

func (v *checker) tunnel() {
	t := v.Tunnel
	if t == nil {
		return
	}
	v.named("tunnel.interface", t.Interface, "the tunnel's device needs a name", checkInterface)
	v.named("tunnel.private_key_file", t.PrivateKeyFile, "the tunnel needs a private key", checkPath)
	if len(t.Address) == 0 {
		v.report("tunnel.address", `missing: give this node an address in the tunnel, such as ["10.77.0.2/24"]`)
	}
	first := map[netip.Addr]int{}
	for i, p := range t.Address {
		key := index("tunnel.address", i)
		if !p.IsValid() {
			v.report(key, "missing: write an address")
		} else if earlier, twice := first[p.Addr()]; twice {
			v.report(key, "%s stands twice, first as %s", p.Addr(), index("tunnel.address", earlier))
		} else {
			first[p.Addr()] = i
		}
	}
	v.tunnelPeers()
}

func (v *checker) tunnelPeers() {
	if len(v.Tunnel.Peers) == 0 {
		v.report("tunnel.peer", "missing: a tunnel needs at least one [[tunnel.peer]]")
	}
	keys := map[PublicKey]int{}
	networks := map[netip.Prefix]string{}
	for i, p := range v.Tunnel.Peers {
		at := index("tunnel.peer", i)
		if p.PublicKey == (PublicKey{}) {
			v.report(at+".public_key", "missing: a peer is known by its public key")
		} else if earlier, twice := keys[p.PublicKey]; twice {
			v.report(at+".public_key", "stands twice, first at %s", index("tunnel.peer", earlier))
		} else {
			keys[p.PublicKey] = i
		}
		v.optional(at+".endpoint", p.Endpoint, func(s string) error {
			_, err := parseEndpoint(s)
			return err
		})
		limit[Duration]{at + ".keepalive", p.Keepalive, 0, Duration(65535 * time.Second)}.check(v)
		v.seconds(at+".keepalive", p.Keepalive)

		if len(p.AllowedIPs) == 0 {
			v.report(at+".allowed_ips", `missing: say which networks are behind the peer, such as ["10.77.0.0/24"]`)
		}
		for j, network := range p.AllowedIPs {
			key := index(at+".allowed_ips", j)
			v.network(key, network)
			if !network.IsValid() {
				continue
			}
			if network.Bits() == 0 {
				v.report(key, "%s would send all that leaves this node into the tunnel", network)
			}
			if earlier, twice := networks[network.Masked()]; twice {
				v.report(key, "%s stands twice, first as %s", network, earlier)
			} else {
				networks[network.Masked()] = key
			}
		}
	}
}

func (v *checker) anycast() {
	a := &v.Anycast
	served := make([]bool, len(a.Prefixes))
	first := map[netip.Addr]int{}
	for i, p := range a.Addresses {
		key := index("anycast.addresses", i)
		addr := p.Addr()
		switch {
		case !p.IsValid():
			v.report(key, "missing: write an address")
			served = nil
			continue
		case !p.IsSingleIP():
			v.report(key, "%s is a network; a service address is a single one: %s/%d", p, addr, addr.BitLen())
			served = nil
			continue
		case addr.IsUnspecified() || addr.IsMulticast() || addr.IsLoopback():
			v.report(key, "%s cannot be a service address", addr)
			continue
		}
		if earlier, twice := first[addr]; twice {
			v.report(key, "%s stands twice, first as %s", addr, index("anycast.addresses", earlier))
			continue
		}
		first[addr] = i
		inside := false
		for j, prefix := range a.Prefixes {
			if prefix.Contains(addr) && served != nil {
				served[j] = true
			}
			inside = inside || prefix.Contains(addr) || !prefix.IsValid()
		}
		if !inside {
			v.report(key, "%s is in none of anycast.prefixes: nobody would find it", addr)
		}
	}
	v.announced(served)
}

// announced checks the prefixes; served tells which of them holds a service address, and is nil
// where that cannot be told.
func (v *checker) announced(served []bool) {
	first := map[netip.Prefix]int{}
	for i, p := range v.Anycast.Prefixes {
		key := index("anycast.prefixes", i)
		v.network(key, p)
		switch earlier, twice := first[p.Masked()]; {
		case !p.IsValid():
		case twice:
			v.report(key, "%s stands twice, first as %s", p, index("anycast.prefixes", earlier))
		case p.Bits() == 0:
			v.report(key, "%s is the default route, which no node may announce", p)
		case served != nil && !served[i]:
			v.report(key, "%s holds none of anycast.addresses: the node would attract traffic that it cannot answer", p)
		}
		first[p.Masked()] = i
	}
}

func (v *checker) bgp() {
	b := v.BGP
	if b == nil {
		return
	}
	v.asn("bgp.asn", b.ASN)
	switch {
	case !b.RouterID.IsValid():
		v.report("bgp.router_id", `missing: write an IPv4 address that no other router has, such as "198.51.100.2"`)
	case !b.RouterID.Is4() || b.RouterID.IsUnspecified():
		v.report("bgp.router_id", "%s cannot be a router id; write an IPv4 address", b.RouterID)
	}
	v.named("bgp.control", b.Control, "the control socket needs a path", checkSocket)
	if b.Control != "" && b.Control == v.Node.Control {
		v.report("bgp.control", "is node.control as well; each program needs a socket of its own")
	}
	if len(v.Anycast.Prefixes) == 0 {
		v.report("anycast.prefixes", "missing: there is a [bgp] section, and nothing to announce")
	}
	if len(b.Peers) == 0 {
		v.report("bgp.peer", "missing: a speaker needs at least one [[bgp.peer]]")
	}
	first := map[netip.Addr]int{}
	for i := range b.Peers {
		v.bgpPeer(index("bgp.peer", i), &b.Peers[i])
		if earlier, twice := first[b.Peers[i].Address]; twice && b.Peers[i].Address.IsValid() {
			v.report(index("bgp.peer", i)+".address", "%s stands twice, first at %s", b.Peers[i].Address, index("bgp.peer", earlier))
		} else {
			first[b.Peers[i].Address] = i
		}
	}
}

func (v *checker) bgpPeer(at string, p *BGPPeer) {
	switch {
	case !p.Address.IsValid():
		v.report(at+".address", "missing: write the router's IP address")
	case p.Address.IsUnspecified() || p.Address.IsMulticast():
		v.report(at+".address", "%s cannot be a router's address", p.Address)
	}
	v.asn(at+".asn", p.ASN)
	const shortest, longest = Duration(3 * time.Second), Duration(65535 * time.Second) // RFC 4271 4.2
	if p.HoldTime < shortest || p.HoldTime > longest {
		v.report(at+".hold_time", "must be from %s to %s, not %s", shortest, longest, p.HoldTime)
	}
	v.seconds(at+".hold_time", p.HoldTime)
	v.optional(at+".password_file", p.PasswordFile, checkPath)
	for i, c := range p.Communities {
		v.fault(index(at+".communities", i), checkCommunity(c))
	}
}

// asn reports what cannot be the number of an autonomous system: 0 (RFC 7607), the last of 16 and
// of 32 bits (RFC 7300) and AS_TRANS (RFC 6793).
func (v *checker) asn(key string, asn uint32) {
	switch asn {
	case 0:
		v.report(key, "missing or 0: write the number of an autonomous system, 1 to 4294967294")
	case 23456, 65535, 4294967295:
		v.report(key, "%d is reserved and cannot be the number of an autonomous system", asn)
	}
}

func (v *checker) shield() {
	s := v.Shield
	if s == nil {
		return
	}
	v.oneOf("shield.mode", s.Mode, "auto", "native", "generic", "off")
	if len(s.Interfaces) == 0 && s.Mode != "off" {
		v.report("shield.interfaces", `missing: say where packets come in, such as ["eth0"], or set mode = "off"`)
	}
	first := map[string]int{}
	for i, name := range s.Interfaces {
		key := index("shield.interfaces", i)
		if err := checkInterface(name); err != nil {
			v.report(key, "%s", err)
		} else if earlier, twice := first[name]; twice {
			v.report(key, "%s stands twice, first as %s", quote(name), index("shield.interfaces", earlier))
		} else {
			first[name] = i
		}
	}
}
