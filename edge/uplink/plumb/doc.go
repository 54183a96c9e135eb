// Package plumb keeps the addresses, routes and rules of a network namespace as the node's config
// wants them, by netlink.
//
// What happens to the data:
//
//  1. Service, Source and Tunnel turn what a config says into Wants: plain
//     values, each one address, route or rule.
//  2. Set compares them with what the kernel has. plan, which is pure, finds the
//     steps; what is already right is not touched.
//  3. The steps run in an order in which no packet to core can leave by another
//     way than the tunnel: missing things are added before anything is removed,
//     and the `unreachable` routes come first and go last.
//  4. Run listens to the kernel's change notifications, compares again, and restores
//     what others changed or removed. What is removed repeatedly is restored after
//     growing pauses. An IPv6 address that another host uses is retried at each
//     full comparison.
//
// The kernel itself records who owns a thing: everything made here carries Protocol, in the
// attribute that routes, rules and addresses have for that. So ownership is known after a crash at
// any moment, and no file can be wrong. What carries another number is foreign and never removed,
// even where one of ours should be: a foreign address or rule serves as well, a foreign route is
// reported as a problem. The one exception is a route that replaced a route of ours while we ran:
// ours is restored.
//
// systemd-networkd removes routes and rules that it did not make, unless ManageForeignRoutes= and
// ManageForeignRoutingPolicyRules= in networkd.conf say no. They would be restored, but with a gap
// each time.
package plumb

// Protocol marks what is made here: the protocol number of routes (rtm_protocol), rules
// (FRA_PROTOCOL, Linux 4.17) and addresses (IFA_PROTO, Linux 5.18). The number 125 is not assigned
// by the kernel's rtnetlink.h (0 to 18, 42, 84, 99 and 186 to 192), by iproute2's rt_protos, by FRR
// (193 to 197) or by container network plugins (80). The kernel does not act on it. Older kernels
// do not store it for addresses: those work, and stay when they are no longer wanted.
const Protocol = 125
