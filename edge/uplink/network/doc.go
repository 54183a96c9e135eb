// Package network is anymx-net: it puts addresses, rules, routes, the tunnel to
// core and the shield in place as the config says, and keeps them so.
//
// What happens to the data:
//
//  1. The config is turned into what is wanted of plumb and of the tunnel; keys
//     are read from their files.
//  2. First the shield is loaded with its rules and lists, and attached: an
//     address is protected from the moment it is there. Then everything that needs no tunnel is put in place, which includes
//     the `unreachable` routes behind it; then the tunnel's device is opened; then
//     its addresses and routes follow.
//  3. Both parts watch the kernel and put back what others change. What cannot be
//     done is shown as a problem, does not stop the rest, and is tried again.
//  4. SIGHUP reads the config and the keys again. If anything in them is wrong,
//     nothing changes.
//  5. What commands block or allow is kept on disk before they are answered. Files
//     of prefixes are read when they change; a bad one changes nothing. Only
//     differences are written to the kernel.
//  6. A shield that can't be loaded lets packets pass, and says so in the status,
//     the metrics and the log.
//  7. At the end everything stays: addresses, rules, routes, the tunnel's device and
//     the shield. Traffic goes on, through a kernel's tunnel too; the next start finds
//     all in place, puts its own programs into the shield, and changes nothing
//     else. Only -remove takes away what was made.
package network
