package network

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"anymx/edge/operate/api"
)

// pair returns a node and a core that have a link, and configs for a tunnel over it.
func pair(t *testing.T) (node, core *site) {
	t.Helper()
	node, core = newSite(t, "node"), newSite(t, "core")
	node.ip(fmt.Sprintf("link add eth0 type veth peer name eth0 netns %d", core.pid))
	for _, command := range []string{
		"link set eth0 up", "address add 198.51.100.2/24 dev eth0", "-6 address add 2001:db8:1::2/64 dev eth0 nodad",
		"route add default via 198.51.100.1", "address add 192.0.2.99/32 dev lo", "rule add from 192.0.2.99 lookup 77 priority 2551",
	} {
		node.ip(command)
	}
	core.ip("link set eth0 up")
	core.ip("address add 198.51.100.3/24 dev eth0")
	nodeKey, coreKey := node.key(), core.key()
	node.configure(config(coreKey))
	core.configure(fmt.Sprintf(`[core]
addresses = ["10.77.0.2:2525"]
[tunnel]
interface = "wg-edge"
address = ["10.77.0.1/24", "fd77::1/64"]
private_key_file = "<dir>/wg.key"
[[tunnel.peer]]
public_key = %q
endpoint = "198.51.100.2:51820"
allowed_ips = ["10.77.0.2/32", "fd77::2/128"]
keepalive = "1s"
`, nodeKey))
	return node, core
}

// config returns the node's config.
func config(peer string) string {
	return fmt.Sprintf(`[core]
addresses = ["10.77.0.1:2525"]
[anycast]
addresses = ["192.0.2.25/32", "2001:db8:25::25/128"]
prefixes = ["192.0.2.0/24", "2001:db8:25::/48"]
[[egress.source]]
name = "a"
address = "198.51.100.10/24"
interface = "eth0"
gateway = "198.51.100.1"
[[egress.source]]
name = "b"
address = "2001:db8:1::10/64"
interface = "eth0"
gateway = "2001:db8:1::1"
[tunnel]
interface = "wg-core"
address = ["10.77.0.2/24", "fd77::2/64"]
private_key_file = "<dir>/wg.key"
[[tunnel.peer]]
public_key = %q
endpoint = "198.51.100.3:51820"
allowed_ips = ["10.77.0.0/24", "fd77::/64"]
keepalive = "1s"
`, peer)
}

// The whole program works with only CAP_NET_ADMIN, as a user that owns nothing, in a process that
// can never gain privileges.
func TestUnprivileged(t *testing.T) {
	node, core := pair(t)
	core.start(well)
	r := node.start(up)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.PID()))
	if err != nil {
		t.Fatal(err)
	}
	const netAdmin = "0000000000001000" // 1 << 12
	for _, line := range []string{
		fmt.Sprintf("Uid:\t%d\t%[1]d\t%[1]d\t%[1]d", user), "NoNewPrivs:\t1",
		"CapInh:\t" + netAdmin, "CapPrm:\t" + netAdmin, "CapEff:\t" + netAdmin, "CapBnd:\t" + netAdmin, "CapAmb:\t" + netAdmin,
	} {
		if !strings.Contains(string(status), line+"\n") {
			t.Errorf("/proc/%d/status lacks %q:\n%s", r.PID(), line, status)
		}
	}
	for _, far := range []string{"10.77.0.1", "fd77::1"} {
		if out, err := node.command("ping", "-c", "1", "-W", "5", far).CombinedOutput(); err != nil {
			t.Errorf("ping %s: %v: %s", far, err, out)
		}
	}
	s, err := node.status()
	if err != nil {
		t.Fatal(err)
	}
	for _, thing := range s.Items {
		if !thing.Present {
			t.Errorf("%+v", thing)
		}
	}
	metrics := node.metrics()
	for _, name := range []string{
		`anymx_net_things{kind="address",present="true"} 6`, `anymx_net_things{kind="rule",present="false"} 0`, "anymx_net_repairs_total 0",
		"anymx_net_contested_things 0", "anymx_tunnel_up 1", "anymx_tunnel_mtu_bytes 1440", "anymx_tunnel_handshake_age_seconds{peer=",
		`anymx_tunnel_bytes_total{direction="received",peer=`,
	} {
		if !strings.Contains(metrics, name) {
			t.Errorf("no %s among the metrics", name)
		}
	}
	if t.Failed() {
		t.Log(metrics)
	}
}

