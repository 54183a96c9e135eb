package network

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"anymx/edge/operate/api"
)

// The shield works with three capabilities, as a user that owns only a folder of the BPF file
// system.
func TestShieldUnprivileged(t *testing.T) {
	node, _ := fence(t)
	key := filepath.Join(node.dir, "shield.key")
	node.write("shield.key", "sixteen bytes, and more\n")
	node.configure(guarded(fmt.Sprintf("key_file = %q\nsyn_rate = 5000", key)))
	r := node.startWith(shielded, on("native"))
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.PID()))
	if err != nil {
		t.Fatal(err)
	}
	const few = "000000c000001000" // 1<<12 | 1<<38 | 1<<39
	for _, line := range []string{
		fmt.Sprintf("Uid:\t%d\t%[1]d\t%[1]d\t%[1]d", user), "NoNewPrivs:\t1",
		"CapPrm:\t" + few, "CapEff:\t" + few, "CapBnd:\t" + few, "CapAmb:\t" + few,
	} {
		if !strings.Contains(string(status), line+"\n") {
			t.Errorf("/proc/%d/status lacks %q:\n%s", r.PID(), line, status)
		}
	}
	s, err := node.status()
	if err != nil {
		t.Fatal(err)
	}
	if s.Shield.Mode != "auto" || !s.Shield.SharedKey || s.Shield.SYNs.Limit < 4900 || s.Shield.SYNs.Limit > 5000 || len(s.Shield.Verdicts) != 18 {
		t.Errorf("%+v", s.Shield)
	}
	if s.Shield.Cookies == "own" && !s.Shield.Interfaces[0].Admits {
		t.Errorf("cookies are not admitted: %+v", s.Shield)
	}
	metrics := node.metrics()
	for _, name := range []string{
		`anymx_shield_attached{interface="eth0",mode="native"} 1`, `anymx_shield_attached{interface="eth0",mode="generic"} 0`,
		`anymx_shield_packets_total{verdict="unserved"} 0`, `anymx_shield_bytes_total{verdict="other"}`, `anymx_shield_cookies_total{event="sent"} 0`,
		`anymx_shield_pressure{kind="syns"} 0`, `anymx_shield_rate_peak{kind="strays"}`, `anymx_shield_limit{kind="strays"}`,
		"anymx_shield_listed 0", "anymx_shield_failed 0",
	} {
		if !strings.Contains(metrics, name) {
			t.Errorf("no %s among the metrics", name)
		}
	}
	if code, text := node.ask("GET", "/readyz", ""); code != 200 {
		t.Errorf("/readyz: %d %s", code, text)
	}
	r.end(syscall.SIGTERM)
	if strings.Contains(r.Output(), "sixteen") || strings.Contains(metrics, "sixteen") {
		t.Error("the key is told")
	}
}

// If the shield can't be loaded, packets pass, the rest is in place, and the status and the log say
// what is missing.
func TestShieldFailsOpen(t *testing.T) {
	for _, test := range []struct{ name, capabilities, pins, says string }{
		{"no capability", plain, pins, "the shield needs the capability CAP_BPF"},
		{"one too few", ",+net_admin,+bpf", pins, "the shield needs the capability CAP_PERFMON"},
		{"no BPF file system", shielded, "/mnt/pins", "/mnt/pins is not on a BPF file system"},
		{"another's folder", shielded, "/mnt/bpf/other", "permission denied"},
	} {
		t.Run(test.name, func(t *testing.T) {
			node, host := fence(t)
			if out, err := node.command("chmod", "755", "/mnt/bpf").CombinedOutput(); err != nil {
				t.Fatal(string(out))
			}
			node.configure(strings.ReplaceAll(guarded(""), pins, test.pins))
			r := node.startWith(test.capabilities, func(s api.NetworkStatus) bool {
				return strings.HasPrefix(s.Problem, "shield: not loaded: packets pass unprotected; ") && strings.Contains(s.Problem, test.says)
			})
			if out := node.ip("address show dev lo"); !strings.Contains(out, "192.0.2.25/32") {
				t.Errorf("the service address is missing: %s", out)
			}
			if out, err := host.command("ping", "-c", "1", "-W", "5", "192.0.2.25").CombinedOutput(); err != nil {
				t.Errorf("ping: %v: %s", err, out)
			}
			if code, text := node.ask("GET", "/readyz", ""); code != 503 || !strings.Contains(text, test.says) {
				t.Errorf("/readyz: %d %s", code, text)
			}
			if metrics := node.metrics(); !strings.Contains(metrics, "anymx_shield_failed 1\n") || !strings.Contains(metrics, `anymx_shield_attached{interface="eth0",mode="native"} 0`) {
				t.Error("the metrics say nothing of it")
			}
			code, text := node.ask("POST", "/v1/shield/list", `{"prefix":"203.0.113.0/24"}`)
			if code != 503 || !strings.Contains(text, "stored on the list, but not in force") {
				t.Errorf("a block is answered with %d %s", code, text)
			}
			if code := r.end(syscall.SIGTERM); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if !strings.Contains(r.Output(), "level=ERROR") || !strings.Contains(r.Output(), test.says) {
				t.Errorf("log: %s", r.Output())
			}
		})
	}
}

