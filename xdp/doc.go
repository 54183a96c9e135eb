// Package xdp is the shield: it keeps floods of spoofed SYNs and ACKs away from
// the service addresses of a host, at a cost for each packet close to that of
// dropping it unseen. It knows addresses and ports, and nothing of what is
// spoken on them.
//
// What happens to a frame:
//
//  1. At XDP, before the kernel allocates anything for it, the program shield
//     walks over its headers (bpf/packet.h): Ethernet, up to two VLAN tags, IPv4
//     with options or IPv6 with extension headers, TCP. What is not for a service
//     address passes untouched. Fragments, and what can't be parsed, are treated
//     as configured.
//  2. Malformed segments, ports that the address does not serve, and sources on the
//     block list are dropped.
//  3. A SYN passes to the stack in peace. Above Settings.SYNRate it is answered in
//     place with a SYN-ACK whose sequence number is a cookie (bpf/cookie.h), and
//     nothing is remembered of it.
//  4. Any other segment must belong to a connection or a handshake of the stack, or
//     return a cookie, ours or the stack's. What fits nothing passes in peace, so
//     that the stack resets it, and is dropped under pressure.
//  5. A returned cookie proves the source: from here on its prefix (/24, /64) is held
//     to Settings.ConnectionRate. The segment meets the program admit at TC ingress,
//     which tells the listener what was agreed on: MSS, window scale, SACK and
//     timestamps. Nodes that share Settings.Key take each other's cookies, so
//     a flow that moves between them in the middle of a handshake connects.
//  6. Each frame gets one verdict, counted with its bytes for each CPU.
//
// The programs hang on links, and maps and links are pinned: they protect on
// while no process is there, and the next one takes them over and puts its own
// programs in their place in one step each. What needs a process is the rotation of
// keys, the end of blocks that have a time, and attaching to interfaces that
// come later: Run.
//
// A shield that can't be attached lets everything through, and says so: Status
// names each interface's mode and problem.
//
// # Limits that are worth knowing
//
// Only under pressure are SYNs answered with cookies, because a client that loses
// the last ACK of such a handshake waits for a server that has not heard of it, and
// protocols in which the server speaks first hang then.
//
// A cookie carries 24 bits of hash: one in 16.8 million guessed ACKs opens a
// connection. A node without a shared key accepts its own cookies only while it
// answers SYNs and Settings.Epoch longer.
//
// The listener must be plain TCP, not MPTCP (which Go's listeners are unless
// told otherwise): the kernel hands it nothing.
//
// A network card that takes VLAN tags off (rx-vlan-offload) hides them from
// native XDP, and an answer would leave without them: switch that off where
// the service addresses are reached through VLANs.
//
// Linux 6.9 or newer is needed for cookies of our own. Older ones answer with the
// stack's (bpf_tcp_gen_syncookie), which carry the MSS only and end at the node that
// made them. CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON are enough.
package xdp

//go:generate ./bpf/generate
