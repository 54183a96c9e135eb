// Package lab is a small internet on one machine: two points of presence that
// announce the same prefixes, the routers in front of them, core behind a
// tunnel, and clients. Everything is a network namespace joined to others by
// veth pairs, and every program in it is the real one.
//
//	client-a --- r1 (BIRD, AS 64501) --- r2 (FRR, AS 64502) --- client-b
//	            /  \                        \
//	       PoP a    core                     PoP b        (PoPs: AS 64512)
//
// What happens to the data:
//
//  1. Up claims a name for the run, takes away what dead runs have left, and
//     makes namespaces and links (run.go, namespace.go, plan.go).
//  2. BIRD and FRR learn every route but their own links by BGP, and put it into
//     their kernels (bird.go, frr.go). Core ends the tunnels of both PoPs with
//     wireguard-go, and keeps mail with anymx-core (core.go).
//  3. Node.Start runs anymx-net, anymx-bgp and anymx-edge as users of their own,
//     with the capabilities that their units give them (node.go).
//  4. Senders send from the clients and write down each acknowledgement (load.go);
//     what core has is held against it (mailbox.go). Watches see routes change in a
//     router's kernel (watch.go) and packets on a node's interfaces (capture.go).
//  5. Floods come from forged sources over a node's link, while strangers call
//     (flood.go, call.go, siege.go); what the node sends back to them is counted at
//     the far end (tap.go). shield.go puts up what holds against them.
//  6. Guest has a virtual machine take the place of PoP a (guest.go).
//  7. Down ends every process in the run's namespaces and removes all of it.
//
// It wants root, if only that of a user namespace: see Options.Alone. Nothing in it
// can reach the machine's own network.
package lab
