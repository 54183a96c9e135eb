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

// Priorities of our rules: 2500 to 2599 are ours. They come after what precedes all else (0, the
// local table; 1000, devices of a VRF) and before what other programs commonly use (from 5000 on)
// and the main table (32766).
const (
	tunnelPriority = 2500
	sourcePriority = 2550
)

// Metrics of our routes. The smallest is 0 in IPv4; IPv6 reads 0 as 1024. The route to a source's
// network, and the one that makes a prefix unreachable, are worse than any that a person writes.
const (
	bestMetric6       = 1
	defaultMetric6    = 1024
	networkMetric     = 3_999_999_999
	unreachableMetric = 4_000_000_000
)

// Service is what a service address needs: to be on lo, and never to be the source of traffic that
// the node itself starts. Answers would not find their way back, since to the world it is the
// address of every node.
//
// What the kernel does: for IPv4 it takes the first address of the device that a packet leaves by;
// if that has none, it walks all devices, beginning with lo, for one of scope global
// (inet_select_addr). Scope host excludes an address from both, and changes nothing for what comes
// in. For IPv6 it weighs the addresses of all devices (RFC 6724); a deprecated one comes last, but
// still before one of a smaller scope: a node that has no other global IPv6 address would still
// send from it. A program that binds to the address explicitly gets it in both families.
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
	Gateway   netip.Addr // on Interface, of Address's family; the zero Addr: the main table decides
}

// Sources is what sources need: each address on its interface, and for one with a gateway a table
// of its own with a default route, and a rule that sends what comes from the address there. A
// second route of that table says unreachable: it stays when the interface goes down and takes the
// default route with it, so that mail waits instead of leaving by another uplink. An IPv6 source is
// deprecated, so that the node sends nothing else from it; an IPv4 one comes after the addresses
// that its interface already has.
//
// An IPv4 source is a /32, with a route to its network beside it. If it had the network's length,
// the kernel would treat each address that others add to that network later as secondary to it and
// remove them together (unless sysctl promote_secondaries is set), or the other way round. The
// route serves a node that has no other address there; where there is one, that address's route has
// the better metric.
//
// The number of an IPv4 source's table is its address as a number: 198.51.100.10 has table
// 3325256714. That of an IPv6 source is 2^31 plus 31 bits of the FNV-1a hash of its 16 bytes; of
// two that collide, the greater address takes the next free number. The kernel keeps IPv4 and IPv6
// tables apart, and such numbers are far from those that people choose.
//
// The kernel evaluates rules one after the other, about 10 ns each: looking up a route that is not
// cached takes 1 us without sources, and 11 us with a thousand that have gateways (BenchmarkRoute).
func Sources(sources []Source) []Want {
	sources = slices.Clone(sources)
	slices.SortFunc(sources, func(a, b Source) int { return a.Address.Addr().Compare(b.Address.Addr()) })
	used := map[uint32]bool{}
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
		table, metric := sourceTable(addr, used), uint32(0)
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

// sourceTable returns the number of a source's table. used holds those of IPv6.
func sourceTable(addr netip.Addr, used map[uint32]bool) uint32 {
	if addr.Is4() {
		raw := addr.As4()
		return binary.BigEndian.Uint32(raw[:])
	}
	raw, hash := addr.As16(), fnv.New32a()
	_, _ = hash.Write(raw[:]) // never fails
	table := 1<<31 | hash.Sum32()
	for used[table] {
		table = 1<<31 | (table + 1)
	}
	used[table] = true
	return table
}

// Tunnel is what the tunnel's device needs: its addresses, and for each network behind it, and each
// network that its addresses are in,
//
//   - a route over the device, for the networks behind it, with the best metric;   - a route that
//
// says unreachable, with the worst: it stays when the device and its
//
//	  routes disappear, and keeps the prefix from the default route;
//	- a rule that looks this prefix up in the main table before the tables of
//	  sources, where a default route would win.
//
// The addresses come without the kernel's own route to their network: it would conflict with the
// route to a network behind the device, and reach beyond what WireGuard lets through. The routes
// set no MTU and no MSS: without them the kernel derives both from the device at each new
// connection (its MTU less 40 bytes, or 60), so they are never stale.
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

// sortWants sorts wants in the order of adding, and removes duplicates.
func sortWants(wants []Want) []Want {
	sorted := slices.Clone(wants)
	slices.SortStableFunc(sorted, func(a, b Want) int { return cmp.Compare(a.rank(), b.rank()) })
	seen := map[Thing]bool{}
	return slices.DeleteFunc(sorted, func(w Want) bool {
		twice := seen[w.key()]
		seen[w.key()] = true
		return twice
	})
}
