// Package anycast decides whether a node's prefixes are announced, and announces or withdraws them.
// It is all of anymx-bgp except the BGP.
//
// What happens to the data:
//
//  1. Every bgp.health.interval a round of checks begins, all of them at once:
//     /readyz of anymx-edge on its socket, and an SMTP dialogue with each
//     service point (check.go, probe.go). The results are judged as a round
//     (round.go), and the rounds as health (health.go).
//  2. Desired states come in over the control socket. The last one counts; a
//     lasting one is stored on disk (desired_file.go).
//  3. The desired state and health determine the routes: announced, graceful or
//     withdrawn, with the reason (decide.go).
//  4. A change goes to the speaker of package bgp at once, in the goroutine
//     that caused it: nothing polls between a failed check, or a command, and
//     the wire (announcer.go).
//  5. Every announcement, and its reason, is a line of the log, a metric and a
//     part of the status.
//
// # What counts as down
//
// The round after the first bad one begins after half of bgp.health.interval, so that with the
// defaults a dead mail program costs 0.6 s at most.
//
// A check that is refused, disconnected, or answered wrongly is bad at once. One without an answer
// is bad after bgp.health.timeout, and undecided until then: bgp.health.fall such checks in a row
// take fall times timeout.
//
// A node whose places are all taken by clients stays good: its ingress always has a place for a probe.
// Withdrawing it would move its clients to the next PoP, which would then be full, and so on until no
// PoP is left.
//
// An SMTP reply of 421 beside a good /readyz is "busy", which is neither good nor bad: the server refuses
// the speaker itself, for a reason that may pass. A node that has been busy for bgp.health.busy without
// one good round serves nobody, and counts as down.
//
// The tunnel, the shield and the state of anymx-net are asked as well, for information: core is
// shared, so if it were decisive every PoP would vanish at once when it is out of reach; and a node
// without its shield still takes mail.
package anycast
