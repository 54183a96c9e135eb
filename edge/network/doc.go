// Package network is anymx-net: it puts addresses, rules, routes and the tunnel
// to core in place as the config says, and keeps them so.
//
// What happens to the data:
//
//  1. The config is turned into what is wanted of plumb and of the tunnel; keys
//     are read from their files.
//  2. First everything that needs no tunnel is put in place, which includes
//     the `unreachable` routes behind it; then the tunnel's device is opened; then
//     its addresses and routes follow.
//  3. Both parts watch the kernel and put back what others change. What cannot be
//     done is shown as a problem, does not stop the rest, and is tried again.
//  4. SIGHUP reads the config and the keys again. If anything in them is wrong,
//     nothing changes.
//  5. At the end everything stays: addresses, rules, routes, and the tunnel's
//     device. Traffic goes on, through a kernel's tunnel too; the next start finds all
//     in place and changes nothing. Only -remove takes away what was made.
package network
