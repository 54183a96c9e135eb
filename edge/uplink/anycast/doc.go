// Package anycast decides whether a node's prefixes are announced, and has them
// announced or withdrawn. It is all of anymx-bgp but the BGP.
//
// What happens to the data:
//
//  1. Every bgp.health.interval a round of checks begins, all of them at once:
//     /readyz of anymx-edge on its socket, and an SMTP dialogue with each
//     service point (check.go, probe.go). What comes back is judged as a round
//     (round.go), and the rounds as health (health.go).
//  2. Orders come in over the control socket. The last one counts; one that is
//     to be kept lies on disk (order.go).
//  3. What was ordered and health make the routes: announced, graceful or
//     withdrawn, with the reason (decide.go).
//  4. A change goes to the speaker of package bgp at once, in the goroutine
//     that brought it: nothing polls between a failed check, or an order, and
//     the wire (announcer.go).
//  5. Everything that was told, and why, is a line of the log, a metric and a
//     part of the status.
//
// # What counts as down
//
// The round behind the first bad one begins after half of bgp.health.interval,
// so that with the defaults a dead mail program costs 0.6 s at most.
//
// A check that is refused, broken off, or answered wrongly is bad at once. One
// without an answer is bad after bgp.health.timeout, and until then it says
// nothing: bgp.health.fall such checks in a row take fall times timeout.
//
// An SMTP answer of 421 beside a good /readyz is "busy": the node is at a limit
// of its connections. That is neither good nor bad. A node at its limit serves
// as many clients as it was built for; withdrawing it would move them all to the
// next PoP, which would be over its own limit then, and so on until no PoP is
// left. But a node that has been busy for bgp.health.busy without one good round, of
// hundreds, serves nobody: where sessions come and go, a probe gets in now and
// then. Its sessions hang, and it counts as down. Should it have been an attack
// after all, it moves from PoP to PoP no faster than that.
//
// The tunnel, the shield and the state of anymx-net are asked as well, for
// information: core is shared, and if it is out of reach every PoP would vanish
// at once; and a node without its shield still takes mail.
package anycast
