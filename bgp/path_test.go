package bgp

import (
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"
)

func TestPathTo(t *testing.T) {
	outside := Peer{Address: addr("192.0.2.1"), ASN: 64501}
	inside := Peer{Address: addr("192.0.2.2"), ASN: 64500}
	v4, v6 := prefix("198.51.100.0/24"), prefix("2001:db8::/32")
	local := addr("192.0.2.9")
	tests := []struct {
		name   string
		peer   Peer
		export Export
		route  Route
		want   Path
	}{
		{"plain", outside, Export{}, Route{Prefix: v4}, Path{Prefix: v4, NextHop: local, ASPath: []uint32{64500}}},
		{"next hop", outside, Export{NextHop4: addr("192.0.2.7"), NextHop6: addr("2001:db8::7")}, Route{Prefix: v6},
			Path{Prefix: v6, NextHop: addr("2001:db8::7"), ASPath: []uint32{64500}}},
		{"prepended", outside, Export{Prepend: 2, MED: ptr(uint32(7))}, Route{Prefix: v4},
			Path{Prefix: v4, NextHop: local, ASPath: []uint32{64500, 64500, 64500}, MED: ptr(uint32(7))}},
		{"communities of both", outside, Export{Communities: []Community{2, 3}, LargeCommunities: []LargeCommunity{{1, 1, 1}}},
			Route{Prefix: v4, Communities: []Community{1, 2}, LargeCommunities: []LargeCommunity{{1, 1, 0}}},
			Path{Prefix: v4, NextHop: local, ASPath: []uint32{64500}, Communities: []Community{1, 2, 3}, LargeCommunities: []LargeCommunity{{1, 1, 0}, {1, 1, 1}}}},
		{"inside", inside, Export{MED: ptr(uint32(0))}, Route{Prefix: v4},
			Path{Prefix: v4, NextHop: local, MED: ptr(uint32(0)), LocalPref: ptr(uint32(100))}},
		{"inside, going", inside, Export{}, Route{Prefix: v4, Communities: []Community{GracefulShutdown}},
			Path{Prefix: v4, NextHop: local, LocalPref: ptr(uint32(0)), Communities: []Community{GracefulShutdown}}},
		{"outside, going", outside, Export{Communities: []Community{GracefulShutdown}}, Route{Prefix: v4},
			Path{Prefix: v4, NextHop: local, ASPath: []uint32{64500}, Communities: []Community{GracefulShutdown}}},
	}
	for _, test := range tests {
		test.peer.Export = test.export
		got := pathTo(64500, test.peer, local, test.route)
		if describe([]Path{got}) != describe([]Path{test.want}) {
			t.Errorf("%s: %s\nwant %s", test.name, describe([]Path{got}), describe([]Path{test.want}))
		}
	}
	table := paths(64500, outside, local, []Family{IPv6}, []Route{{Prefix: v4}, {Prefix: v6}})
	if len(table) != 1 || table[v6].Prefix != v6 {
		t.Errorf("a session for IPv6 carries %v", table)
	}
}

