// Package plumb keeps addresses, routes and rules of a network namespace as a
// node's config wants them, by netlink.
//
// What happens to the data:
//
//  1. Service, Source and Tunnel turn what a config says into Wants: plain
//     values, each one address, route or rule.
//  2. Set compares them with what the kernel has. plan, which is pure, finds the
//     steps; what is right already is not touched.
//  3. The steps are done in an order in which no packet to core can leave another
//     way than by the tunnel: what is missing is added before anything is taken
//     away, and the `unreachable` routes come first and go last.
//  4. Run listens to what the kernel tells of changes, compares again, and puts
//     back what others changed or took away. What is taken away again and again
//     is put back after longer and longer pauses. An IPv6 address that another
//     host has is tried again as often as all is compared.
//
// Whose a thing is, the kernel itself keeps: everything that is made here bears
// Protocol, in the attribute that routes, rules and addresses have for that. So
// it is known after a crash at any moment, and there is no file that could be
// wrong. What bears another number is another's and is never taken away, even
// if it stands where a thing of ours should: such an address or rule serves as
// well, such a route is shown as a problem. The one exception is a route that
// replaced a route of ours while we ran: that is put back.
//
// systemd-networkd takes away routes and rules that it did not make, unless
// ManageForeignRoutes= and ManageForeignRoutingPolicyRules= in networkd.conf
// say no. They would be put back, but each time there is a gap.
package plumb

// Protocol marks what is made here: the protocol number of routes
// (rtm_protocol), rules (FRA_PROTOCOL, Linux 4.17) and addresses (IFA_PROTO,
// Linux 5.18). 125 is given to nobody by the kernel's rtnetlink.h (0 to 18, 42,
// 84, 99 and 186 to 192), by iproute2's rt_protos, by FRR (193 to 197) or by
// network plugins of containers (80). The kernel does not act on it.
// An older kernel does not keep it for addresses: they work, and stay when they
// are not wanted any more.
const Protocol = 125
