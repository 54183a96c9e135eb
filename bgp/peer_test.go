package bgp

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestPeerDefaults(t *testing.T) {
	list, err := normalPeers(64500, []Peer{{Address: addr("::ffff:192.0.2.9"), ASN: 64501}, {Address: addr("192.0.2.1"), ASN: 64500}})
	if err != nil {
		t.Fatal(err)
	}
	want := []Peer{
		{Address: addr("192.0.2.1"), Port: 179, ASN: 64500, Families: []Family{IPv4}, HoldTime: 9 * time.Second, ConnectRetry: 5 * time.Second, Multihop: 1},
		{Address: addr("192.0.2.9"), Port: 179, ASN: 64501, Families: []Family{IPv4}, HoldTime: 9 * time.Second, ConnectRetry: 5 * time.Second, Multihop: 1},
	}
	if !reflect.DeepEqual(list, want) {
		t.Errorf("%+v\nwant %+v", list, want)
	}
}

// The speaker keeps nothing that the caller may change afterwards.
func TestPeersAreCopied(t *testing.T) {
	med := uint32(1)
	p := Peer{
		Address: addr("192.0.2.1"), ASN: 64501, Families: []Family{IPv4},
		Export: Export{MED: &med, Communities: []Community{1}, LargeCommunities: []LargeCommunity{{1, 2, 3}}},
	}
	list, err := normalPeers(64500, []Peer{p})
	if err != nil {
		t.Fatal(err)
	}
	med, p.Families[0], p.Export.Communities[0], p.Export.LargeCommunities[0] = 2, IPv6, 2, LargeCommunity{}
	got := list[0]
	if *got.Export.MED != 1 || got.Families[0] != IPv4 || got.Export.Communities[0] != 1 || got.Export.LargeCommunities[0].Global != 1 {
		t.Errorf("%+v", got)
	}
	routes := []Route{{Prefix: prefix("192.0.2.0/24"), Communities: []Community{1}}}
	kept, err := normalRoutes(routes)
	if err != nil {
		t.Fatal(err)
	}
	routes[0].Communities[0] = 2
	if kept[0].Communities[0] != 1 {
		t.Errorf("%+v", kept)
	}
}