// A shield that failed open is retried: the pins become usable while the program runs.
func TestShieldIsTriedAgain(t *testing.T) {
	node, _ := fence(t)
	node.command("chown", "0:0", filepath.Dir(pins)).Run()
	node.startWith(shielded, func(s api.NetworkStatus) bool { return strings.Contains(s.Problem, "permission denied") })
	if code, text := node.ask("POST", "/v1/shield/list", `{"prefix":"203.0.113.0/24"}`); code != 503 {
		t.Errorf("a block is answered with %d %s", code, text)
	}
	id := strconv.Itoa(user)
	if out, err := node.command("chown", id+":"+id, filepath.Dir(pins)).CombinedOutput(); err != nil {
		t.Fatal(string(out))
	}
	node.until("tried again", func(s api.NetworkStatus) bool { return on("native")(s) && s.Shield.Listed == 1 })
}

// From the first packet to the last, none passes, whatever happens to the program: killed,
// restarted, stopped, restarted, set to another mode.
func TestShieldSurvivesItsProgram(t *testing.T) {
	node, host := fence(t)
	node.configure(guarded(`mode = "off"`))
	r := node.startWith(shielded, func(s api.NetworkStatus) bool { return well(s) && s.Shield.Mode == "off" })

	// Datagrams to a service address, which serves none: one that arrives shows that the node is
	// unprotected.
	listener, sender := node.udp(9999), host.udp(0)
	to := netip.MustParseAddrPort("192.0.2.25:9999")
	send := func() {
		if _, err := sender.WriteToUDPAddrPort([]byte("hello"), to); err != nil {
			t.Error(err)
		}
	}
	got := make(chan struct{}, 1000)
	var reading sync.WaitGroup
	reading.Go(func() {
		buf := make([]byte, 16)
		for {
			if _, _, err := listener.ReadFromUDPAddrPort(buf); err != nil {
				return
			}
			got <- struct{}{}
		}
	})
	defer reading.Wait()
	defer listener.Close()
	send()
	select {
	case <-got:
	case <-time.After(5 * time.Second):
		t.Fatal("without the shield no datagram arrives: this test proves nothing")
	}

	node.configure(guarded(""))
	r.reload()
	node.until("on", on("native"))
	before, err := node.status()
	if err != nil {
		t.Fatal(err)
	}
	stop, sent := make(chan struct{}), uint64(0)
	var sending sync.WaitGroup
	sending.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				send()
				sent++
			}
		}
	})
	count := func() uint64 {
		s, err := node.status()
		if err != nil {
			t.Fatal(err)
		}
		return verdict(s, "unserved") - verdict(before, "unserved")
	}
	r.end(syscall.SIGKILL)
	if out, err := host.command("ping", "-c", "3", "-i", "0.2", "192.0.2.25").CombinedOutput(); err != nil {
		t.Errorf("what the shield lets through does not pass any more: %s", out)
	}
	r = node.startWith(shielded, on("native"))
	first := count()
	if first < 300 { // while no program runs, 400 ms at least
		t.Errorf("the counters were reset, or stood still: %d", first)
	}
	if code := r.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	r = node.startWith(shielded, on("native"))
	if again := count(); again <= first {
		t.Errorf("%d datagrams, and %d later", first, again)
	}
	node.configure(guarded("syn_rate = 77")) // one map write
	r.reload()
	node.until("changed", func(s api.NetworkStatus) bool { return on("native")(s) && s.Shield.SYNs.Limit < 100 })
	close(stop)
	sending.Wait()
	node.until("counted", func(api.NetworkStatus) bool { return count() == sent })
	if len(got) > 0 {
		t.Errorf("%d of %d datagrams passed", len(got), sent)
	}
	var top api.ShieldTop
	code, text := node.ask("GET", "/v1/shield/top?n=1", "")
	if err := json.Unmarshal([]byte(text), &top); code != 200 || err != nil || len(top.Noisy) != 1 || top.Noisy[0].Prefix.String() != "198.51.100.0/24" || top.Noisy[0].Last != "unserved" {
		t.Errorf("top: %d %s", code, text)
	}
	if code, text := node.ask("GET", "/v1/shield/top?n=x", ""); code != 400 {
		t.Errorf("top: %d %s", code, text)
	}
	r.end(syscall.SIGTERM)
	if n := strings.Count(r.Output(), "shield loaded"); n != 1 {
		t.Errorf("it was loaded %d times for a change of limits", n)
	}
	t.Logf("%d datagrams, none of them passed", sent)
}

