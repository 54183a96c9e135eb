package config

import (
	"net/netip"
)

func (v *checker) tunnel() {
	t := v.Tunnel
	if t == nil {
		return
	}
	first := map[netip.Addr]int{}
	for i, p := range t.Address {
		key := index("tunnel.address", i)
		if !p.IsValid() {
			v.report(key, "missing: write an address")
		} else if earlier, twice := first[p.Addr()]; twice {
			v.report(key, "%s appears twice, first as %s", p.Addr(), index("tunnel.address", earlier))
		} else {
			first[p.Addr()] = i
		}
	}
	v.tunnelPeers()
	v.endpoints()
}

func (v *checker) tunnelPeers() {
	keys := map[PublicKey]int{}
	networks := map[netip.Prefix]string{}
	for i, p := range v.Tunnel.Peers {
		at := index("tunnel.peer", i)
		if earlier, twice := keys[p.PublicKey]; twice && p.PublicKey != (PublicKey{}) {
			v.report(at+".public_key", "appears twice, first at %s", index("tunnel.peer", earlier))
		} else {
			keys[p.PublicKey] = i
		}
		for j, network := range p.AllowedIPs {
			key := index(at+".allowed_ips", j)
			if !network.IsValid() {
				continue
			}
			if network.Bits() == 0 {
				v.report(key, "%s would send all that leaves this node into the tunnel", network)
			}
			if earlier, twice := networks[network.Masked()]; twice {
				v.report(key, "%s appears twice, first as %s", network, earlier)
			} else {
				networks[network.Masked()] = key
			}
		}
	}
}

// endpoints checks that no peer is reached through the tunnel that leads to it.
func (v *checker) endpoints() {
	for i := range v.Tunnel.Peers {
		endpoint, err := parseEndpoint(v.Tunnel.Peers[i].Endpoint)
		if err != nil || !endpoint.IsValid() {
			continue
		}
		for j, other := range v.Tunnel.Peers {
			for k, network := range other.AllowedIPs {
				if network.Bits() > 0 && network.Contains(endpoint.Addr()) {
					v.report(index("tunnel.peer", i)+".endpoint", "%s is in %s, %s: the tunnel would lead into itself",
						endpoint.Addr(), index(index("tunnel.peer", j)+".allowed_ips", k), network)
				}
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
			v.report(key, "%s appears twice, first as %s", addr, index("anycast.addresses", earlier))
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
			v.report(key, "%s is in none of anycast.prefixes: no route would lead to it", addr)
		}
	}
	v.announced(served)
}

// announced checks the prefixes; served says which of them holds a service address, and is nil
// where that is unknown.
func (v *checker) announced(served []bool) {
	first := map[netip.Prefix]int{}
	for i, p := range v.Anycast.Prefixes {
		key := index("anycast.prefixes", i)
		switch earlier, twice := first[p.Masked()]; {
		case !p.IsValid():
		case twice:
			v.report(key, "%s appears twice, first as %s", p, index("anycast.prefixes", earlier))
		case p.Bits() == 0:
			v.report(key, "%s is the default route, which no node may announce", p)
		case served != nil && !served[i]:
			v.report(key, "%s holds none of anycast.addresses: the node would attract traffic that it cannot answer", p)
		}
		first[p.Masked()] = i
	}
}
