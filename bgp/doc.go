// Package bgp is an announce-only BGP-4 speaker (RFC 4271): it tells routers
// about a handful of prefixes, and learns nothing from them.
//
// What happens to the data:
//
//  1. SetPeers and SetRoutes take what is wanted, whole. It is checked as a
//     whole, and refused as a whole: a bad change changes nothing.
//  2. Peers that came, went or need another session get it; a peer of which
//     only the Export part changed keeps its session, and so do all others.
//  3. Each peer has a session of its own, which dials, agrees on a hold time and
//     on address families, and dials again when it is lost. Nothing listens:
//     the speaker has no port that could be connected to.
//  4. From the routes and the peer's Export a session makes the paths for this
//     one peer (path.go), compares them with what it has sent (plan.go) and
//     writes only the difference. Sessions share no table: what one peer is told
//     or does touches no other.
//  5. What a peer sends is hostile. Headers are checked, OPEN, NOTIFICATION and
//     ROUTE-REFRESH are parsed, and the body of an UPDATE is thrown away unread:
//     there is no table that it could get into, so a peer may send the whole
//     Internet, or garbage, without costing memory or a session.
//  6. Close, and taking a peer away, send a NOTIFICATION, so that the routes are
//     gone from the router at once. Graceful restart (RFC 4724) is never offered:
//     a helper would keep sending traffic to a node that is gone.
//
// Messages are encoded by GoBGP's packet library. Its server is not used: one
// header of an unknown type makes it panic, and it keeps every prefix that a
// peer sends, about 550 bytes for each, with no bound. The tests run it as the
// router at the far side.
package bgp
