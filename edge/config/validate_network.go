package config

import (
	"net/netip"
	"time"
)

const (
	minMTU = 1280  // IPv6 asks for it (RFC 8200 5)
	maxMTU = 65455 // what is left of an IP packet by IPv6, UDP and WireGuard

	// soonest is the least time after which something is done again and again.
	soonest = Duration(100 * time.Millisecond)
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
	v.named("tunnel.private_key_file", t.PrivateKeyFile, "the tunnel needs a private key", checkSecret)
	v.oneOf("tunnel.implementation", t.Implementation, "auto", "kernel", "userspace")
	if t.MTU != 0 && (t.MTU < minMTU || t.MTU > maxMTU) {
		v.report("tunnel.mtu", "must be from %d to %d, or 0 to derive it from the routes, not %d", minMTU, maxMTU, t.MTU)
	}
	limit[Size]{"tunnel.probe_size", t.ProbeSize, KiB, 46 * KiB}.check(v)
	if t.ProbeInterval != 0 {
		limit[Duration]{"tunnel.probe_interval", t.ProbeInterval, soonest, Day}.check(v)
	}
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
	v.endpoints()
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
		v.optional(at+".preshared_key_file", p.PresharedKeyFile, checkSecret)
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

func (v *checker) drain() {
	for _, l := range []limit[Duration]{
		{"drain.graceful", v.Drain.Graceful, 0, Duration(time.Hour)},
		{"drain.confirm", v.Drain.Confirm, 0, Duration(10 * time.Minute)},
		{"drain.converge", v.Drain.Converge, 0, Duration(time.Hour)},
		{"drain.sessions", v.Drain.Sessions, 0, Day},
		{"drain.silence", v.Drain.Silence, 0, Day},
		{"drain.flush", v.Drain.Flush, 0, month},
	} {
		l.check(v)
	}
}

func (v *checker) net() {
	limit[Duration]{"net.repair", v.Net.Repair, soonest, Duration(time.Hour)}.check(v)
}
