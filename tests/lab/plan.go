package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Service addresses and the prefixes announced for them.
const (
	Service4, Service6 = "192.0.2.25", "2001:db8:25::25"
	Prefix4, Prefix6   = "192.0.2.0/24", "2001:db8:25::/48"
)

// Addresses that tests use.
const (
	R1ToA4, R1ToA6 = "198.51.100.1", "2001:db8:a::1" // r1 on its link to PoP a
	A4, A6         = "198.51.100.2", "2001:db8:a::2"
	R2ToB4         = "198.51.100.129"
	B4, B6         = "198.51.100.130", "2001:db8:b::2"
	R1ToR2, R2ToR1 = "10.64.12.1", "10.64.12.2"
	CoreOutside    = "203.0.113.2" // end of the tunnels
	CoreInside     = "10.77.0.1"   // core's address inside the tunnels
	tunnelNetwork  = "10.77.0.0/24"
)

// roles are the namespaces of a lab.
var roles = []string{"client-a", "client-b", "r1", "r2", "a", "b", "core"}

// others are the roles that are missing if a lab is Alone.
var others = []string{"client-b", "r2", "b"}

// link is a veth pair. Each end is "role/interface" with its addresses.
type link struct {
	from, to           string
	addresses, atOther []string
}

// role returns the role at the far end, which is unique among the links.
func (k link) role() string {
	role, _, _ := strings.Cut(k.to, "/")
	return role
}

var links = []link{
	{from: "r1/client-a", addresses: []string{"10.64.1.1/24", "2001:db8:1::1/64"},
		to: "client-a/eth0", atOther: []string{"10.64.1.2/24", "2001:db8:1::2/64"}},
	{from: "r2/client-b", addresses: []string{"10.64.2.1/24", "2001:db8:2::1/64"},
		to: "client-b/eth0", atOther: []string{"10.64.2.2/24", "2001:db8:2::2/64"}},
	{from: "r1/r2", addresses: []string{R1ToR2 + "/24", "2001:db8:12::1/64"},
		to: "r2/r1", atOther: []string{R2ToR1 + "/24", "2001:db8:12::2/64"}},
	{from: "r1/pop-a", addresses: []string{R1ToA4 + "/25", R1ToA6 + "/64"},
		to: "a/eth0", atOther: []string{A4 + "/25", A6 + "/64"}},
	{from: "r2/pop-b", addresses: []string{R2ToB4 + "/25", "2001:db8:b::1/64"},
		to: "b/eth0", atOther: []string{B4 + "/25", B6 + "/64"}},
	{from: "r1/core", addresses: []string{"203.0.113.1/24"},
		to: "core/eth0", atOther: []string{CoreOutside + "/24"}},
}

// beside is the link of the BIRD next to PoP a.
var beside = link{from: "r1/beside", addresses: []string{"198.18.0.1/24", "2001:db8:be::1/64"},
	to: "beside/eth0", atOther: []string{BesideGateway4 + "/24", BesideGateway6 + "/64"}}

// gateways has the default routes of everything except the routers.
var gateways = map[string][]string{
	"client-a": {"10.64.1.1", "2001:db8:1::1"},
	"client-b": {"10.64.2.1", "2001:db8:2::1"},
	"a":        {R1ToA4, R1ToA6},
	"b":        {R2ToB4, "2001:db8:b::1"},
	"core":     {"203.0.113.1"},
}

// plug creates namespaces, links, addresses and the default routes of the leaves. Routers only get
// the routes of their links.
func (l *Lab) plug(ctx context.Context) error {
	roles, links := slices.Clone(roles), slices.Clone(links)
	if l.options.Beside {
		roles, links = append(roles, "beside"), append(links, beside)
	}
	if l.options.Alone {
		roles = slices.DeleteFunc(roles, func(role string) bool { return slices.Contains(others, role) })
		links = slices.DeleteFunc(links, func(k link) bool { return slices.Contains(others, k.role()) })
	}
	for _, role := range roles {
		n, err := newNamespace(ctx, prefix(l.Name)+role)
		if err != nil {
			return err
		}
		l.spaces[role] = n
	}
	for _, k := range links {
		if l.options.Guest && k.role() == siteA.role {
			k.atOther = nil // the guest has the addresses
		}
		if err := l.connect(ctx, k); err != nil {
			return err
		}
	}
	for role, all := range gateways {
		if l.spaces[role] == nil || l.options.Guest && role == siteA.role {
			continue
		}
		for _, gateway := range all {
			if err := l.spaces[role].IP(ctx, "route", "add", "default", "via", gateway); err != nil {
				return err
			}
		}
	}
	var failed error
	for _, role := range []string{"r1", "r2"} {
		n := l.spaces[role]
		if n == nil {
			continue
		}
		failed = errors.Join(failed, n.Sysctl("ipv4/ip_forward", "1"), n.Sysctl("ipv6/conf/all/forwarding", "1"),
			n.Sysctl("ipv4/conf/all/rp_filter", "0"), n.Sysctl("ipv4/conf/default/rp_filter", "0"))
	}
	for _, role := range []string{"a", "b"} { // on an appliance, systemd opens ports below 1024
		if l.spaces[role] == nil {
			continue
		}
		failed = errors.Join(failed, l.spaces[role].Sysctl("ipv4/ip_unprivileged_port_start", "25"))
	}
	return failed
}

// connect creates one veth pair and configures it.
func (l *Lab) connect(ctx context.Context, k link) error {
	fromRole, from, _ := strings.Cut(k.from, "/")
	toRole, to, _ := strings.Cut(k.to, "/")
	a, b := l.spaces[fromRole], l.spaces[toRole]
	if err := ip(ctx, "link", "add", from, "netns", a.Name, "type", "veth", "peer", "name", to, "netns", b.Name); err != nil {
		return fmt.Errorf("link %s - %s: %w", k.from, k.to, err)
	}
	for _, end := range []struct {
		space     *Namespace
		name      string
		addresses []string
	}{{a, from, k.addresses}, {b, to, k.atOther}} {
		for _, address := range end.addresses {
			args := []string{"address", "add", address, "dev", end.name}
			if strings.Contains(address, ":") {
				args = append(args, "nodad") // there can't be a duplicate on this link
			}
			if err := end.space.IP(ctx, args...); err != nil {
				return err
			}
		}
		if err := end.space.IP(ctx, "link", "set", end.name, "up"); err != nil {
			return err
		}
	}
	return nil
}
