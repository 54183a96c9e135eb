package config

import (
	"net/netip"
	"slices"
	"testing"
)

func TestServicePoints(t *testing.T) {
	both := []string{"192.0.2.25/32", "2001:db8:25::25/128"}
	for _, x := range []struct {
		name            string
		listen, service []string
		want            []string
	}{
		{"every address", []string{"[::]:25", "[::]:8025"}, both,
			[]string{"192.0.2.25:25", "192.0.2.25:8025", "[2001:db8:25::25]:25", "[2001:db8:25::25]:8025"}},
		{"every address, written short", []string{":25"}, both, []string{"192.0.2.25:25", "[2001:db8:25::25]:25"}},
		{"every IPv4 address", []string{"0.0.0.0:25"}, both, []string{"192.0.2.25:25"}},
		{"IPv4 and IPv6 apart", []string{"0.0.0.0:25", "[2001:db8:25::25]:8025"}, both,
			[]string{"192.0.2.25:25", "[2001:db8:25::25]:8025"}},
		{"each its own", []string{"[2001:db8:25::25]:25", "192.0.2.25:25"}, both, []string{"192.0.2.25:25", "[2001:db8:25::25]:25"}},
		{"an IPv4 address written as IPv6", []string{"[::ffff:192.0.2.25]:25"}, both, []string{"192.0.2.25:25"}},
		{"another address", []string{"192.0.2.26:25", "127.0.0.1:25", "[::1]:25"}, both, nil},
		{"an address on one link", []string{"[2001:db8:25::25%eth0]:25"}, both, nil},
		{"a port beside all addresses", []string{"[::]:25", "192.0.2.25:8025"}, both,
			[]string{"192.0.2.25:25", "192.0.2.25:8025", "[2001:db8:25::25]:25"}},
		{"the same port twice", []string{"0.0.0.0:25", "192.0.2.25:25"}, both[:1], []string{"192.0.2.25:25"}},
		{"any free port", []string{"[::]:0", "192.0.2.25:0"}, both, nil},
		{"no service address", []string{"[::]:25"}, nil, nil},
		{"a network is not a service address", []string{"[::]:25"}, []string{"192.0.2.0/24"}, nil},
		{"nothing listens", nil, both, nil},
		{"what cannot be read", []string{"smtp", "[::]:25"}, both[:1], []string{"192.0.2.25:25"}},
	} {
		c := Default()
		c.Ingress.Listen, c.Anycast.Addresses = x.listen, prefixes(x.service...)
		var got []string
		for _, point := range c.ServicePoints() {
			got = append(got, point.String())
		}
		if !slices.Equal(got, x.want) {
			t.Errorf("%s: got %q, want %q", x.name, got, x.want)
		}
	}
}

func TestOfferedFamilies(t *testing.T) {
	four, six := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8:ffff::1")
	for _, x := range []struct {
		name string
		peer BGPPeer
		want []string
	}{
		{"over IPv4", BGPPeer{Address: four}, []string{"ipv4"}},
		{"over IPv6", BGPPeer{Address: six}, []string{"ipv6"}},
		{"over IPv4, both", BGPPeer{Address: four, NextHop6: six}, []string{"ipv4", "ipv6"}},
		{"over IPv6, both", BGPPeer{Address: six, NextHop4: four}, []string{"ipv4", "ipv6"}},
		{"next hop of the session's own family", BGPPeer{Address: four, NextHop4: four}, []string{"ipv4"}},
		{"as written", BGPPeer{Address: four, NextHop6: six, Families: []string{"ipv6"}}, []string{"ipv6"}},
		{"in the order written", BGPPeer{Address: four, Families: []string{"ipv6", "ipv4"}}, []string{"ipv6", "ipv4"}},
		{"nowhere", BGPPeer{}, nil},
	} {
		if got := x.peer.OfferedFamilies(); !slices.Equal(got, x.want) {
			t.Errorf("%s: got %q, want %q", x.name, got, x.want)
		}
	}
}

// A prefix that is announced to none of the routers is a warning, not an error: the node works for
// the others.
func TestUnoffered(t *testing.T) {
	v4, v6 := netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8:25::/48")
	router := BGPPeer{Address: netip.MustParseAddr("198.51.100.1")}
	both := router
	both.NextHop6 = netip.MustParseAddr("2001:db8:ffff::2")
	only4 := both
	only4.Families = []string{FamilyIPv4}
	for name, test := range map[string]struct {
		bgp  *BGP
		want []netip.Prefix
	}{
		"no speaker":      {},
		"IPv4 session":    {&BGP{Peers: []BGPPeer{router}}, []netip.Prefix{v6}},
		"with a next hop": {&BGP{Peers: []BGPPeer{router, both}}, nil},
		"not offered":     {&BGP{Peers: []BGPPeer{only4}}, []netip.Prefix{v6}},
		"nobody to tell":  {&BGP{}, []netip.Prefix{v4, v6}},
	} {
		c := Config{Anycast: Anycast{Prefixes: []netip.Prefix{v4, v6}}, BGP: test.bgp}
		if got := c.Unoffered(); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