func TestBadPeers(t *testing.T) {
	good := Peer{Address: addr("192.0.2.1"), ASN: 64501}
	overIPv6 := Peer{Address: addr("2001:db8::1"), ASN: 64501}
	tests := []struct {
		want   string
		peer   Peer
		change func(*Peer)
	}{
		{"cannot be a router's address", good, func(p *Peer) { p.Address = netip.Addr{} }},
		{"cannot be a router's address", good, func(p *Peer) { p.Address = addr("0.0.0.0") }},
		{"cannot be a router's address", good, func(p *Peer) { p.Address = addr("224.0.0.5") }},
		{"cannot be a router's address", good, func(p *Peer) { p.Address = addr("fe80::1%eth0") }},
		{"0 cannot be the number", good, func(p *Peer) { p.ASN = 0 }},
		{"23456 cannot be the number", good, func(p *Peer) { p.ASN = 23456 }},
		{"cannot dial it from", good, func(p *Peer) { p.LocalAddress = addr("2001:db8::2") }},
		{"cannot dial it from", good, func(p *Peer) { p.LocalAddress = addr("0.0.0.0") }},
		{"hold time 2s", good, func(p *Peer) { p.HoldTime = 2 * time.Second }},
		{"hold time 3.5s", good, func(p *Peer) { p.HoldTime = 3500 * time.Millisecond }},
		{"hold time 18h12m16s", good, func(p *Peer) { p.HoldTime = 65536 * time.Second }},
		{"connect retry -1s", good, func(p *Peer) { p.ConnectRetry = -time.Second }},
		{"has 81 octets", good, func(p *Peer) { p.Password = Password(strings.Repeat("x", 81)) }},
		{"no address family", good, func(p *Peer) { p.Families = []Family{} }},
		{"family 7", good, func(p *Peer) { p.Families = []Family{7} }},
		{"stands twice", good, func(p *Peer) { p.Families = []Family{IPv4, IPv4} }},
		{"need an IPv6 next hop", good, func(p *Peer) { p.Families = []Family{IPv4, IPv6} }},
		{"need an IPv4 next hop", overIPv6, func(p *Peer) { p.Families = []Family{IPv4} }},
		{"cannot be an IPv4 next hop", good, func(p *Peer) { p.Export.NextHop4 = addr("2001:db8::2") }},
		{"cannot be an IPv4 next hop", good, func(p *Peer) { p.Export.NextHop4 = addr("0.0.0.0") }},
		{"cannot be an IPv6 next hop", overIPv6, func(p *Peer) { p.Export.NextHop6 = addr("192.0.2.2") }},
		{"cannot be an IPv6 next hop", overIPv6, func(p *Peer) { p.Export.NextHop6 = addr("fe80::1") }},
		{"prepending 33 times", good, func(p *Peer) { p.Export.Prepend = 33 }},
		{"iBGP router take the path for a loop", good, func(p *Peer) { p.ASN = 64500; p.Export.Prepend = 1 }},
		{"65 communities", good, func(p *Peer) {
			for i := range Community(65) {
				p.Export.Communities = append(p.Export.Communities, i)
			}
		}},
	}
	for _, test := range tests {
		p := test.peer
		test.change(&p)
		_, err := normalPeers(64500, []Peer{p})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", p, err, test.want)
		}
	}
	if _, err := normalPeers(64500, []Peer{good, overIPv6}); err != nil {
		t.Errorf("good peers: %v", err)
	}
	_, err := normalPeers(64500, []Peer{good, {Address: good.Address}, {Address: addr("192.0.2.3"), ASN: 64501, HoldTime: 1}})
	for _, want := range []string{"peer 192.0.2.1 stands twice", "peer 192.0.2.1: 0 cannot", "peer 192.0.2.3: hold time"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

func TestBadRoutes(t *testing.T) {
	many := make([]LargeCommunity, 65)
	for i := range many {
		many[i].Global = uint32(i)
	}
	for want, routes := range map[string][]Route{
		"not a unicast prefix":        {{}},
		"224.0.0.0/4: not a unicast":  {{Prefix: prefix("224.0.0.0/4")}},
		"is 192.0.2.0/24 meant?":      {{Prefix: prefix("192.0.2.1/24")}},
		"192.0.2.0/24 stands twice":   {{Prefix: prefix("192.0.2.0/24")}, {Prefix: prefix("192.0.2.0/24")}},
		"::ffff:192.0.2.0/120: not a": {{Prefix: prefix("::ffff:192.0.2.0/120")}},
		"0 communities and 65 large":  {{Prefix: prefix("192.0.2.0/24"), LargeCommunities: many}},
		"ff02::/16: not a unicast":    {{Prefix: prefix("ff02::/16")}},
		"2001:db8::1/64: has host":    {{Prefix: prefix("2001:db8::1/64")}},
		"10.0.0.0/8 stands twice":     {{Prefix: prefix("10.0.0.0/8")}, {Prefix: prefix("11.0.0.0/8")}, {Prefix: prefix("10.0.0.0/8")}},
	} {
		_, err := normalRoutes(routes)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", routes, err, want)
		}
	}
	list, err := normalRoutes([]Route{
		{Prefix: prefix("2001:db8::/32")}, {Prefix: prefix("0.0.0.0/0"), Communities: []Community{3, 1, 3}}, {Prefix: prefix("192.0.2.1/32")},
	})
	if err != nil || len(list) != 3 || list[0].Prefix != prefix("0.0.0.0/0") || len(list[0].Communities) != 2 || list[2].Prefix != prefix("2001:db8::/32") {
		t.Errorf("%v %v", list, err)
	}
}

// Check refuses what the setters refuse, all of it in one error.
func TestCheck(t *testing.T) {
	p := Peer{Address: addr("192.0.2.9"), ASN: 64501}
	if err := Check(64500, []Peer{p}, []Route{{Prefix: prefix("192.0.2.0/24")}}); err != nil {
		t.Error(err)
	}
	p.ASN = 0
	err := Check(64500, []Peer{p}, []Route{{Prefix: prefix("192.0.2.1/24")}})
	if err == nil || !strings.Contains(err.Error(), "autonomous system") || !strings.Contains(err.Error(), "host bits") {
		t.Errorf("refused for %v", err)
	}
}
