// Package lab is a small internet on one machine: two points of presence that announce the same
// prefixes, the routers in front of them, core at the far end of a tunnel, and clients. Each is a
// network namespace, connected by veth pairs, and every program in it is the real one.
//
//	client-a --- r1 (BIRD, AS 64501) --- r2 (FRR, AS 64502) --- client-b
//	            /  \                        \
//	       PoP a    core                     PoP b        (PoPs: AS 64512)
//
// What happens to the data:
//
//  1. Up claims a name for the run, removes what dead runs left, and creates namespaces and links
//     (run.go, namespace.go, plan.go).
//  2. BIRD and FRR learn all routes except their own links by BGP and install them in their kernels
//     (bird.go, frr.go). Core ends the tunnels of both PoPs with wireguard-go and stores mail with
//     anymx-core (core.go).
//  3. Node.Start runs anymx-net, anymx-bgp and anymx-edge, each as its own user with the
//     capabilities from its unit (node.go).
//  4. Senders send from the clients and record each acknowledgement (load.go), which is then
//     compared with what core has (mailbox.go). Watches see route changes in a router's kernel
//     (watch.go), captures see packets on a node's interfaces (capture.go).
//  5. Floods arrive from forged sources over a node's link while strangers call (flood.go, call.go,
//     siege.go). The far end of the link counts what the node sends back to them (tap.go).
//     shield.go turns on the protection.
//  6. Guest lets a virtual machine replace PoP a (guest.go).
//  7. Down ends every process in the run's namespaces and removes everything.
//
// It needs root, if only in a user namespace: see Options.Alone. Nothing in the lab can reach the
// machine's own network.
package lab
