package node

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"anymx/tests/kit"
	"anymx/tests/pop"
)

// behindTunnel is a node with a device "wg-core" to core, which has its own network. It also has a
// default route elsewhere, which would take all traffic for core while that device is missing.
//
// The device is a veth: this tests how the edge dials, not how the tunnel works.
type behindTunnel struct {
	t     *testing.T
	far   *network
	stray *capture // of traffic for core that leaves by the default route
	pop   *pop.PoP
	mail  string // Maildirs of core
}

const coreAddress = "10.77.0.1:2525"

func startBehindTunnel(t *testing.T) *behindTunnel {
	t.Helper()
	b := &behindTunnel{t: t, far: newNetwork(t)}
	ip(t, "link add wan0 type veth peer name wan1")
	ip(t, "addr add 198.51.100.2/24 dev wan0")
	ip(t, "link set wan0 up")
	ip(t, "link set wan1 up")
	ip(t, "neigh add 198.51.100.1 lladdr 02:00:00:00:00:01 dev wan0 nud permanent")
	ip(t, "route add default via 198.51.100.1")
	b.stray = startCapture(t, "wan1", netip.MustParseAddr("10.77.0.1"))
	b.pop = pop.Start(t, pop.Options{Core: coreAddress, CoreConfig: `backoff_max = "2s"`, Config: `[tunnel]
interface = "wg-core"
address = ["10.77.0.2/24"]
private_key_file = "/nowhere/wg.key"
probe_interval = "500ms"
[[tunnel.peer]]
public_key = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw="
endpoint = "198.51.100.9:51820"
allowed_ips = ["10.77.0.0/24"]
`})
	return b
}

// raise creates the device, connected to core.
func (b *behindTunnel) raise() {
	b.t.Helper()
	ip(b.t, "link add wg-core type veth peer name far")
	ip(b.t, fmt.Sprintf("link set far netns %d", b.far.pid))
	b.far.run("ip addr add 10.77.0.1/24 dev far")
	b.far.run("ip link set far up")
	ip(b.t, "addr add 10.77.0.2/24 dev wg-core")
	ip(b.t, "link set wg-core up")
}

// remove removes the device with its address and routes.
func (b *behindTunnel) remove() {
	b.t.Helper()
	ip(b.t, "link del wg-core")
}

// startCore starts a core in the other network. It listens on all addresses, because its device may
// be missing.
func (b *behindTunnel) startCore() {
	b.t.Helper()
	dir := b.t.TempDir()
	b.mail = filepath.Join(dir, "mail")
	file := filepath.Join(dir, "core.toml")
	text := fmt.Sprintf("[node]\nname = \"core1\"\nhostname = \"core.example.net\"\n[core]\naddresses = [%q]\n[mailstore]\nlisten = [\"0.0.0.0:2525\"]\ndirectory = %q\n", coreAddress, dir)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	enter := b.far.enter()
	pop.Run(b.t, enter[0], append(enter[1:], filepath.Join(pop.Build(b.t), "anymx-core"), "-config", file)...)
}

// arrived waits until core has so many messages.
func (b *behindTunnel) arrived(n int) {
	b.t.Helper()
	began := time.Now()
	kit.EventuallyIn(b.t, 30*time.Second, fmt.Sprintf("core has %d messages", n), func() bool {
		files, err := filepath.Glob(filepath.Join(b.mail, "example.net", "box", "new", "*"))
		if err != nil {
			b.t.Fatal(err)
		}
		return len(files) == n
	})
	b.t.Logf("core had %d messages after %s", n, time.Since(began).Round(time.Millisecond))
}

func (b *behindTunnel) send(subject string) {
	b.t.Helper()
	c := dial(b.t, b.pop.SMTP)
	c.send("a@b.example", "box@example.net", subject)
	c.say("QUIT", "221 .*")
}

