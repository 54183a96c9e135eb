package words

import (
	"math"
	"strings"
	"testing"
	"time"

	"anymx/edge/operate/api"
)

// marked returns the lines of a status, those about problems with a mark.
func marked(lines []Line) string {
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
	port := func(name, mode, problem string) api.ShieldInterface {
		return api.ShieldInterface{Name: name, Mode: mode, Admits: mode != "off", Problem: problem}
	}
	for name, tt := range map[string]struct {
		s    *api.ShieldStatus
		want string
		open string
	}{
		"none": {nil, "", "-"},
		"well": {&api.ShieldStatus{Mode: "auto", Cookies: "own", Interfaces: []api.ShieldInterface{port("eth0", "native", "")}, Listed: 1, SYNs: api.ShieldPressure{Peak: 999.5}},
			" native on eth0; own cookies, key of this node alone; 1 prefix listed\n in peace; the most so far: 1,000 SYNs/s, 0 strays/s\n", ""},
		"two modes": {&api.ShieldStatus{Mode: "auto", Cookies: "own", SharedKey: true,
			Interfaces: []api.ShieldInterface{port("a", "native", ""), port("b", "generic", ""), port("c", "native", "")}},
			" native on a, c, generic on b; own cookies, shared key; 0 prefixes listed\n in peace; the most so far: 0 SYNs/s, 0 strays/s\n", ""},
		"always": {&api.ShieldStatus{Mode: "auto", Cookies: "own", Interfaces: []api.ShieldInterface{port("a", "native", "")}, SYNs: api.ShieldPressure{On: true}},
			" native on a; own cookies, key of this node alone; 0 prefixes listed\n UNDER PRESSURE: SYNs are answered with cookies\n", ""},
		"old kernel": {&api.ShieldStatus{Mode: "auto", Cookies: "kernel", CookiesReason: "kfunc\x1b is missing", SharedKey: true, Interfaces: []api.ShieldInterface{{Name: "a", Mode: "native"}}, Problem: "shared for nothing"},
			" native on a; kernel cookies (kfunc\\x1b is missing); 0 prefixes listed\n in peace; the most so far: 0 SYNs/s, 0 strays/s\n!shared for nothing\n", ""},
		"one open": {&api.ShieldStatus{Mode: "auto", Cookies: "own", Interfaces: []api.ShieldInterface{port("a", "native", ""), port("b", "off", "interface b: gone")}, Problem: "interface b: gone; lists: bad"},
			" native on a; own cookies, key of this node alone; 0 prefixes listed\n in peace; the most so far: 0 SYNs/s, 0 strays/s\n!b: PACKETS PASS UNSEEN: gone\n!lists: bad\n", "packets pass unseen on b"},
		"all open": {&api.ShieldStatus{Mode: "native", Cookies: "own", Interfaces: []api.ShieldInterface{port("a", "off", "interface a: no"), port("b", "", "")}, Problem: "interface a: no"},
			"!on no interface: EVERYTHING PASSES\n!a: PACKETS PASS UNSEEN: no\n!b: PACKETS PASS UNSEEN\n", "everything passes"},
		"no interface": {&api.ShieldStatus{Mode: "auto", Cookies: "own"}, "!on no interface: EVERYTHING PASSES\n", "everything passes"},
		"off":          {&api.ShieldStatus{Mode: "off", Interfaces: []api.ShieldInterface{port("a", "off", "")}}, "!off: EVERYTHING PASSES\n", "everything passes"},
		"not loaded": {&api.ShieldStatus{Mode: "auto", Interfaces: []api.ShieldInterface{port("a", "off", "")}, Problem: "it is not loaded: an earlier one goes on"},
			"!NOT LOADED\n!it is not loaded: an earlier one goes on\n", "it is not loaded: an earlier one goes on"},
	} {
		if got := marked(ShieldText(tt.s)); got != tt.want {
			t.Errorf("%s: got\n%swant\n%s", name, got, tt.want)
		}
		if tt.s != nil && (ShieldOpening(tt.s) != tt.open || ShieldIsOpen(tt.s) != (tt.open != "")) {
			t.Errorf("%s: open: %q, want %q", name, ShieldOpening(tt.s), tt.open)
		}
		if tt.s != nil {
			if err := WriteShield(&strings.Builder{}, *tt.s); err != nil {
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

// Pressure never has zero time left.
func TestPressureLeft(t *testing.T) {
	for left, want := range map[time.Duration]string{
		-1: "", 0: "", 1: " for 1s more", time.Second: " for 1s more", 9*time.Second + 1: " for 10s more", time.Hour: " for 1h more",
	} {
		if got := pressureLeft((api.ShieldPressure{On: true, Left: api.Seconds(left)})); got != want {
			t.Errorf("%s: %q, want %q", left, got, want)
		}
	}
}
