package console

import (
	"errors"
	"flag"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"anymx/edge/config"
	"anymx/edge/operate/api"
	"anymx/edge/operate/control/controltest"
	"anymx/tests/kit"
)

var update = flag.Bool("update", false, "write what is shown into testdata")

func devices() []Device {
	prefixes := func(list ...string) (out []netip.Prefix) {
		for _, p := range list {
			out = append(out, netip.MustParsePrefix(p))
		}
		return out
	}
	return []Device{
		{Name: "lo", Up: true, Carrier: true, Loopback: true, MTU: 65536, Addresses: prefixes("127.0.0.1/8", "192.0.2.25/32")},
		{Name: "eth0", Up: true, Carrier: true, MTU: 1500, MAC: "52:54:00:12:34:56", Addresses: prefixes("198.51.100.2/24", "2001:db8:ffff::2/64", "fe80::2/64")},
		{Name: "eth1", Up: true, MTU: 9000, MAC: "52:54:00:12:34:57", Addresses: prefixes("10.0.0.2/24")},
		{Name: "eth2\x1b[2J", MTU: 1500},
	}
}

func TestBanner(t *testing.T) {
	status := func(change ...func(*controltest.Node)) *api.Status {
		n := controltest.New()
		for _, c := range change {
			c(n)
		}
		s := n.Status(t.Context())
		s.Ready = api.Readiness{OK: true}
		return &s
	}
	hostile := status(controltest.NetworkTroubled)
	hostile.Spool.Accepting, hostile.Spool.Reason = false, "disk \x1b[2J reserve"
	hostile.Ready = api.Readiness{Reason: "spool: \x07disk reserve"}
	hostile.Core[1].Address = "\u202e10.77.0.2"
	var many []Device
	for range 6 {
		many = append(many, devices()[1])
	}
	for name, f := range map[string]Facts{
		"running":  {Version: "0.5.0", Name: "ams1", Hostname: "mx.example.net", Source: "ESP", Devices: devices(), Status: status(controltest.OnNetwork)},
		"alone":    {Version: "0.5.0", Name: "ams1", Devices: devices(), Status: status()},
		"draining": {Version: "0.5.0", Name: "ams1", Mode: config.ConsoleView, Devices: devices(), Status: status(controltest.Draining)},
		"starting": {Version: "0.5.0", Name: "ams1", Hostname: "mx.example.net", Mode: config.ConsoleOff, Silence: "anymx-edge is not up yet"},
		"unconfigured": {Version: "0.5.0", Silence: "there is no config", Devices: many,
			Problem: []string{"1: a", "2: b", "3: c", "4: d", "5: e", "6: f", "7: g"}},
		"hostile": {Version: "0.5.0\x1b[2J", Name: "ams1\x1b[2J", Hostname: "mx\x07", Source: "ESP", Devices: devices(), Status: hostile},
	} {
		t.Run(name, func(t *testing.T) {
			got := strings.Join(f.Banner(), "\n")
			golden(t, name+".txt", got)
			if strings.ContainsAny(got, "\x1b\x07\u202e") {
				t.Errorf("%q", got)
			}
			if n := strings.Count(got, "\n"); n > 22 {
				t.Errorf("%d lines leave no room for the prompt", n)
			}
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	kit.Golden(t, filepath.Join("testdata", name), got, *update)
}

// A change that people wait for redraws the banner; a change that happens all the time does not.
func TestHeadline(t *testing.T) {
	base := Facts{Name: "ams1", Mode: "operate", Devices: devices()[:2], Status: &api.Status{Phase: api.Starting}}
	for name, tt := range map[string]struct {
		change func(*Facts)
		news   bool
	}{
		"ready":   {func(f *Facts) { f.Status = &api.Status{Ready: api.Readiness{OK: true}} }, true},
		"name":    {func(f *Facts) { f.Name = "ams2" }, true},
		"problem": {func(f *Facts) { f.Problem = []string{"x"} }, true},
		"address": {func(f *Facts) { f.Devices = devices()[:3] }, true},
		"service address": {func(f *Facts) {
			lo := f.Devices[0]
			lo.Addresses = lo.Addresses[:1]
			f.Devices = []Device{lo, f.Devices[1]}
		}, false},
		"phase":   {func(f *Facts) { f.Status = &api.Status{Phase: api.Running} }, false},
		"silence": {func(f *Facts) { f.Status, f.Silence = nil, "anymx-edge is not up yet" }, false},
	} {
		f := base
		tt.change(&f)
		if news := f.headline() != base.headline(); news != tt.news {
			t.Errorf("%s: news %v", name, news)
		}
	}
}

func TestWriteNetwork(t *testing.T) {
	var b strings.Builder
	network := func(s string) *net.IPNet {
		_, n, err := net.ParseCIDR(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	names := map[int]string{2: "eth0", 3: "wg-core"}
	var routes []string
	for _, r := range []netlink.Route{
		{Gw: net.ParseIP("198.51.100.1"), LinkIndex: 2, Priority: 100},
		{Dst: network("0.0.0.0/0"), MultiPath: []*netlink.NexthopInfo{{Gw: net.ParseIP("198.51.100.1"), LinkIndex: 2}, {LinkIndex: 3}}},
		{Dst: network("10.77.0.0/24"), LinkIndex: 3},
		{Dst: network("10.77.0.0/24"), Type: 7, Priority: 1 << 20},
		{Dst: network("0.0.0.0/1"), LinkIndex: 9},
	} {
		routes = append(routes, routeText(&r, names, netlink.FAMILY_V4))
	}
	routes = append(routes, routeText(&netlink.Route{Dst: network("2001:db8::/32"), LinkIndex: 2, Priority: 1024}, names, netlink.FAMILY_V6))
	if err := WriteNetwork(&b, devices(), routes); err != nil {
		t.Fatal(err)
	}
	golden(t, "network.txt", b.String())
}

func TestSettings(t *testing.T) {
	standard := standardSettings()
	for text, want := range map[string]settings{
		"":                               standard,
		"[console]\nmode = 'view'":       {Mode: config.ConsoleView, Idle: standard.Idle},
		"[console]\nmode = 'off'":        {Mode: config.ConsoleOff, Idle: standard.Idle},
		"[console]\nmode = 'Off'":        {Mode: config.ConsoleView, Idle: standard.Idle},
		"[console]\nmode = false":        {Mode: config.ConsoleView, Idle: standard.Idle},
		"[console]\nidle_timeout = 0":    {Mode: config.ConsoleOperate},
		"[console]\nidle_timeout = 5":    standard,
		"[console]\nidle_timeout = '1m'": {Mode: config.ConsoleOperate, Idle: time.Minute},
		"[console]\nidle_timeout = 'x'":  standard,
		"colour = 1\n[node]\nname = 'ams1'\nhostname = 3\n[console]\nmode = 'view'": {Name: "ams1", Mode: config.ConsoleView, Idle: standard.Idle},
	} {
		if got, err := settingsIn([]byte(text)); err != nil || got != want {
			t.Errorf("%q: %+v (%v), want %+v", text, got, err, want)
		}
	}
}

// The file is read again when it has changed. An invalid one changes nothing, and a missing one
// forbids nothing.
func TestSettingsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "anymx.toml")
	f := fileSettings{path: path}
	write := func(text string) {
		t.Helper()
		if err := errors.Join(os.WriteFile(path+".new", []byte(text), 0o600), os.Rename(path+".new", path)); err != nil {
			t.Fatal(err)
		}
	}
	mode := func(want string, missing bool) {
		t.Helper()
		if got := f.get(); got.Mode != want || got.Missing != missing {
			t.Errorf("%+v, want mode %s", got, want)
		}
	}
	mode(config.ConsoleOperate, true)
	write("[console]\nmode = 'off'\n")
	mode(config.ConsoleOff, false)
	write("[console]\nmode = off\n")
	mode(config.ConsoleOff, false)
	write("[console]\nmode = 'view'\n")
	mode(config.ConsoleView, false)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	mode(config.ConsoleOperate, true)
}

func TestJournalArgs(t *testing.T) {
	for _, topic := range append(Topics(), "") {
		args, err := Journal{Topic: topic, Lines: 5, Follow: true}.args()
		if err != nil || args[0] != "--no-pager" || !strings.HasPrefix(args[len(args)-1], "--") {
			t.Errorf("%s: %q %v", topic, args, err)
		}
	}
	for _, j := range []Journal{{Lines: 0}, {Lines: -1}, {Lines: MaxLines + 1}, {Topic: "ssh", Lines: 1}, {Topic: "--file=/etc/shadow", Lines: 1}} {
		if err := j.Check(); err == nil {
			t.Errorf("%+v", j)
		}
	}
}

func TestScreen(t *testing.T) {
	var b strings.Builder
	s := &screen{w: &b}
	for _, text := range []string{"a\nb\r", "\nc", "\n\n", ""} {
		if n, err := s.Write([]byte(text)); n != len(text) || err != nil {
			t.Error(n, err)
		}
	}
	if got := b.String(); got != "a\r\nb\r\nc\r\n\r\n" {
		t.Errorf("%q", got)
	}
}

// A journal line that is too long is truncated, and the next one is complete.
func TestLongLogLine(t *testing.T) {
	var b strings.Builder
	if err := copyLines(&b, strings.NewReader(strings.Repeat("x", 3*maxLogLine)+"\nnext\n")); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != strings.Repeat("x", maxLogLine)+"\nnext\n" {
		t.Errorf("%d bytes", len(got))
	}
}