// While the tunnel's device is missing, mail waits, and not a single packet for core leaves by the
// default route. When the device is back, mail resumes on its own, even over sessions that used the
// old device.
func TestTunnelIsTheOnlyWay(t *testing.T) {
	t.Parallel()
	if !inNamespace(t) {
		return
	}
	b := startBehindTunnel(t)
	b.startCore()
	b.send("before there is a tunnel")
	kit.EventuallyIn(t, 10*time.Second, "the status says why mail waits", func() bool {
		s := status(t, b.pop)
		return s.Queue.Paused != nil && strings.Contains(s.Core[0].LastError, "the tunnel wg-core is not there: is anymx-net running?")
	})
	kit.EventuallyIn(t, 10*time.Second, "so does the probe", func() bool {
		p := status(t, b.pop).Core[0].Probe
		return p != nil && strings.Contains(p.Problem, "wg-core is not there")
	})
	if n := b.stray.packets.Load(); n != 0 {
		t.Fatalf("%d packets for core left by the default route", n)
	}
	b.raise()
	b.arrived(1)
	for round := range 2 {
		b.send("over a kept session")
		b.arrived(2 + 2*round)
		if n := status(t, b.pop).Core[0].Connections; n == 0 {
			t.Fatal("no session is kept: this test is for one")
		}
		b.remove()
		if round == 0 {
			kit.EventuallyIn(t, 10*time.Second, "the kept session is known to be gone", func() bool {
				return strings.Contains(b.pop.Edge().Log(), "closed=1")
			})
			b.send("while it is away")
			kit.EventuallyIn(t, 10*time.Second, "mail waits", func() bool { return status(t, b.pop).Queue.Paused != nil })
			b.raise()
		} else {
			b.raise() // at once, so that the removal goes unnoticed
			b.send("on another device of the same name")
		}
		b.arrived(3 + 2*round)
	}
	kit.EventuallyIn(t, 10*time.Second, "the probe passes", func() bool {
		p := status(t, b.pop).Core[0].Probe
		return p != nil && p.Problem == "" && p.Size >= 16<<10
	})
	if n := b.stray.packets.Load(); n != 0 {
		t.Errorf("%d packets for core left by the default route", n)
	}
	// This shows that the capture would have seen them.
	b.remove()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if conn, err := new(net.Dialer).DialContext(ctx, "tcp", coreAddress); err == nil {
		_ = conn.Close()
		t.Error("core answers by the default route")
	}
	b.stray.sees(t, "a packet of an unbound connection on the default route")
}

// The probe detects a tunnel that passes small packets but no large ones before a large message
// gets stuck.
func TestTunnelWithLargeMTU(t *testing.T) {
	t.Parallel()
	if !inNamespace(t) {
		return
	}
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft to drop large packets")
	}
	b := startBehindTunnel(t)
	b.startCore()
	b.raise()
	b.send("small")
	b.arrived(1)
	kit.EventuallyIn(t, 10*time.Second, "the probe passes", func() bool {
		p := status(t, b.pop).Core[0].Probe
		return p != nil && p.Problem == ""
	})
	b.far.run("nft add table inet narrow")
	b.far.run("nft add chain inet narrow input { type filter hook input priority 0 ; }")
	b.far.run("nft add rule inet narrow input iifname far meta length > 1200 drop")
	kit.EventuallyIn(t, 30*time.Second, "the probe finds it", func() bool {
		return strings.Contains(status(t, b.pop).Core[0].Probe.Problem, "tunnel.mtu")
	})
	b.send("small again")
	b.arrived(2)
	if s := status(t, b.pop).Core[0]; s.Health != "up" || s.LastError != "" {
		t.Errorf("the probe made the address unhealthy: %+v", s)
	}
	if log := b.pop.Edge().Log(); !strings.Contains(log, "small packets pass, large ones don't: is tunnel.mtu too large?") {
		t.Error("the log does not say it")
	}
	b.far.run("nft delete table inet narrow")
	kit.EventuallyIn(t, 30*time.Second, "the probe passes again", func() bool { return status(t, b.pop).Core[0].Probe.Problem == "" })
}
