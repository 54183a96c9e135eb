package control

import (
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// marked are the lines of a status, those that are wrong with a mark.
func marked(lines []line) string {
	var b strings.Builder
	for _, l := range lines {
		mark := " "
		if l.Wrong {
			mark = "!"
		}
		b.WriteString(mark + l.Text + "\n")
	}
	return b.String()
}

func TestShieldText(t *testing.T) {
	port := func(name, mode, problem string) ShieldInterface {
		return ShieldInterface{Name: name, Mode: mode, Admits: mode != "off", Problem: problem}
	}
	for name, tt := range map[string]struct {
		s    *ShieldStatus
		want string
		open string
	}{
		"none": {nil, "", "-"},
		"well": {&ShieldStatus{Mode: "auto", Cookies: "own", Interfaces: []ShieldInterface{port("eth0", "native", "")}, Listed: 1, SYNs: ShieldPressure{Peak: 999.5}},
			" native on eth0; own cookies, key of this node alone; 1 prefix listed\n in peace; the most so far: 1,000 SYNs/s, 0 strays/s\n", ""},
		"two modes": {&ShieldStatus{Mode: "auto", Cookies: "own", SharedKey: true,
			Interfaces: []ShieldInterface{port("a", "native", ""), port("b", "generic", ""), port("c", "native", "")}},
			" native on a, c, generic on b; own cookies, shared key; 0 prefixes listed\n in peace; the most so far: 0 SYNs/s, 0 strays/s\n", ""},
		"always": {&ShieldStatus{Mode: "auto", Cookies: "own", Interfaces: []ShieldInterface{port("a", "native", "")}, SYNs: ShieldPressure{On: true}},
			" native on a; own cookies, key of this node alone; 0 prefixes listed\n UNDER PRESSURE: SYNs are answered with cookies\n", ""},
		"old kernel": {&ShieldStatus{Mode: "auto", Cookies: "kernel", Why: "kfunc\x1b is missing", SharedKey: true, Interfaces: []ShieldInterface{{Name: "a", Mode: "native"}}, Problem: "shared for nothing"},
			" native on a; kernel cookies (kfunc\\x1b is missing); 0 prefixes listed\n in peace; the most so far: 0 SYNs/s, 0 strays/s\n!shared for nothing\n", ""},
		"one open": {&ShieldStatus{Mode: "auto", Cookies: "own", Interfaces: []ShieldInterface{port("a", "native", ""), port("b", "off", "interface b: gone")}, Problem: "interface b: gone; lists: bad"},
			" native on a; own cookies, key of this node alone; 0 prefixes listed\n in peace; the most so far: 0 SYNs/s, 0 strays/s\n!b: PACKETS PASS UNSEEN: gone\n!lists: bad\n", "packets pass unseen on b"},
		"all open": {&ShieldStatus{Mode: "native", Cookies: "own", Interfaces: []ShieldInterface{port("a", "off", "interface a: no"), port("b", "", "")}, Problem: "interface a: no"},
			"!on no interface: EVERYTHING PASSES\n!a: PACKETS PASS UNSEEN: no\n!b: PACKETS PASS UNSEEN\n", "everything passes"},
		"no interface": {&ShieldStatus{Mode: "auto", Cookies: "own"}, "!on no interface: EVERYTHING PASSES\n", "everything passes"},
		"off":          {&ShieldStatus{Mode: "off", Interfaces: []ShieldInterface{port("a", "off", "")}}, "!off: EVERYTHING PASSES\n", "everything passes"},
		"not loaded": {&ShieldStatus{Mode: "auto", Interfaces: []ShieldInterface{port("a", "off", "")}, Problem: "it is not loaded: an earlier one goes on"},
			"!NOT LOADED\n!it is not loaded: an earlier one goes on\n", "it is not loaded: an earlier one goes on"},
	} {
		if got := marked(tt.s.text()); got != tt.want {
			t.Errorf("%s: got\n%swant\n%s", name, got, tt.want)
		}
		if tt.s != nil && (tt.s.open() != tt.open || tt.s.Open() != (tt.open != "")) {
			t.Errorf("%s: open: %q, want %q", name, tt.s.open(), tt.open)
		}
		if tt.s != nil {
			if err := tt.s.WriteText(&strings.Builder{}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestRate(t *testing.T) {
	for r, want := range map[float64]string{
		0: "0", 0.4: "0", 7.45: "7", 1412345.5: "1,412,346", -1: "?", math.Inf(1): "?", math.MaxFloat64: "?",
	} {
		if got := rate(r); got != want {
			t.Errorf("%v: %s, want %s", r, got, want)
		}
	}
	if got := rate(math.NaN()); got != "?" {
		t.Errorf("NaN: %s", got)
	}
	if got := many(math.MaxUint64); got != "9,223,372,036,854,775,807" {
		t.Errorf("the most: %s", got)
	}
}

// Pressure is never said to last for no time.
func TestPressureLeft(t *testing.T) {
	for left, want := range map[time.Duration]string{
		-1: "", 0: "", 1: " for 1s more", time.Second: " for 1s more", 9*time.Second + 1: " for 10s more", time.Hour: " for 1h more",
	} {
		if got := (ShieldPressure{On: true, Left: left}).left(); got != want {
			t.Errorf("%s: %q, want %q", left, got, want)
		}
	}
}

// The entry that decides about an address comes first.
func TestListsHolding(t *testing.T) {
	var l ShieldLists
	for _, p := range []string{"2001:db8::/32", "192.0.2.0/25", "192.0.2.0/24", "0.0.0.0/1", "192.0.2.7/32", "128.0.0.0/1", "192.0.3.0/24"} {
		l.Entries = append(l.Entries, ShieldEntry{Prefix: netip.MustParsePrefix(p)})
	}
	texts := func(l ShieldLists) (list []string) {
		for _, e := range l.Entries {
			list = append(list, e.Prefix.String())
		}
		return list
	}
	for p, want := range map[string][]string{
		"192.0.2.7/32":    {"192.0.2.7/32", "192.0.2.0/25", "192.0.2.0/24", "128.0.0.0/1"},
		"192.0.2.0/24":    {"192.0.2.0/24", "128.0.0.0/1"},
		"10.0.0.1/32":     {"0.0.0.0/1"},
		"2001:db8:1::/48": {"2001:db8::/32"},
		"2001:db9::1/128": nil,
		"::ffff:0:0/96":   nil,
		"0.0.0.0/0":       nil,
	} {
		if got := texts(l.Holding(netip.MustParsePrefix(p))); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", p, got, want)
		}
	}
	l.Sort()
	want := []string{"0.0.0.0/1", "128.0.0.0/1", "192.0.2.0/25", "192.0.2.0/24", "192.0.2.7/32", "192.0.3.0/24", "2001:db8::/32"}
	if got := texts(l); !slices.Equal(got, want) {
		t.Errorf("sorted: %v, want %v", got, want)
	}
}
