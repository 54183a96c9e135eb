package plumb

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"net/netip"
	"slices"
)

// Purposes of a Want.
const (
	ForService = "service" // mail is accepted there
	ForSource  = "source"  // mail is sent from there
	ForTunnel  = "tunnel"  // core is reached there
)

// Want is a thing that a config asks for.
type Want struct {
	Thing
	Purpose string // one of the constants above
}

// Priorities of our rules: 2500 to 2599 are ours. They stand behind what comes
// before all else (0, the local table; 1000, devices of a VRF) and in front of
// what other programs commonly use (from 5000 on) and of the main table (32766).
const (
	tunnelPriority = 2500
	sourcePriority = 2550
)

// Metrics of our routes. The smallest is 0 in IPv4; IPv6 takes 0 for 1024. The
// route to the network of a source, and the one that makes a prefix unreachable,
// are worse than any that a person writes.
const (
	bestMetric6       = 1
	defaultMetric6    = 1024
	networkMetric     = 3_999_999_999
	unreachableMetric = 4_000_000_000
)

// Service is what a service address needs: to be on lo, and never to be the
// source of what the node itself starts, which answers would not find their
// way back to: to the world it is the address of all nodes.
//
// What the kernel does: for IPv4 it takes the first address of the device that a
// packet leaves by; if that has none, it walks all devices, beginning with lo,
// for one of scope global (inet_select_addr). Scope host keeps out of both, and
// changes nothing for what comes in. For IPv6 it weighs the addresses of all
// devices (RFC 6724); a deprecated one comes last, but still before one of a
// smaller scope: a node that has no other global IPv6 address would still send
// from it. What binds to the address by itself gets it in both families.
func Service(address netip.Prefix) []Want {
	a := Address{Prefix: address, Dev: "lo"}
	if address.Addr().Is4() {
		a.Host = true
	} else {
		a.NoDAD, a.Deprecated = true, true
	}
	return []Want{{a, ForService}}
}

// Source is an address that mail is sent from.
type Source struct {
	Address   netip.Prefix // with the length of its network
	Interface string
	Gateway   netip.Addr // on Interface, of Address's family; the zero Addr: as the main table says
}

// Sources is what sources need: each address on its interface, and for one with
// a gateway a table of its own with a default route, and a rule that sends what
// comes from the address there. Behind that route stands one that says
// unreachable: it stays when the interface goes down and takes the other away, so
// that mail waits and does not leave by another uplink. An IPv6 source is
// deprecated, so that the node does not send anything else from it; an IPv4 one
// comes after the addresses of its interface that are there already.
//
// An IPv4 source is a /32, with the route to its network beside it. If it had the
// network's length, the kernel would count each address that others add to that
// network later as secondary to it, and take them away with it (unless sysctl
// promote_secondaries is set), or it with theirs. The route serves a node that has
// no other address there; where there is one, its own route is better.
//
// The number of the table of an IPv4 source is its address as a number:
// 198.51.100.10 has table 3325256714. That of an IPv6 source is 2^31 plus 31
// bits of the FNV-1a hash of its 16 octets; of two alike, the greater address
// takes the next free number. The kernel has tables of IPv4 and of IPv6 apart,
// and numbers as these stand far from those that people choose.
//
// The kernel asks rules one after the other, which costs about 10 ns each: a route
// that is not known yet is found in 1 us without sources, in 11 us with a thousand
// that have gateways (BenchmarkRoute).
func Sources(sources []Source) []Want {
	sources = slices.Clone(sources)
	slices.SortFunc(sources, func(a, b Source) int { return a.Address.Addr().Compare(b.Address.Addr()) })
	taken := map[uint32]bool{}
	var wants []Want
	for _, s := range sources {
		addr := s.Address.Addr()
		from := netip.PrefixFrom(addr, addr.BitLen())
		if addr.Is6() {
			wants = append(wants, Want{Address{Prefix: s.Address, Dev: s.Interface, Deprecated: true}, ForSource})
		} else {
			wants = append(wants, Want{Address{Prefix: from, Dev: s.Interface}, ForSource})
			if network := s.Address.Masked(); !network.IsSingleIP() {
				wants = append(wants, Want{Route{Prefix: network, Dev: s.Interface, Table: mainTable, Metric: networkMetric}, ForSource})
			}
		}
		if !s.Gateway.IsValid() {
			continue
		}
		table, metric := sourceTable(addr, taken), uint32(0)
		if addr.Is6() {
			metric = defaultMetric6
		}
		wants = append(wants,
			Want{Route{Prefix: all(familyOf(from)), Unreachable: true, Table: table, Metric: unreachableMetric}, ForSource},
			Want{Route{Prefix: all(familyOf(from)), Via: s.Gateway.WithZone(""), Dev: s.Interface, Table: table, Metric: metric}, ForSource},
			Want{Rule{From: from, Table: table, Priority: sourcePriority}, ForSource})
	}
	return wants
}

// sourceTable is the number of a source's table. taken holds those of IPv6.
func sourceTable(addr netip.Addr, taken map[uint32]bool) uint32 {
	if addr.Is4() {
		octets := addr.As4()
		return binary.BigEndian.Uint32(octets[:])
	}
	octets, hash := addr.As16(), fnv.New32a()
	_, _ = hash.Write(octets[:]) // it never fails
	table := 1<<31 | hash.Sum32()
	for taken[table] {
		table = 1<<31 | (table + 1)
	}
	taken[table] = true
	return table
}

// Tunnel is what the tunnel's device needs: its addresses, and for each network
// behind it, and each network that its addresses are in,
//
//   - a route over the device, for those behind it, with the best metric;
//   - a route that says unreachable, with the worst: it stays when the device and its
//     routes go away, and keeps the prefix from the default route;
//   - a rule that asks the main table for this prefix before the tables of
//     sources, where a default route would win.
//
// The addresses come without the kernel's own route to their network: it would
// stand where a network behind the device is routed, and reach beyond what
// WireGuard lets through. The routes name no MTU and no MSS: without them the
// kernel takes both from the device at each new connection (its MTU less 40
// octets, or 60), and so it is never a stale one.
func Tunnel(device string, addresses, behind []netip.Prefix) []Want {
	var wants []Want
	guarded := map[netip.Prefix]bool{}
	guard := func(p netip.Prefix) {
		if guarded[p] {
			return
		}
		guarded[p] = true
		wants = append(wants,
			Want{Route{Prefix: p, Unreachable: true, Table: mainTable, Metric: unreachableMetric}, ForTunnel},
			Want{Rule{To: p, Table: mainTable, Priority: tunnelPriority}, ForTunnel})
	}
	for _, p := range behind {
		p = p.Masked()
		guard(p)
		route := Route{Prefix: p, Dev: device, Table: mainTable}
		if p.Addr().Is6() {
			route.Metric = bestMetric6
		}
		wants = append(wants, Want{route, ForTunnel})
	}
	for _, p := range addresses {
		if !p.IsSingleIP() {
			guard(p.Masked())
		}
		wants = append(wants, Want{Address{Prefix: p, Dev: device, NoDAD: p.Addr().Is6(), NoPrefixRoute: true}, ForTunnel})
	}
	return wants
}

// order sorts wants as they are added, and takes out what stands twice.
func order(wants []Want) []Want {
	sorted := slices.Clone(wants)
	slices.SortStableFunc(sorted, func(a, b Want) int { return cmp.Compare(a.rank(), b.rank()) })
	seen := map[Thing]bool{}
	return slices.DeleteFunc(sorted, func(w Want) bool {
		twice := seen[w.place()]
		seen[w.place()] = true
		return twice
	})
}
