// Package xdp is the shield: it keeps floods of spoofed SYNs and ACKs away from the service
// addresses of a host, at a cost per packet close to that of dropping it without inspection. It
// works with addresses and ports only and knows nothing about the protocols above TCP.
//
// What happens to a frame:
//
//  1. At XDP, before the kernel allocates anything for it, the program shield parses its headers
//     (bpf/packet.h): Ethernet, up to two VLAN tags, IPv4 with options or IPv6 with extension
//     headers, TCP. Frames for other than service addresses pass untouched. Fragments, and frames
//     that can't be parsed, are handled as configured.
//  2. Malformed segments, ports that the address does not serve, and sources on the block list are
//     dropped.
//  3. A SYN passes to the stack while there is no pressure. Above Settings.SYNRate, the shield
//     answers it by turning the frame into a SYN-ACK whose sequence number is a cookie
//     (bpf/cookie.h), and stores nothing about it.
//  4. Any other segment must belong to a connection or a handshake of the stack, or return a
//     cookie, ours or the stack's. Other segments pass without pressure, so that the stack resets
//     them, and are dropped under pressure.
//  5. A returned cookie validates the source: from then on, its prefix (/24, /64) is limited to
//     Settings.ConnectionRate. At TC ingress, the program admit passes the segment to the listener
//     with the negotiated options: MSS, window scale, SACK and timestamps. Nodes that share
//     Settings.Key accept each other's cookies, so that a flow which moves between them during a
//     handshake connects.
//  6. Each frame gets one verdict, which is counted per CPU with the frame's bytes.
//
// The programs are attached by links, and maps and links are pinned: they keep working without a
// process, and the next process takes them over and replaces each program in one step. Only key
// rotation, the expiry of blocks, and attaching to new interfaces need a process: Run.
//
// A shield that can't be attached lets everything pass and reports that: Status has the mode and
// the problem of each interface.
//
// # Limits
//
// SYNs are answered with cookies only under pressure. If the last ACK of such a handshake is lost,
// the client waits for a server that knows nothing of it, and protocols in which the server speaks
// first hang.
//
// A cookie contains 24 bits of a hash: one in 16.8 million guessed ACKs opens a connection. A node
// without a shared key accepts its own cookies only while it answers SYNs, and for Settings.Epoch
// after that.
//
// The listener must use plain TCP: the kernel hands nothing over to MPTCP, which is the default of
// Go's listeners.
//
// A network card that removes VLAN tags (rx-vlan-offload) hides them from native XDP, and replies
// would be sent without them: turn that off where service addresses are reached through VLANs.
//
// Our own cookies need Linux 6.9 or newer. On older kernels, the shield uses those of the stack
// (bpf_tcp_gen_syncookie), which only contain the MSS and are only valid on the node that made
// them. CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON are enough.
package xdp

//go:generate ./bpf/generate