func TestWithoutCapability(t *testing.T) {
	node, _ := pair(t)
	node.awaitAddresses()
	before := node.all()
	if _, errs, code := node.once(""); code != 1 || !strings.Contains(errs, "anymx-net: not permitted to change the network: CAP_NET_ADMIN is missing") {
		t.Errorf("exit code %d, error %q", code, errs)
	}
	if _, errs, code := node.once("", "-remove"); code != 1 || !strings.Contains(errs, "CAP_NET_ADMIN is missing") {
		t.Errorf("-remove: exit code %d, error %q", code, errs)
	}
	out, errs, code := node.once("", "-plan")
	if code != 3 || errs != "" {
		t.Errorf("-plan: exit code %d, error %q", code, errs)
	}
	for _, line := range []string{
		"ip link add dev wg-core type wireguard # or a TUN, if the kernel has no WireGuard\nip -4 route add unreachable default table 3325256714 metric 4000000000 proto 125\n",
		"ip -4 route add unreachable 10.77.0.0/24 metric 4000000000 proto 125\n",
		"ip -4 address add 198.51.100.10/32 dev eth0 proto 125\n", "ip -4 route add 198.51.100.0/24 dev eth0 metric 3999999999 proto 125\n",
		"ip -4 address add 192.0.2.25/32 dev lo scope host proto 125\n",
		"ip -4 route add 10.77.0.0/24 dev wg-core proto 125 # device wg-core does not exist yet\n",
		"ip -4 rule add from 198.51.100.10 lookup 3325256714 priority 2550 proto 125\n",
	} {
		if !strings.Contains(out, line) {
			t.Errorf("the plan lacks %q:\n%s", line, out)
		}
	}
	if after := node.all(); after != before {
		t.Errorf("was\n%s\nis\n%s", before, after)
	}
}

// A killed program leaves everything in place; neither the start nor the end of the next one
// changes anything; and -remove removes exactly what was made.
func TestKilledRestartedRemoved(t *testing.T) {
	node, core := pair(t)
	core.start(well)
	node.awaitAddresses()
	before := node.all()
	r := node.start(up)
	node.awaitAddresses()
	if out, errs, code := node.once(",+net_admin", "-remove"); code != 1 || !strings.Contains(errs, "stop it first") {
		t.Errorf("-remove while it runs: exit code %d, %s%s", code, out, errs)
	}
	full := node.all()
	r.end(syscall.SIGKILL)
	if killed := node.all(); linkdown(killed) != linkdown(full) {
		t.Errorf("before the kill\n%s\nafter it\n%s", full, killed)
	}

	told := monitor(t, node)
	second := node.start(up)
	if code := second.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	for line := range strings.Lines(told()) {
		if strings.Contains(line, "Deleted") && !strings.Contains(line, "[NEIGH]") {
			t.Errorf("something was taken away meanwhile: %s", line)
		}
	}
	if restarted := node.all(); linkdown(restarted) != linkdown(full) {
		t.Errorf("before\n%s\nafter a restart\n%s", full, restarted)
	}
	if out, errs, code := node.once("", "-plan"); code != 0 || out != "" {
		t.Errorf("-plan: exit code %d, %s%s", code, out, errs)
	}

	out, errs, code := node.once(",+net_admin", "-remove")
	if code != 0 || errs != "" || !strings.HasPrefix(out, "ip link del dev wg-core\n") || !strings.Contains(out, "ip -4 address del 192.0.2.25/32 dev lo\n") {
		t.Errorf("-remove: exit code %d, %s%s", code, out, errs)
	}
	if removed := node.all(); removed != before {
		t.Errorf("before all\n%s\nafter -remove\n%s", before, removed)
	}
	if out, errs, code := node.once(",+net_admin", "-remove"); code != 0 || out != "" {
		t.Errorf("-remove again: exit code %d, %s%s", code, out, errs)
	}
}

// The flag -remove does not need the directory of the socket: if it is missing the program is
// not running. It names what it can't remove.
func TestRemove(t *testing.T) {
	node, _ := pair(t)
	node.awaitAddresses()
	before := node.all()
	node.start(well).end(syscall.SIGKILL) // not before the tunnel stands: it is made after the addresses
	text, err := os.ReadFile(node.config())
	if err != nil {
		t.Fatal(err)
	}
	// The tunnel has been renamed, too.
	gone := strings.NewReplacer(node.socket(), filepath.Join(node.dir, "gone", "net.sock"), "wg-core", "wg-new").Replace(string(text))
	node.write("anymx.toml", gone)
	node.ip("route add blackhole 10.99.0.0/24 proto 125")
	out, errs, code := node.once(",+net_admin", "-remove")
	if code != 1 || !strings.Contains(errs, "10.99.0.0/24 could not be removed: it still exists") || !strings.HasPrefix(out, "ip link del dev wg-core\n") {
		t.Errorf("-remove: exit code %d, %s%s", code, out, errs)
	}
	node.ip("route del blackhole 10.99.0.0/24")
	if out, errs, code := node.once(",+net_admin", "-remove"); code != 0 || out != "" {
		t.Errorf("-remove again: exit code %d, %s%s", code, out, errs)
	}
	if removed := node.all(); removed != before {
		t.Errorf("before all\n%s\nafter -remove\n%s", before, removed)
	}
}

