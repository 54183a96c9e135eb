package plumb

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func prefixOf(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// text formats a plan as lines, without our mark.
func text(steps []Step) []string {
	var lines []string
	for _, s := range steps {
		lines = append(lines, strings.TrimSuffix(s.String(), " proto 125"))
	}
	return lines
}

func TestPlan(t *testing.T) {
	service := Service(prefixOf("192.0.2.25/32"))
	service6 := Service(prefixOf("2001:db8:25::25/128"))
	behind := prefixOf("10.77.0.0/24")
	tunnel := Tunnel("wg-core", []netip.Prefix{prefixOf("10.77.0.2/24")}, []netip.Prefix{behind})
	source := Sources([]Source{{prefixOf("198.51.100.10/24"), "eth0", netip.MustParseAddr("198.51.100.1")}})
	source6 := Sources([]Source{{Address: prefixOf("2001:db8:1::10/64"), Interface: "eth0"}})
	ours := func(wants ...Want) (have []found) {
		for _, w := range wants {
			have = append(have, found{Thing: w.Thing, ours: true})
		}
		return have
	}
	others := func(things ...Thing) (have []found) {
		for _, t := range things {
			have = append(have, found{Thing: t})
		}
		return have
	}
	for name, test := range map[string]struct {
		want []Want
		have []found
		plan []string
	}{
		"nothing": {},
		"service addresses": {want: slices.Concat(service, service6), plan: []string{
			"ip -4 address add 192.0.2.25/32 dev lo scope host",
			"ip -6 address add 2001:db8:25::25/128 dev lo nodad preferred_lft 0",
		}},
		"a tunnel": {want: tunnel, plan: []string{
			"ip -4 route add unreachable 10.77.0.0/24 metric 4000000000",
			"ip -4 rule add to 10.77.0.0/24 lookup main priority 2500",
			"ip -4 address add 10.77.0.2/24 dev wg-core noprefixroute",
			"ip -4 route add 10.77.0.0/24 dev wg-core",
		}},
		"the tunnel's end": {have: ours(tunnel...), plan: []string{
			"ip -4 route del 10.77.0.0/24 dev wg-core",
			"ip -4 address del 10.77.0.2/24 dev wg-core",
			"ip -4 rule del to 10.77.0.0/24 lookup main priority 2500",
			"ip -4 route del unreachable 10.77.0.0/24 metric 4000000000",
		}},
		"a tunnel whose address is outside of what is behind it": {
			want: Tunnel("wg-core", []netip.Prefix{prefixOf("fd77::2/64")}, []netip.Prefix{prefixOf("fd77:1::/64")}),
			plan: []string{
				"ip -6 route add unreachable fd77:1::/64 metric 4000000000",
				"ip -6 route add unreachable fd77::/64 metric 4000000000",
				"ip -6 rule add to fd77:1::/64 lookup main priority 2500",
				"ip -6 rule add to fd77::/64 lookup main priority 2500",
				"ip -6 address add fd77::2/64 dev wg-core nodad noprefixroute",
				"ip -6 route add fd77:1::/64 dev wg-core metric 1",
			},
		},
		"a source": {want: source, plan: []string{
			"ip -4 route add unreachable default table 3325256714 metric 4000000000",
			"ip -4 address add 198.51.100.10/32 dev eth0",
			"ip -4 route add 198.51.100.0/24 dev eth0 metric 3999999999",
			"ip -4 route add default via 198.51.100.1 dev eth0 onlink table 3325256714",
			"ip -4 rule add from 198.51.100.10 lookup 3325256714 priority 2550",
		}},
		"all is there":                 {want: slices.Concat(service, tunnel, source), have: ours(slices.Concat(source, tunnel, service)...)},
		"another has made the address": {want: service, have: others(Address{Prefix: prefixOf("192.0.2.25/32"), Dev: "lo"})},
		"another's things":             {have: others(service[0].Thing, source[3].Thing)},
		"the address is of another scope": {
			want: service, have: ours(Want{Address{Prefix: prefixOf("192.0.2.25/32"), Dev: "lo"}, ""}),
			plan: []string{"ip -4 address del 192.0.2.25/32 dev lo", "ip -4 address add 192.0.2.25/32 dev lo scope host"},
		},
		"the IPv6 address is preferred": {
			want: service6, have: ours(Want{Address{Prefix: prefixOf("2001:db8:25::25/128"), Dev: "lo", NoDAD: true}, ""}),
			plan: []string{"ip -6 address replace 2001:db8:25::25/128 dev lo nodad preferred_lft 0"},
		},
		"the IPv6 address has another length": {
			want: service6, have: ours(Want{Address{Prefix: prefixOf("2001:db8:25::25/64"), Dev: "lo"}, ""}),
			plan: []string{"ip -6 address del 2001:db8:25::25/64 dev lo", "ip -6 address add 2001:db8:25::25/128 dev lo nodad preferred_lft 0"},
		},
		"another has the source's address in its network": {
			want: source[:1], have: others(Address{Prefix: prefixOf("198.51.100.10/24"), Dev: "eth0"}),
		},
		"the network gets another length": {
			want: Sources([]Source{{Address: prefixOf("198.51.100.10/25"), Interface: "eth0"}}), have: ours(source[:2]...),
			plan: []string{"ip -4 route add 198.51.100.0/25 dev eth0 metric 3999999999", "ip -4 route del 198.51.100.0/24 dev eth0 metric 3999999999"},
		},
		"another host has the address": {
			want: source6, have: []found{{Thing: source6[0].Thing, ours: true, duplicate: true}},
			plan: []string{"ip -6 address del 2001:db8:1::10/64 dev eth0", "ip -6 address add 2001:db8:1::10/64 dev eth0 preferred_lft 0"},
		},
		"another gateway": {
			want: Sources([]Source{{prefixOf("198.51.100.10/24"), "eth0", netip.MustParseAddr("198.51.100.2")}}), have: ours(source...),
			plan: []string{"ip -4 route replace default via 198.51.100.2 dev eth0 onlink table 3325256714"},
		},
		"no gateway any more": {
			want: source[:2], have: ours(source...),
			plan: []string{
				"ip -4 rule del from 198.51.100.10 lookup 3325256714 priority 2550",
				"ip -4 route del default via 198.51.100.1 dev eth0 onlink table 3325256714",
				"ip -4 route del unreachable default table 3325256714 metric 4000000000",
			},
		},
		"what is new comes before what is old goes": {
			want: Tunnel("wg-core", nil, []netip.Prefix{prefixOf("10.78.0.0/24")}),
			have: ours(Tunnel("wg-core", nil, []netip.Prefix{behind})...),
			plan: []string{
				"ip -4 route add unreachable 10.78.0.0/24 metric 4000000000",
				"ip -4 rule add to 10.78.0.0/24 lookup main priority 2500",
				"ip -4 route add 10.78.0.0/24 dev wg-core",
				"ip -4 route del 10.77.0.0/24 dev wg-core",
				"ip -4 rule del to 10.77.0.0/24 lookup main priority 2500",
				"ip -4 route del unreachable 10.77.0.0/24 metric 4000000000",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := text(plan(test.want, test.have)); !slices.Equal(got, test.plan) {
				t.Errorf("plan:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(test.plan, "\n"))
			}
		})
	}
}

func TestPlanStepsAreMarked(t *testing.T) {
	steps := plan(Service(prefixOf("192.0.2.25/32")), nil)
	if want := "ip -4 address add 192.0.2.25/32 dev lo scope host proto 125"; len(steps) != 1 || steps[0].String() != want {
		t.Fatalf("steps %v, want %q", steps, want)
	}
}

// table is a simulated kernel: it executes steps and enforces that each key is unique.
type table map[Thing]found

func (k table) do(s Step) error {
	now, there := k[s.Thing.key()]
	switch {
	case s.Verb == Add && there:
		return fmt.Errorf("%s: %s exists", s, now)
	case s.Verb != Add && (!there || !now.ours):
		return fmt.Errorf("%s: nothing of ours", s)
	case s.Verb == Delete:
		delete(k, s.Thing.key())
	default:
		k[s.Thing.key()] = found{Thing: s.Thing, ours: true}
	}
	return nil
}

func (k table) list() (have []found) {
	for _, f := range k {
		have = append(have, f)
	}
	return have
}

// leak names a prefix to which a packet could bypass the tunnel, of those guarded both before and
// after a change; "" if there is none.
func (k table) leak(wants []Want, before table) string {
	unreachable := func(r Route) Route {
		return Route{Prefix: r.Prefix, Unreachable: true, Table: mainTable, Metric: unreachableMetric}
	}
	for _, f := range k { // each route over the tunnel has its unreachable one
		if r, ok := f.Thing.(Route); ok && f.ours && r.Table == mainTable && !r.Unreachable && strings.HasPrefix(r.Dev, "wg") {
			if _, guarded := k[unreachable(r).key()]; !guarded {
				return r.String()
			}
		}
	}
	for _, w := range wants { // what stays guarded has no gap
		r, ok := w.Thing.(Route)
		if _, was := before[w.key()]; ok && r.Unreachable && was {
			if _, is := k[w.key()]; !is {
				return r.String()
			}
		}
	}
	return ""
}

// some generates a config from a small set of values, so that things collide.
func some(r *rand.Rand) []Want {
	var wants []Want
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	for range r.IntN(3) {
		wants = append(wants, Service(prefixOf(pick("192.0.2.25/32", "192.0.2.26/32", "2001:db8:25::25/128")))...)
	}
	if r.IntN(3) > 0 {
		wants = append(wants, Tunnel(pick("wg-core", "wg1"),
			[]netip.Prefix{prefixOf(pick("10.77.0.2/24", "10.77.0.2/32", "fd77::2/64"))},
			[]netip.Prefix{prefixOf(pick("10.77.0.0/24", "10.77.0.0/16", "fd77::/64")), prefixOf(pick("10.78.0.0/24", "fd78::/64"))})...)
	}
	var sources []Source
	taken := map[string]bool{}
	for range r.IntN(4) {
		s := pick("198.51.100.10/24", "198.51.100.10/25", "198.51.100.11/24", "2001:db8::10/64", "2001:db8::11/64")
		host, _, _ := strings.Cut(s, "/")
		if taken[host] {
			continue
		}
		taken[host] = true
		source := Source{Address: prefixOf(s), Interface: pick("eth0", "eth1")}
		if gateway := pick("", "198.51.100.1", "198.51.100.2"); gateway != "" && source.Address.Addr().Is4() {
			source.Gateway = netip.MustParseAddr(gateway)
		}
		if gateway := pick("", "fe80::1", "2001:db8::1"); gateway != "" && source.Address.Addr().Is6() {
			source.Gateway = netip.MustParseAddr(gateway)
		}
		sources = append(sources, source)
	}
	return append(wants, Sources(sources)...)
}

// From any state to any config: the steps work one by one, lead to the wanted state, touch nothing
// foreign, leave no gap, and a second plan is empty.
func TestPlan_property(t *testing.T) {
	for seed := range uint64(5_000) {
		r := rand.New(rand.NewPCG(seed, 77))
		kernel := table{}
		for _, w := range some(r) {
			kernel[w.key()] = found{Thing: w.Thing, ours: r.IntN(4) > 0 || w.Kind() == "route"}
		}
		for _, w := range some(r) { // as another config left it, or as others changed it
			if f := kernel[w.key()]; f.Thing == nil || f.ours {
				kernel[w.key()] = found{Thing: w.Thing, ours: true}
			}
		}
		wants := some(r)
		before, foreign := table{}, map[Thing]bool{}
		for key, f := range kernel {
			before[key] = f
			if !f.ours {
				foreign[f.Thing] = true
			}
		}
		whole := kernel.leak(wants, before) == "" // others may have removed the guards
		for _, step := range plan(wants, kernel.list()) {
			if err := kernel.do(step); err != nil {
				t.Fatalf("seed %d: %s", seed, err)
			}
			if leak := kernel.leak(wants, before); whole && leak != "" {
				t.Fatalf("seed %d: after %q nothing guards %s", seed, step, leak)
			}
		}
		for _, w := range sortWants(wants) {
			if !present(w, kernel) {
				t.Fatalf("seed %d: %s is missing", seed, w)
			}
		}
		for thing := range foreign {
			if kernel[thing.key()] != (found{Thing: thing}) {
				t.Fatalf("seed %d: another's %s was touched", seed, thing)
			}
		}
		wanted := map[Thing]bool{}
		for _, w := range sortWants(wants) {
			wanted[w.Thing] = true
		}
		for _, f := range kernel {
			if f.ours && !wanted[f.Thing] {
				t.Fatalf("seed %d: %s is left over", seed, f)
			}
		}
		if again := plan(wants, kernel.list()); len(again) > 0 {
			t.Fatalf("seed %d: a second plan is %v", seed, again)
		}
	}
}

func TestPresent(t *testing.T) {
	address := Service(prefixOf("2001:db8::25/128"))[0]
	route := Tunnel("wg-core", nil, []netip.Prefix{prefixOf("10.77.0.0/24")})[2]
	elsewhere := route.Thing.(Route)
	elsewhere.Dev = "eth0"
	for name, test := range map[string]struct {
		want Want
		have []found
		ok   bool
	}{
		"absent":                    {want: address},
		"there":                     {want: address, have: []found{{Thing: address.Thing, ours: true}}, ok: true},
		"another's":                 {want: address, have: []found{{Thing: Address{Prefix: prefixOf("2001:db8::25/64"), Dev: "lo"}}}, ok: true},
		"another host's":            {want: address, have: []found{{Thing: address.Thing, ours: true, duplicate: true}}},
		"another's route elsewhere": {want: route, have: []found{{Thing: elsewhere}}},
	} {
		t.Run(name, func(t *testing.T) {
			if ok := present(test.want, byKey(test.have)); ok != test.ok {
				t.Errorf("present %v, want %v", ok, test.ok)
			}
		})
	}
}

// A source's table is its own, and stays when others come and go.
func TestSourceTables(t *testing.T) {
	var sources []Source
	for i := range 1000 {
		sources = append(sources,
			Source{netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}), 16), "eth0", netip.MustParseAddr("198.51.255.1")},
			Source{netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 2: 0xd, 3: 0xb8, 14: byte(i >> 8), 15: byte(i)}), 64), "eth0", netip.MustParseAddr("fe80::1")})
	}
	tables := func(sources []Source) map[netip.Addr]uint32 {
		of, taken := map[netip.Addr]uint32{}, map[string]bool{}
		for _, w := range Sources(sources) {
			if rule, ok := w.Thing.(Rule); ok {
				key := fmt.Sprint(rule.family(), rule.Table)
				if taken[key] || rule.Table < 1<<24 {
					t.Fatalf("table %d of %s is taken", rule.Table, rule.From)
				}
				of[rule.From.Addr()], taken[key] = rule.Table, true
			}
		}
		return of
	}
	all := tables(sources)
	if len(all) != 2000 {
		t.Fatalf("%d tables, want 2000", len(all))
	}
	slices.Reverse(sources)
	for addr, number := range tables(sources[:700]) {
		if all[addr] != number {
			t.Errorf("%s had table %d and has %d", addr, all[addr], number)
		}
	}
}

func TestSourceTable_takenByAHashAlike(t *testing.T) {
	addr := netip.MustParseAddr("2001:db8::10")
	taken := map[uint32]bool{}
	first := sourceTable(addr, taken)
	if second := sourceTable(addr, taken); second != 1<<31|(first+1) {
		t.Errorf("tables %d and %d", first, second)
	}
}
