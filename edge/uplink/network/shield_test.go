package network

import (
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"anymx/edge/operate/api"
	"anymx/xdp"

	"github.com/prometheus/client_golang/prometheus"
)

const guarded = `[core]
addresses = ["10.77.0.1:2525"]
[ingress]
listen = ["[::]:25", "192.0.2.25:8025", "127.0.0.1:2525"]
[anycast]
addresses = ["192.0.2.25/32", "2001:db8:25::25/128"]
prefixes = ["192.0.2.0/24", "2001:db8:25::/48"]
[shield]
interfaces = ["eth0", "eth1"]
`

func TestShieldWants(t *testing.T) {
	c := parse(t, "/nowhere", guarded)
	p, err := shieldWants(c)
	if err != nil || p.unkeyed != nil {
		t.Fatal(err, p.unkeyed)
	}
	services := []xdp.Service{
		{Address: c.Anycast.Addresses[0].Addr(), Ports: []uint16{25, 8025}},
		{Address: c.Anycast.Addresses[1].Addr(), Ports: []uint16{25}},
	}
	if want := (xdp.Settings{
		Services: services, Epoch: xdp.DefaultEpoch, SYNRate: xdp.DefaultSYNRate, StrayRate: xdp.DefaultStrayRate,
		Hold: xdp.DefaultHold, ConnectionRate: 100, MTU: xdp.DefaultMTU,
	}); !reflect.DeepEqual(p.settings, want) {
		t.Errorf("defaults %+v, want %+v", p.settings, want)
	}
	if p.options.Mode != xdp.Auto || p.options.Pins != defaultPins || !slices.Equal(p.options.Interfaces, []string{"eth0", "eth1"}) {
		t.Errorf("options %+v", p.options)
	}

	dir := t.TempDir()
	c = parse(t, dir, guarded+`mode = "generic"
key_file = "DIR/key"
epoch = "30s"
cookies = "never"
syn_rate = 1
stray_rate = 2
hold = "3s"
connection_rate = 4
connection_burst = 5
fragments = "pass"
unparsable = "pass"
unserved = "pass"
block_file = "/etc/blocked"
allow_file = "/etc/allowed"
pins = "/run/pins"
mtu = 1400
`)
	for _, step := range []struct{ key, says string }{{"", "shield.key_file: "}, {"fifteen letters\n", "holds less than 16 bytes"}, {"sixteen letters!\n", ""}} {
		if step.key != "" {
			if err := os.WriteFile(filepath.Join(dir, "key"), []byte(step.key), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if p, err = shieldWants(c); err != nil {
			t.Fatal(err)
		}
		switch {
		case step.says == "" && p.unkeyed != nil:
			t.Error(p.unkeyed)
		case step.says != "" && (p.unkeyed == nil || !strings.Contains(p.unkeyed.Error(), step.says) || p.settings.Key != nil || strings.Contains(p.unkeyed.Error(), "fifteen")):
			t.Errorf("unkeyed %v, key %q", p.unkeyed, p.settings.Key)
		}
	}
	if want := (xdp.Settings{
		Services: services, Key: []byte("sixteen letters!"), Epoch: 30 * time.Second, Cookies: xdp.Never, SYNRate: 1, StrayRate: 2,
		Hold: 3 * time.Second, ConnectionRate: 4, ConnectionBurst: 5, PassUnparsable: true, PassFragments: true, PassUnserved: true, MTU: 1400,
	}); !reflect.DeepEqual(p.settings, want) {
		t.Errorf("settings %+v, want %+v", p.settings, want)
	}
	if p.options.Mode != xdp.Generic || p.options.Pins != "/run/pins" || p.allow != "/etc/allowed" || p.block != "/etc/blocked" {
		t.Errorf("plan %+v", p)
	}
}

func TestPlanShield(t *testing.T) {
	pins := filepath.Join(t.TempDir(), "pins")
	c := parse(t, "", guarded)
	c.Shield.Pins = pins
	plan := func() string {
		t.Helper()
		lines, err := planShield(c)
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(strings.Join(lines, "\n"), pins, "PINS")
	}
	if got, want := plan(), "ip link set dev eth0 xdp pinned PINS/shield-eth0 # the shield, mode auto\nip link set dev eth1 xdp pinned PINS/shield-eth1 # the shield, mode auto"; got != want {
		t.Errorf("plan\n%s\nwant\n%s", got, want)
	}
	if err := os.Mkdir(pins, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"maps-1", "admit-eth0", "shield-eth0", "shield-eth9:5"} { // a BPF file system does not allow dots
		if err := os.WriteFile(filepath.Join(pins, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if pinned, err := pinnedOn(pins); err != nil || !slices.Equal(pinned, []string{"eth0", "eth9.5"}) {
		t.Errorf("pinned on %q, %v", pinned, err)
	}
	if got := plan(); !strings.HasPrefix(got, "ip link set dev eth1 xdp") || !strings.Contains(got, "# the shield leaves eth9.5") || strings.Contains(got, "dev eth0") {
		t.Errorf("plan\n%s", got)
	}
	c.Shield.Mode = "off"
	if got := plan(); strings.Count(got, "rm PINS/shield-") != 2 || strings.Contains(got, "ip link") {
		t.Errorf("plan\n%s", got)
	}
}

// A metric that is not described, or sent twice, would make the whole collection fail.
func TestShieldMetrics(t *testing.T) {
	for name, s := range map[string]*api.ShieldStatus{
		"not loaded": {Mode: "auto", Interfaces: []api.ShieldInterface{{Name: "eth0", Mode: "off"}}},
		"loaded": {Mode: "auto", Interfaces: []api.ShieldInterface{{Name: "eth0", Mode: "native"}, {Name: "eth1", Mode: "generic"}},
			Verdicts: []api.ShieldVerdict{{Verdict: "other"}, {Verdict: "syn-answered", Packets: 7}, {Verdict: "cookie"}, {Verdict: "admitted"}, {Verdict: "unadmitted"}}},
	} {
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(shieldOnly{s})
		families, err := registry.Gather()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, f := range families {
			if f.GetName() == "anymx_shield_failed" {
				if v := f.GetMetric()[0].GetGauge().GetValue(); v != oneIf(name == "not loaded") {
					t.Errorf("%s: failed is %v", name, v)
				}
			}
		}
		if want := map[string]int{"not loaded": 2, "loaded": 9}[name]; len(families) != want {
			t.Errorf("%s: %d metrics, want %d", name, len(families), want)
		}
	}
}

// shieldOnly collects the metrics of one status.
type shieldOnly struct{ *api.ShieldStatus }

func (s shieldOnly) Describe(to chan<- *prometheus.Desc) {
	for _, d := range shieldDescs {
		to <- d
	}
}

func (s shieldOnly) Collect(to chan<- prometheus.Metric) { collectShield(to, s.ShieldStatus) }

// Before the shield is loaded, the status says so: loading takes seconds on a busy machine.
func TestShieldNotLoadedYet(t *testing.T) {
	dir := t.TempDir()
	for mode, want := range map[string]string{
		"auto": "not loaded: packets pass unprotected; it is being loaded", "off": "",
	} {
		c := parse(t, dir, guarded+"pins = \"DIR/pins\"\nmode = \""+mode+"\"\n")
		s := newShield(slog.New(slog.DiscardHandler), dir, func() (shieldPlan, error) { return shieldWants(c) }).status()
		if s.Problem != want || s.Mode != mode || len(s.Interfaces) != 2 {
			t.Errorf("%s: %+v, want %q", mode, s, want)
		}
	}
}

func TestTopOf(t *testing.T) {
	for text, want := range map[string]int{"": 20, "1": 1, "1000": 1000, "0": 0, "1001": 0, "-1": 0, "x": 0} {
		if n, err := topOf(text); n != want || (err == nil) != (want > 0) {
			t.Errorf("n=%q: %d, %v", text, n, err)
		}
	}
}
