package plumb

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Thing is an Address, a Route or a Rule: a plain value; two are the same if == says so.
type Thing interface {
	// Kind is "address", "route" or "rule".
	Kind() string
	// String is the thing in the syntax of `ip KIND add`.
	String() string
	// Device is the name of the device that the thing needs; "" for none.
	Device() string

	// key is the thing without the fields in which two things can't differ: the kernel holds one
	// thing for each key.
	key() Thing
	// rank is the thing's position in the order of adding; see plan.
	rank() int
	// family is unix.AF_INET or AF_INET6, as -4 or -6.
	family() string
}

// Address is an address on a device.
type Address struct {
	Prefix netip.Prefix // the address, with the length of its network
	Dev    string
	// Host means scope host, IPv4 only: the kernel never chooses the address as source for traffic
	// that starts on this machine, except to itself.
	Host bool
	// Deprecated means a preferred lifetime of 0, IPv6 only: the kernel chooses the address as
	// source only if it has no other of the right scope (RFC 6724 5, rules 2 and 3).
	Deprecated bool
	// NoDAD skips duplicate address detection, IPv6 only (RFC 4862 5.4).
	NoDAD bool
	// NoPrefixRoute suppresses the route to the address's network that the kernel would otherwise
	// make.
	NoPrefixRoute bool
}

// Route is a route to a prefix: over a device, to a gateway on a device, or unreachable.
type Route struct {
	Prefix      netip.Prefix
	Unreachable bool       // then Via and Dev are empty
	Via         netip.Addr // a gateway, assumed to be on Dev (onlink); the zero Addr: none
	Dev         string
	Table       uint32 // mainTable or another
	Metric      uint32 // the smallest wins; IPv6 has no 0
}

// Rule sends packets from or to a prefix to a table.
type Rule struct {
	From, To netip.Prefix // the zero Prefix: all. One of them is set
	Table    uint32
	Priority uint32 // the smallest is looked up first
}

// mainTable is the kernel's main table of routes (RT_TABLE_MAIN).
const mainTable = 254

// Kind is "address".
func (a Address) Kind() string { return "address" }

// Kind is "route".
func (r Route) Kind() string { return "route" }

// Kind is "rule".
func (r Rule) Kind() string { return "rule" }

// Device is the device that the address is on.
func (a Address) Device() string { return a.Dev }

// Device is the device that the route leads over; "" if it is unreachable.
func (r Route) Device() string { return r.Dev }

// Device is "".
func (r Rule) Device() string { return "" }

// key: an address is on a device once. The kernel could hold an IPv4 address with several lengths,
// but one is enough, whoever added it.
func (a Address) key() Thing {
	return Address{Prefix: netip.PrefixFrom(a.Prefix.Addr(), a.Prefix.Addr().BitLen()), Dev: a.Dev}
}

func (r Route) key() Thing { return Route{Prefix: r.Prefix, Table: r.Table, Metric: r.Metric} }
func (r Rule) key() Thing  { return r }

func (a Address) family() string { return family(a.Prefix) }
func (r Route) family() string   { return family(r.Prefix) }
func (r Rule) family() string    { return family(r.selector()) }

func family(p netip.Prefix) string {
	if p.Addr().Is4() {
		return "-4"
	}
	return "-6"
}

// selector is the prefix that the rule matches.
func (r Rule) selector() netip.Prefix {
	if r.From.IsValid() {
		return r.From
	}
	return r.To
}

// String is as in "192.0.2.25/32 dev lo scope host".
func (a Address) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s dev %s", a.Prefix, a.Dev)
	for _, flag := range []struct {
		set  bool
		name string
	}{{a.Host, " scope host"}, {a.NoDAD, " nodad"}, {a.NoPrefixRoute, " noprefixroute"}, {a.Deprecated, " preferred_lft 0"}} {
		if flag.set {
			b.WriteString(flag.name)
		}
	}
	return b.String()
}

// String is as in "default via 198.51.100.1 dev eth0 onlink table 3325256714".
func (r Route) String() string {
	var b strings.Builder
	if r.Unreachable {
		b.WriteString("unreachable ")
	}
	b.WriteString(destination(r.Prefix))
	if r.Via.IsValid() {
		fmt.Fprintf(&b, " via %s", r.Via)
	}
	if r.Dev != "" {
		fmt.Fprintf(&b, " dev %s", r.Dev)
	}
	if r.Via.IsValid() {
		b.WriteString(" onlink")
	}
	if r.Table != mainTable {
		fmt.Fprintf(&b, " table %d", r.Table)
	}
	if r.Metric != 0 {
		fmt.Fprintf(&b, " metric %d", r.Metric)
	}
	return b.String()
}

// String is as in "from 198.51.100.10 lookup 3325256714 priority 2550".
func (r Rule) String() string {
	var b strings.Builder
	if r.From.IsValid() {
		fmt.Fprintf(&b, "from %s ", destination(r.From))
	}
	if r.To.IsValid() {
		fmt.Fprintf(&b, "to %s ", destination(r.To))
	}
	table := "main"
	if r.Table != mainTable {
		table = strconv.FormatUint(uint64(r.Table), 10)
	}
	fmt.Fprintf(&b, "lookup %s priority %d", table, r.Priority)
	return b.String()
}

// destination formats p in the short form of `ip`.
func destination(p netip.Prefix) string {
	switch {
	case p.Bits() == 0:
		return "default"
	case p.IsSingleIP():
		return p.Addr().String()
	}
	return p.String()
}