func TestPlanPeers(t *testing.T) {
	at := func(last byte, change ...func(*Peer)) Peer {
		p := Peer{Address: netip.AddrFrom4([4]byte{192, 0, 2, last}), ASN: 64501}
		for _, c := range change {
			c(&p)
		}
		return p.normal()
	}
	resets := map[string]func(*Peer){
		"port":          func(p *Peer) { p.Port = 1790 },
		"ASN":           func(p *Peer) { p.ASN = 64502 },
		"local address": func(p *Peer) { p.LocalAddress = addr("192.0.2.200") },
		"families":      func(p *Peer) { p.Families = []Family{IPv6} },
		"hold time":     func(p *Peer) { p.HoldTime = 30 * time.Second },
		"retry":         func(p *Peer) { p.ConnectRetry = time.Second },
		"password":      func(p *Peer) { p.Password = "x" },
		"TTL security":  func(p *Peer) { p.TTLSecurity = true },
		"multihop":      func(p *Peer) { p.Multihop = 2 },
	}
	for name, change := range resets {
		plan := planPeers([]Peer{at(1), at(2)}, []Peer{at(1, change), at(2)})
		if len(plan.reset) != 1 || len(plan.add)+len(plan.remove)+len(plan.update) != 0 {
			t.Errorf("another %s: %+v", name, plan)
		}
	}
	updates := map[string]func(*Peer){
		"next hop":    func(p *Peer) { p.Export.NextHop4 = addr("192.0.2.200") },
		"next hop 6":  func(p *Peer) { p.Export.NextHop6 = addr("2001:db8::1") },
		"MED":         func(p *Peer) { p.Export.MED = ptr(uint32(0)) },
		"prepend":     func(p *Peer) { p.Export.Prepend = 1 },
		"community":   func(p *Peer) { p.Export.Communities = []Community{1} },
		"large":       func(p *Peer) { p.Export.LargeCommunities = []LargeCommunity{{1, 1, 1}} },
		"shared MED ": func(p *Peer) { p.Export.MED = ptr(uint32(1)) },
	}
	for name, change := range updates {
		plan := planPeers([]Peer{at(1), at(2)}, []Peer{at(1, change), at(2)})
		if len(plan.update) != 1 || len(plan.add)+len(plan.remove)+len(plan.reset) != 0 {
			t.Errorf("another %s: %+v", name, plan)
		}
		plan = planPeers([]Peer{at(1, change)}, []Peer{at(1, change)})
		if len(plan.update)+len(plan.add)+len(plan.remove)+len(plan.reset) != 0 {
			t.Errorf("the same %s: %+v", name, plan)
		}
	}
	plan := planPeers([]Peer{at(1), at(2)}, []Peer{at(2), at(3)})
	if len(plan.remove) != 1 || plan.remove[0] != at(1).Address || len(plan.add) != 1 || plan.add[0].Address != at(3).Address {
		t.Errorf("one gone, one new: %+v", plan)
	}
}

// Every field of Peer and of Export has its place in one of the comparisons.
func TestNoFieldIsForgotten(t *testing.T) {
	if n := fieldsOf(Peer{}); n != 11 {
		t.Errorf("Peer has %d fields; look at sameSession", n)
	}
	if n := fieldsOf(Export{}); n != 6 {
		t.Errorf("Export has %d fields; look at equal", n)
	}
	if n := fieldsOf(Path{}); n != 7 {
		t.Errorf("Path has %d fields; look at alike", n)
	}
}

func fieldsOf(v any) int { return reflect.TypeOf(v).NumField() }

// randomTable is a table of a few prefixes out of few, with one of few sets of
// attributes each, so that two tables have much in common.
func randomTable(r *rand.Rand) table {
	t := table{}
	for range r.IntN(40) {
		bits := 8 + r.IntN(17)
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(r.IntN(3)), byte(r.IntN(3)), 0}), bits).Masked()
		path := Path{Prefix: p, NextHop: addr("192.0.2.1"), ASPath: []uint32{64500}}
		if r.IntN(2) == 0 {
			path.Prefix = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, byte(r.IntN(3)), byte(r.IntN(3))}), bits+r.IntN(100)).Masked()
			path.NextHop = addr("2001:db8::1")
		}
		switch r.IntN(4) {
		case 0:
			path.MED = ptr(uint32(r.IntN(2)))
		case 1:
			path.ASPath, path.LocalPref = nil, ptr(uint32(100))
		case 2:
			path.Communities, path.LargeCommunities = []Community{1, 2}, []LargeCommunity{{1, 2, 3}}
		}
		t[path.Prefix] = path
	}
	return t
}

