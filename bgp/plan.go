package bgp

import (
	"net/netip"
	"slices"
)

// peerPlan is what leads from one list of peers to another. A peer that stands
// in none of its lists is left alone.
type peerPlan struct {
	remove []netip.Addr // their sessions end
	add    []Peer       // get a session
	reset  []Peer       // get a new session in place of the one they have
	update []Peer       // keep their session: only their Export changed
}

func planPeers(have, want []Peer) peerPlan {
	var plan peerPlan
	old := make(map[netip.Addr]Peer, len(have))
	for _, p := range have {
		old[p.Address] = p
	}
	for _, p := range want {
		was, known := old[p.Address]
		delete(old, p.Address)
		switch {
		case !known:
			plan.add = append(plan.add, p)
		case !was.sameSession(p):
			plan.reset = append(plan.reset, p)
		case !was.Export.equal(p.Export):
			plan.update = append(plan.update, p)
		}
	}
	for _, p := range have {
		if _, left := old[p.Address]; left {
			plan.remove = append(plan.remove, p.Address)
		}
	}
	return plan
}

// sameSession says whether one session serves both: all but Export is the same.
func (p Peer) sameSession(q Peer) bool {
	return p.Address == q.Address &&
		p.Port == q.Port &&
		p.ASN == q.ASN &&
		p.LocalAddress == q.LocalAddress &&
		slices.Equal(p.Families, q.Families) &&
		p.HoldTime == q.HoldTime &&
		p.ConnectRetry == q.ConnectRetry &&
		p.Password == q.Password &&
		p.TTLSecurity == q.TTLSecurity &&
		p.Multihop == q.Multihop
}

func (e Export) equal(f Export) bool {
	return e.NextHop4 == f.NextHop4 &&
		e.NextHop6 == f.NextHop6 &&
		same(e.MED, f.MED) &&
		e.Prepend == f.Prepend &&
		slices.Equal(e.Communities, f.Communities) &&
		slices.Equal(e.LargeCommunities, f.LargeCommunities)
}

// pathPlan is what leads from one table to another, in the order of prefixes.
type pathPlan struct {
	withdraw []netip.Prefix
	announce []Path
}

func (p pathPlan) empty() bool { return len(p.withdraw) == 0 && len(p.announce) == 0 }

// planPaths compares what a peer knows with what it should know. The paths of
// the families in again are announced even if they are known: the peer asked
// for them (RFC 2918).
func planPaths(have, want table, again []Family) pathPlan {
	var plan pathPlan
	for _, path := range have.sorted() {
		if _, stays := want[path.Prefix]; !stays {
			plan.withdraw = append(plan.withdraw, path.Prefix)
		}
	}
	for _, path := range want.sorted() {
		known, told := have[path.Prefix]
		if !told || !known.alike(path) || slices.Contains(again, familyOf(path.Prefix.Addr())) {
			plan.announce = append(plan.announce, path)
		}
	}
	return plan
}
