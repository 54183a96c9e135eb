package bgp

import (
	"maps"
	"net/netip"
	"slices"
)

const (
	asTrans          = 23456 // stands for a long ASN where only 16 bits fit (RFC 6793)
	defaultLocalPref = 100
)

// Path is a route as one peer is told about it: what stands in the UPDATE. The
// origin is always IGP.
type Path struct {
	Prefix  netip.Prefix
	NextHop netip.Addr
	// ASPath has the own ASN once, and once more for each time that it is
	// prepended. Empty towards an iBGP peer.
	ASPath []uint32
	// MED is nil where none is sent.
	MED *uint32
	// LocalPref is sent to iBGP peers only, nil to others (RFC 4271 5.1.5).
	LocalPref *uint32
	// Communities and LargeCommunities are sorted.
	Communities      []Community
	LargeCommunities []LargeCommunity
}

// table holds paths by their prefix: what a peer should know, or knows.
type table map[netip.Prefix]Path

// paths is the table for one peer of a speaker in the autonomous system asn,
// over a session that starts at the address local and carries the families.
func paths(asn uint32, peer Peer, local netip.Addr, families []Family, routes []Route) table {
	t := make(table, len(routes))
	for _, r := range routes {
		if slices.Contains(families, familyOf(r.Prefix.Addr())) {
			t[r.Prefix] = pathTo(asn, peer, local, r)
		}
	}
	return t
}

func pathTo(asn uint32, peer Peer, local netip.Addr, r Route) Path {
	p := Path{
		Prefix:           r.Prefix,
		NextHop:          peer.Export.NextHop4,
		MED:              peer.Export.MED,
		Communities:      union(r.Communities, peer.Export.Communities),
		LargeCommunities: unionLarge(r.LargeCommunities, peer.Export.LargeCommunities),
	}
	if r.Prefix.Addr().Is6() {
		p.NextHop = peer.Export.NextHop6
	}
	if !p.NextHop.IsValid() {
		p.NextHop = local
	}
	if peer.ASN == asn {
		preference := uint32(defaultLocalPref)
		if slices.Contains(p.Communities, GracefulShutdown) {
			preference = 0 // inside an AS it is this that routers go by (RFC 8326)
		}
		p.LocalPref = &preference
		return p
	}
	p.ASPath = slices.Repeat([]uint32{asn}, 1+int(peer.Export.Prepend))
	return p
}

// alike says whether both paths can share an UPDATE: all but the prefix is the
// same.
func (p Path) alike(q Path) bool {
	return familyOf(p.Prefix.Addr()) == familyOf(q.Prefix.Addr()) &&
		p.NextHop == q.NextHop &&
		slices.Equal(p.ASPath, q.ASPath) &&
		same(p.MED, q.MED) &&
		same(p.LocalPref, q.LocalPref) &&
		slices.Equal(p.Communities, q.Communities) &&
		slices.Equal(p.LargeCommunities, q.LargeCommunities)
}

// sorted is the table in the order of prefixes.
func (t table) sorted() []Path {
	list := make([]Path, 0, len(t))
	for _, prefix := range slices.SortedFunc(maps.Keys(t), netip.Prefix.Compare) {
		list = append(list, t[prefix])
	}
	return list
}

// same compares what two optional values say.
func same[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}