// A peer that takes every UPDATE ends with the table that was wanted, whatever
// it had before.
func TestUpdatesLeadThere(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		have, want := randomTable(r), randomTable(r)
		for _, wide := range []bool{true, false} {
			messages, err := updates(planPaths(have, want, nil), wide)
			if err != nil {
				t.Fatal(err)
			}
			got := maps.Clone(have)
			for _, m := range messages {
				apply(t, got, m)
			}
			if describe(got.sorted()) != describe(want.sorted()) {
				t.Fatalf("seed %d: %s\nwant %s", seed, describe(got.sorted()), describe(want.sorted()))
			}
		}
		if plan := planPaths(want, want, nil); !plan.empty() {
			t.Fatalf("seed %d: nothing to do, and yet %+v", seed, plan)
		}
		if plan := planPaths(want, want, []Family{IPv4, IPv6}); len(plan.announce) != len(want) || len(plan.withdraw) != 0 {
			t.Fatalf("seed %d: told again: %+v", seed, plan)
		}
	}
}

// apply does what a router does with an UPDATE.
func apply(t testing.TB, have table, m []byte) {
	t.Helper()
	if len(m) > messageSize {
		t.Fatalf("an UPDATE of %d octets", len(m))
	}
	parsed, err := packet.ParseBGPMessage(m)
	if err != nil {
		t.Fatal(err)
	}
	families := map[packet.RouteFamily]packet.BGPAddPathMode{packet.RF_IPv4_UC: 0, packet.RF_IPv6_UC: 0}
	u := parsed.Body.(*packet.BGPUpdate)
	if ok, err := packet.ValidateUpdateMsg(u, families, true, false, false); !ok {
		t.Fatal(err)
	}
	for _, p := range u.WithdrawnRoutes {
		delete(have, prefix(p.String()))
	}
	learn := func(text string) {
		path := pathOf(u.PathAttributes)
		path.Prefix = prefix(text)
		have[path.Prefix] = path
	}
	for _, p := range u.NLRI {
		learn(p.String())
	}
	for i, a := range u.PathAttributes {
		switch a := a.(type) {
		case *packet.PathAttributeMpUnreachNLRI:
			for _, p := range a.Value {
				delete(have, prefix(p.String()))
			}
		case *packet.PathAttributeMpReachNLRI:
			if i != 0 {
				t.Error("MP_REACH_NLRI is not the first attribute")
			}
			for _, p := range a.Value {
				learn(p.String())
			}
		}
	}
}

// Many prefixes with as many attributes as there may be fit into messages.
func TestUpdatesThatAreFull(t *testing.T) {
	want := table{}
	p := Path{ASPath: slices.Repeat([]uint32{4200000100}, 1+maxPrepend), MED: ptr(uint32(1)), LocalPref: ptr(uint32(1))}
	for i := range 2 * maxCommunities {
		p.Communities = append(p.Communities, Community(i))
		p.LargeCommunities = append(p.LargeCommunities, LargeCommunity{uint32(i), 1, 1})
	}
	for i := range 3000 {
		four, six := p, p
		four.NextHop, six.NextHop = addr("192.0.2.1"), addr("2001:db8::1")
		four.Prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32)
		six.Prefix = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 14: byte(i >> 8), 15: byte(i)}), 128)
		want[four.Prefix], want[six.Prefix] = four, six
	}
	for _, wide := range []bool{true, false} {
		for from, to := range map[*table]*table{{}: &want, &want: {}} {
			messages, err := updates(planPaths(*from, *to, nil), wide)
			if err != nil {
				t.Fatal(err)
			}
			got := maps.Clone(*from)
			for _, m := range messages {
				apply(t, got, m)
			}
			if len(got) != len(*to) {
				t.Errorf("%d paths, want %d", len(got), len(*to))
			}
			if full := slices.MaxFunc(messages, func(a, b []byte) int { return len(a) - len(b) }); len(full) < messageSize-20 {
				t.Errorf("the longest of %d messages has %d octets: room is wasted", len(messages), len(full))
			}
		}
	}
}