// linkdown removes the flag that a TUN without a serving process has.
func linkdown(s string) string { return strings.ReplaceAll(s, "linkdown ", "") }

// monitor records the kernel's notifications until told is called.
func monitor(t *testing.T, s *site) (told func() string) {
	t.Helper()
	cmd := s.command("ip", "monitor", "all")
	var out bytes.Buffer
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	copied := make(chan struct{})
	heard := make(chan struct{})
	go func() {
		defer close(copied)
		first := make([]byte, 4096)
		n, _ := pipe.Read(first)
		out.Write(first[:n])
		close(heard)
		_, _ = io.Copy(&out, pipe)
	}()
	for listening := false; !listening; { // it is listening once it has received something
		s.ip("link set lo alias one")
		s.ip("link set lo alias two")
		select {
		case <-heard:
			listening = true
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return func() string {
		_ = cmd.Process.Kill()
		<-copied
		_ = cmd.Wait()
		return out.String()
	}
}

// What another program removes is put back at once, not only when net.repair (30 s) comes round.
func TestRepairsAtOnce(t *testing.T) {
	node := newSite(t, "node")
	node.configure(`[core]
addresses = ["10.77.0.1:2525"]
[anycast]
addresses = ["192.0.2.25/32"]
prefixes = ["192.0.2.0/24"]
`)
	r := node.start(well)
	node.ip("address del 192.0.2.25/32 dev lo")
	start := time.Now()
	node.until("repaired", func(s api.NetworkStatus) bool { return s.Repaired == 1 && s.Problem == "" })
	if out := node.ip("address show dev lo"); !strings.Contains(out, "inet 192.0.2.25/32") {
		t.Errorf("the address is missing: %s", out)
	}
	t.Logf("repaired after %s", time.Since(start))
	r.end(syscall.SIGTERM)
	if !strings.Contains(r.Output(), `msg=restored what="192.0.2.25/32 dev lo scope host" kind=address`) {
		t.Errorf("log: %s", r.Output())
	}
}

// SIGHUP applies a valid change without disturbing the rest, and ignores an invalid one.
func TestReload(t *testing.T) {
	node, core := pair(t)
	core.start(well)
	r := node.start(up)
	text, err := os.ReadFile(node.config())
	if err != nil {
		t.Fatal(err)
	}
	change := func(old, next string) {
		t.Helper()
		if !strings.Contains(string(text), old) {
			t.Fatalf("no %q in the config", old)
		}
		node.write("anymx.toml", strings.ReplaceAll(string(text), old, next))
		r.reload()
	}
	change("192.0.2.25/32", "192.0.2.26/32")
	node.until("changed", func(s api.NetworkStatus) bool {
		return up(s) && strings.Contains(fmt.Sprint(s.Items), "192.0.2.26/32")
	})
	if out := node.ip("address show dev lo"); !strings.Contains(out, "192.0.2.26/32") || strings.Contains(out, "192.0.2.25/32") {
		t.Errorf("addresses: %s", out)
	}
	node.awaitAddresses()
	before := node.all()
	change(`"192.0.2.25/32"`, `"192.0.2.25/24"`)
	node.until("refused", func(s api.NetworkStatus) bool {
		return strings.Contains(s.Config.Problem, "anycast.addresses[0]") && strings.Contains(s.Problem, "the last reload changed nothing")
	})
	if err := os.Chmod(filepath.Join(node.dir, "wg.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	change("192.0.2.25/32", "192.0.2.27/32")
	node.until("refused", func(s api.NetworkStatus) bool {
		return strings.HasPrefix(s.Config.Problem, "tunnel.private_key_file: ")
	})
	if after := node.all(); after != before {
		t.Errorf("a bad change made\n%s\nof\n%s", after, before)
	}
	if code := r.end(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// Without its key there is no tunnel, and core is unreachable; the rest works, and the tunnel comes
// up when the key appears.
func TestKeyComesLater(t *testing.T) {
	node, core := pair(t)
	core.start(well)
	key := filepath.Join(node.dir, "wg.key")
	if err := os.Rename(key, key+".away"); err != nil {
		t.Fatal(err)
	}
	node.start(func(s api.NetworkStatus) bool {
		return strings.Contains(s.Problem, "tunnel wg-core not open: tunnel.private_key_file: ")
	})
	if out := node.ip("address show dev lo"); !strings.Contains(out, "192.0.2.25/32") {
		t.Errorf("the service address is missing: %s", out)
	}
	if out, err := node.command("ip", "route", "get", "10.77.0.1").CombinedOutput(); err == nil {
		t.Errorf("core is reached: %s", out)
	}
	if err := os.Rename(key+".away", key); err != nil {
		t.Fatal(err)
	}
	node.until("up", up)
}
