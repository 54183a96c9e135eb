// Package network is anymx-net: it sets up addresses, rules, routes, the tunnel to core and the
// shield as the config says, and keeps them so.
//
// What happens to the data:
//
//  1. The config is turned into what plumb and the tunnel should set up; keys are
//     read from their files.
//  2. First the shield is loaded with its rules and lists, and attached, so that
//     an address is protected from the moment it exists. Then everything that needs no
//     tunnel is set up, including the tunnel's `unreachable` routes; then the tunnel's
//     device is opened; then its addresses and routes follow.
//  3. Both parts watch the kernel and restore what others change. What can't be done
//     is reported as a problem, does not stop the rest, and is retried.
//  4. SIGHUP reads the config and the keys again. If anything in them is wrong,
//     nothing changes.
//  5. Prefixes that commands block or allow are stored on disk before the command is
//     answered. Prefix files are read when they change; an invalid one changes
//     nothing. Only differences are written to the kernel.
//  6. A shield that can't be loaded lets packets pass, and is reported in the status,
//     the metrics and the log.
//  7. On exit everything stays: addresses, rules, routes, the tunnel's device and
//     the shield. Traffic goes on, also through a kernel tunnel; the next start finds
//     everything in place, replaces the shield's programs with its own, and changes
//     nothing else. Only -remove removes what was made.
package network
