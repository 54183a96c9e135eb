package tunnel

import (
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// through sends one byte to an echo and waits for it.
func through(t *testing.T, c *net.TCPConn) {
	t.Helper()
	if err := transfer(c, 16); err != nil {
		t.Fatalf("the connection did not survive: %v", err)
	}
}

// TestRestart closes a tunnel and reopens it under an open connection.
func TestRestart(t *testing.T) {
	tests := []struct {
		name    string
		speaks  bool // B has A's endpoint, and sends first
		restart func(a, b *end) *end
	}{
		{"the end that speaks first", false, func(a, _ *end) *end { return a }},
		{"the end that listens", true, func(_, b *end) *end { return b }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := newPair(t)
			p.sa.ListenPort = 51820
			if test.speaks {
				p.sb.Peers[0].Endpoint = "192.0.2.1:51820"
			}
			b := p.b.open(Options{}, p.sb)
			a := p.a.open(Options{}, p.sa)
			s := p.b.serve("10.77.0.2:2525", echo)
			c, err := p.a.dial(s.address, patient)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			through(t, c)

			began, again := time.Now(), test.restart(a, b)
			index := again.host.link("wg-core").Attrs().Index
			again.stop()
			again.host.open(Options{}, again.settings)
			through(t, c)
			t.Logf("the connection goes on %s after the restart began", time.Since(began).Round(time.Millisecond))
			if got := again.host.link("wg-core").Attrs().Index; got != index {
				t.Errorf("the device was recreated: index %d, was %d", got, index)
			}
		})
	}
}

// TestKilled kills the process that holds the tunnel under an open connection. The device stays,
// the connection waits, and continues with the next process.
func TestKilled(t *testing.T) {
	p := newPair(t)
	p.b.open(Options{}, p.sb)
	first := p.a.start(p.sa, 0)
	for _, a := range p.sa.Addresses {
		p.a.address("wg-core", a.String())
	}
	p.a.route("10.99.0.0/24", "wg-core", 0)
	s := p.b.serve("10.77.0.2:2525", echo)
	c, err := p.a.dial(s.address, patient)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	through(t, c)
	before := p.a.link("wg-core").Attrs()

	first.kill()
	after := p.a.link("wg-core").Attrs()
	if after.Index != before.Index || after.MTU != before.MTU || after.Alias != ours {
		t.Errorf("the device is %+v, was %+v", after, before)
	}
	for family, want := range map[int]string{netlink.FAMILY_V4: "10.77.0.1/24", netlink.FAMILY_V6: "fd77::1/64"} {
		addrs, err := p.a.links.AddrList(p.a.link("wg-core"), family)
		if err != nil || len(addrs) != 1 || addrs[0].IPNet.String() != want {
			t.Errorf("the device's addresses are %v, %v, want %s alone", addrs, err, want)
		}
	}
	if routes, err := p.a.links.RouteGet(net.ParseIP("10.99.0.1")); err != nil || routes[0].LinkIndex != before.Index {
		t.Errorf("the route is %v, %v", routes, err)
	}
	// Written while no process serves the tunnel: it must wait, not fail.
	if _, err := c.Write([]byte("x")); err != nil {
		t.Errorf("write while the process is dead: %v", err)
	}

	began := time.Now()
	second := p.a.start(p.sa, 0)
	if err := c.SetReadDeadline(time.Now().Add(patient)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Fatalf("what was written meanwhile does not come back: %v", err)
	}
	t.Logf("the connection goes on %s after the start of the next process", time.Since(began).Round(time.Millisecond))
	through(t, c)
	second.end(syscall.SIGTERM)
	p.a.link("wg-core")
}

// TestLeastPrivilege holds the tunnel as a user with only CAP_NET_ADMIN.
func TestLeastPrivilege(t *testing.T) {
	p := newPair(t)
	p.b.open(Options{}, p.sb)
	child := p.a.start(p.sa, 65534)
	text, err := os.ReadFile("/proc/" + strconv.Itoa(child.Process.Pid) + "/status")
	if err != nil || !strings.Contains(string(text), "CapEff:\t0000000000001000\n") || !strings.Contains(string(text), "Uid:\t65534") {
		t.Fatalf("the child is not who it should be: %v\n%s", err, text)
	}
	p.a.address("wg-core", "10.77.0.1/24")
	s := p.b.serve("10.77.0.2:2525", echo)
	p.a.passes(s.address, 1<<20)
}