// Without the shared key a node protects itself, and says so; with it the node accepts the cookies
// of the others.
func TestShieldKeyComesLater(t *testing.T) {
	node, _ := fence(t)
	node.configure(guarded(fmt.Sprintf("key_file = %q", filepath.Join(node.dir, "shield.key"))))
	node.startWith(shielded, func(s api.NetworkStatus) bool {
		return strings.HasPrefix(s.Problem, "shield: shield.key_file: ") && s.Shield.Interfaces[0].Mode == "native" && !s.Shield.SharedKey
	})
	if metrics := node.metrics(); !strings.Contains(metrics, "anymx_shield_failed 0\n") {
		t.Error("the metrics say that packets pass")
	}
	node.write("shield.key", "sixteen bytes, and more\n")
	node.until("keyed", func(s api.NetworkStatus) bool { return on("native")(s) && s.Shield.SharedKey })
}

// When the section is removed from the config, the next start removes the shield; until then,
// SIGHUP says that a restart is needed.
func TestShieldLeavesTheConfig(t *testing.T) {
	node, _ := fence(t)
	if out, err := node.command("mount", "-t", "bpf", "bpf", "/sys/fs/bpf").CombinedOutput(); err != nil {
		t.Skipf("no BPF file system can be mounted on /sys/fs/bpf: %s", out)
	}
	node.configure(strings.ReplaceAll(guarded(""), pins, "/sys/fs/bpf/anymx"))
	r := node.startWith(shielded, on("native"))
	without, _, _ := strings.Cut(guarded(""), "[shield]")
	node.configure(without)
	r.reload()
	node.until("reloaded", func(s api.NetworkStatus) bool {
		return on("native")(s) && strings.Join(s.Config.Restart, " ") == "shield"
	})
	r.end(syscall.SIGTERM)
	if out, _, code := node.once("", "-plan"); code != 3 || out != "rm /sys/fs/bpf/anymx/shield-eth0 # the shield leaves eth0\n" {
		t.Errorf("-plan: exit code %d, %s", code, out)
	}
	node.startWith(shielded, func(s api.NetworkStatus) bool { return well(s) && s.Shield == nil })
	if out := node.ip("link show dev eth0"); strings.Contains(out, "xdp") {
		t.Errorf("XDP is still there: %s", out)
	}
	if code, text := node.ask("GET", "/v1/shield/lists", ""); code != 404 || !strings.Contains(text, "its config has no [shield] section") {
		t.Errorf("lists: %d %s", code, text)
	}
}

// -remove leaves nothing; -plan lists the changes before.
func TestShieldRemoved(t *testing.T) {
	node, _ := fence(t)
	out, _, code := node.once("", "-plan")
	if want := "ip link set dev eth0 xdp pinned " + pins + "/shield-eth0 # the shield, mode auto\n"; code != 3 || !strings.HasPrefix(out, want) {
		t.Errorf("-plan: exit code %d, %s", code, out)
	}
	r := node.startWith(shielded, on("native"))
	if out := node.ip("link show dev eth0"); !strings.Contains(out, "xdp") {
		t.Fatalf("no XDP: %s", out)
	}
	r.end(syscall.SIGTERM)
	if out := node.ip("link show dev eth0"); !strings.Contains(out, "xdp") {
		t.Fatalf("SIGTERM took XDP away: %s", out)
	}
	if out, errs, code := node.once("", "-plan"); code != 0 || out != "" {
		t.Errorf("-plan: exit code %d, %s%s", code, out, errs)
	}
	out, errs, code := node.once(shielded, "-remove")
	if code != 0 || !strings.HasSuffix(out, "rm -r "+pins+" # the shield, with its counters\n") {
		t.Errorf("-remove: exit code %d, %s%s", code, out, errs)
	}
	if out := node.ip("link show dev eth0"); strings.Contains(out, "xdp") {
		t.Errorf("XDP is still there: %s", out)
	}
	if out, err := node.command("ls", pins).CombinedOutput(); err == nil {
		t.Errorf("the pins are still there: %s", out)
	}
	if out, errs, code := node.once(shielded, "-remove"); code != 0 || out != "" {
		t.Errorf("-remove again: exit code %d, %s%s", code, out, errs)
	}
}
