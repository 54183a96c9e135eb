package tunnel

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestMTUFollows changes the path to the peer under a tunnel in use.
func TestMTUFollows(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	b := p.b.open(Options{}, p.sb)
	a := p.a.open(Options{}, p.sa)
	s := p.b.serve("10.77.0.2:2525", echo)
	c, err := p.a.dial(s.address, patient)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	becomes := func(what string, mtu int) {
		t.Helper()
		took := wait(t, what, func() bool {
			return a.Status().MTU == mtu && b.Status().MTU == mtu && p.a.link("wg-core").Attrs().MTU == mtu
		})
		t.Logf("%s: MTU %d after %s", what, mtu, took.Round(time.Millisecond))
		if err := transfer(c, 4<<20); err != nil {
			t.Fatalf("%s: the connection that was open: %v", what, err)
		}
		p.a.passes(s.address, 4<<20)
	}
	both := func(f func(*host)) { f(p.a); f(p.b) }

	becomes("as it was", 1440)
	both(func(h *host) { h.resize("eth0", 1400) })
	becomes("a narrower device", 1340)
	both(func(h *host) { h.route("192.0.2.0/24", "eth0", 1380) })
	becomes("a route with an MTU", 1320)
	both(func(h *host) { h.resize("eth0", 1300); h.route("192.0.2.0/24", "eth0", 0) })
	becomes("too narrow for IPv6 inside", 1280)
	both(func(h *host) { h.resize("eth0", 9000) })
	becomes("a wider device", 8940)

	a.settings.MTU, b.settings.MTU = 1300, 1300
	a.apply()
	b.apply()
	becomes("set", 1300)
	if s := a.Status(); s.MTUWhy != "set" {
		t.Errorf("status %+v", s)
	}
}

// TestOtherWay has two paths to the peer, and moves the route from one that fails to the other
// under an open connection.
func TestOtherWay(t *testing.T) {
	a, b := newHost(t), newHost(t)
	cable(a, b, "eth0", "192.0.2.1/30", "192.0.2.2/30")
	cable(a, b, "eth1", "198.51.100.1/30", "198.51.100.2/30")
	b.address("lo", "203.0.113.1/32")
	for device, network := range map[string]string{"eth0": "192.0.2.0/30", "eth1": "198.51.100.0/30"} {
		_, dst, _ := net.ParseCIDR(network)
		if err := b.links.RouteReplace(&netlink.Route{
			Dst: dst, LinkIndex: b.link(device).Attrs().Index, Scope: netlink.SCOPE_LINK, Src: net.ParseIP("203.0.113.1"), Priority: 0, Protocol: unix.RTPROT_KERNEL,
		}); err != nil {
			t.Fatal(err)
		}
	}
	_, core, _ := net.ParseCIDR("203.0.113.1/32")
	by := func(device, gateway string) {
		t.Helper()
		if err := a.links.RouteReplace(&netlink.Route{Dst: core, LinkIndex: a.link(device).Attrs().Index, Gw: net.ParseIP(gateway)}); err != nil {
			t.Fatal(err)
		}
	}
	by("eth0", "192.0.2.2")
	ka, kb := GenerateKey(), GenerateKey()
	b.open(Options{}, Settings{
		PrivateKey: kb, Addresses: prefixes("10.77.0.2/24"), ListenPort: 51820,
		Peers: []Peer{{PublicKey: ka.PublicKey(), AllowedIPs: prefixes("10.77.0.1/32")}},
	})
	end := a.open(Options{}, Settings{
		PrivateKey: ka, Addresses: prefixes("10.77.0.1/24"),
		Peers: []Peer{{PublicKey: kb.PublicKey(), Endpoint: "203.0.113.1:51820", AllowedIPs: prefixes("10.77.0.2/32")}},
	})
	s := b.serve("10.77.0.2:2525", echo)
	c, err := a.dial(s.address, patient)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	through(t, c)

	before := end.Status().Peers[0].LastHandshake
	if err := b.links.LinkSetDown(b.link("eth0")); err != nil {
		t.Fatal(err)
	}
	by("eth1", "198.51.100.2")
	began := time.Now()
	through(t, c)
	t.Logf("the connection goes on %s after the route moved", time.Since(began).Round(time.Millisecond))
	// WireGuard's own timers would have noticed too, by a handshake after 15 s.
	if st := end.Status(); !st.Peers[0].LastHandshake.Equal(before) {
		t.Errorf("it took a handshake: %+v", st)
	}
}

// TestMTUOfTheWay has a router with a narrow link after it: the kernel learns the MTU from the
// router, and the tunnel from the kernel.
func TestMTUOfTheWay(t *testing.T) {
	a, router, b := newHost(t), newHost(t), newHost(t)
	cable(a, router, "eth0", "192.0.2.1/30", "192.0.2.2/30")
	cable(router, b, "eth1", "192.0.2.5/30", "192.0.2.6/30")
	for _, h := range []*host{router, b} {
		h.resize("eth1", 1400)
	}
	router.do(func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0) })
	via := func(h *host, device, gateway string) {
		t.Helper()
		err := h.links.RouteAdd(&netlink.Route{LinkIndex: h.link(device).Attrs().Index, Gw: net.ParseIP(gateway)})
		if err != nil {
			t.Fatal(err)
		}
	}
	via(a, "eth0", "192.0.2.2")
	via(b, "eth1", "192.0.2.5")

	ka, kb := GenerateKey(), GenerateKey()
	b.open(Options{}, Settings{
		PrivateKey: kb, Addresses: prefixes("10.77.0.2/24"), ListenPort: 51820,
		MTU:   1440, // wrong: it asks for segments that do not fit the path, and sends some
		Peers: []Peer{{PublicKey: ka.PublicKey(), AllowedIPs: prefixes("10.77.0.1/32")}},
	})
	end := a.open(Options{}, Settings{
		PrivateKey: ka, Addresses: prefixes("10.77.0.1/24"),
		Peers: []Peer{{PublicKey: kb.PublicKey(), Endpoint: "192.0.2.6:51820", AllowedIPs: prefixes("10.77.0.2/32")}},
	})
	s := b.serve("10.77.0.2:2525", echo)
	began := time.Now()
	a.passes(s.address, 4<<20)
	t.Logf("4 MiB pass after %s, though the way is narrower than its first link", time.Since(began).Round(time.Millisecond))

	// Packets that the kernel fragments itself are fragmented further by routers, silently. Only a
	// datagram sent whole gets an ICMP error.
	c, err := a.dial(s.address, patient)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	wait(t, "the MTU of the way", func() bool {
		if err := transfer(c, 1376); err != nil {
			t.Fatal(err)
		}
		return end.Status().MTU == 1340
	})
	t.Logf("MTU 1340 after %s", time.Since(began).Round(time.Millisecond))
	a.passes(s.address, 4<<20)
}

// TestRepaired lets others change the device.
func TestRepaired(t *testing.T) {
	p := newPair(t)
	p.b.open(Options{}, p.sb)
	a := p.a.open(Options{}, p.sa)
	s := p.b.serve("10.77.0.2:2525", echo)
	p.a.passes(s.address, 1<<16)

	p.a.resize("wg-core", 1000)
	wait(t, "the MTU put back", func() bool { return p.a.link("wg-core").Attrs().MTU == 1440 })

	if err := p.a.links.LinkSetDown(p.a.link("wg-core")); err != nil {
		t.Fatal(err)
	}
	wait(t, "the device up again", func() bool { return p.a.link("wg-core").Attrs().Flags&net.FlagUp != 0 })
	p.a.passes(s.address, 1<<16)

	before := p.a.link("wg-core").Attrs().Index
	if err := p.a.links.LinkDel(p.a.link("wg-core")); err != nil {
		t.Fatal(err)
	}
	wait(t, "the device recreated", func() bool {
		link, err := p.a.links.find("wg-core")
		return err == nil && link != nil && link.Attrs().Index != before && link.Attrs().Alias == ours && a.Status().MTU == 1440
	})
	a.apply() // the address
	p.a.passes(s.address, 1<<16)
	if s := a.Status(); s.Problem != "" || !s.Up {
		t.Errorf("status %+v", s)
	}
}

// TestPortTaken starts while another socket holds the port, and continues by itself once it is
// free.
func TestPortTaken(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	var taken net.PacketConn
	p.b.do(func() (err error) { taken, err = net.ListenPacket("udp4", ":51820"); return err })
	defer taken.Close()

	b := &end{host: p.b, settings: p.sb, log: &recorder{}}
	p.b.do(func() (err error) {
		b.Tunnel, err = Open(Options{Interface: "wg-core", Implementation: Userspace})
		return err
	})
	defer func() { _ = b.Close() }()
	err := b.Apply(context.Background(), p.sb)
	if err == nil || !strings.Contains(err.Error(), "UDP port 51820") || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a port that is taken: %v", err)
	}
	if s := b.Status(); s.Up || !strings.Contains(s.Problem, "UDP port 51820") {
		t.Errorf("status %+v", s)
	}
	taken.Close()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	wait(t, "the port open", func() bool { return b.Status().ListenPort == 51820 && b.Status().MTU != 0 })
	p.b.address("wg-core", "10.77.0.2/24")

	a := p.a.open(Options{}, p.sa)
	s := p.b.serve("10.77.0.2:2525", echo)
	p.a.passes(s.address, 1<<16)
	a.stop()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}

	// The port of a tunnel in use is changed to one that is taken, and back.
	p.b.do(func() (err error) { taken, err = net.ListenPacket("udp4", ":51821"); return err })
	defer taken.Close()
	moved := p.sb
	moved.ListenPort = 51821
	if err := b.Apply(context.Background(), moved); err == nil || !strings.Contains(err.Error(), "UDP port 51821") {
		t.Errorf("a port that is taken: %v", err)
	}
	if err := b.Apply(context.Background(), p.sb); err != nil || b.Status().ListenPort != 51820 || b.Status().Problem != "" {
		t.Errorf("back: %v, %+v", err, b.Status())
	}
}

// TestNames has peers with host names: one that resolves after a while, and one that never does,
// beside a peer with an address, which must not wait.
func TestNames(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	b := p.b.open(Options{}, p.sb)
	var asked atomic.Int32
	lookup := func(ctx context.Context, host string) ([]netip.Addr, error) {
		switch {
		case host == "never.example.net":
			<-ctx.Done() // a resolver that does not answer
			return nil, ctx.Err()
		case asked.Add(1) == 1:
			return nil, errors.New("no such host")
		}
		return []netip.Addr{netip.MustParseAddr("192.0.2.2")}, nil
	}
	s := p.sa
	never := Peer{PublicKey: GenerateKey().PublicKey(), Endpoint: "never.example.net:51820", AllowedIPs: prefixes("10.77.0.3/32"), Keepalive: time.Second}
	s.Peers = []Peer{never, s.Peers[0]}
	s.Peers[1].Endpoint = "core.example.net:51820"
	a := p.a.open(Options{Lookup: lookup}, s)

	st := a.Status()
	if st.Up || !strings.Contains(st.Peers[0].Problem, "deadline exceeded") || !strings.Contains(st.Peers[1].Problem, "no such host") {
		t.Errorf("status %+v", st)
	}
	took := wait(t, "the name that resolves", func() bool { return a.Status().Peers[1].Up })
	t.Logf("the peer is up %s after its name did not resolve", took.Round(time.Millisecond))
	echo := p.b.serve("10.77.0.2:2525", echo)
	p.a.passes(echo.address, 1<<16)
	if st := a.Status(); st.Up || st.Peers[1].Problem != "" || st.Peers[1].Endpoint.String() != "192.0.2.2:51820" || st.Peers[0].Problem == "" {
		t.Errorf("status %+v", st)
	}
	if n := a.log.count("does not resolve"); n != 2 {
		t.Errorf("a name that does not resolve is logged %d times, want once for each of two", n)
	}
	_ = b
}

// TestLoop has a peer whose endpoint is routed through the peer itself.
func TestLoop(t *testing.T) {
	p := newPair(t)
	a := p.a.open(Options{}, p.sa)
	p.a.route("192.0.2.2/32", "wg-core", 0)
	wait(t, "the loop noticed", func() bool {
		return strings.Contains(a.Status().Problem, "the route to 192.0.2.2 goes through the tunnel itself")
	})
	if s := a.Status(); s.MTU != 1440 || !strings.Contains(s.MTUWhy, "unchanged") {
		t.Errorf("the MTU is not kept: %+v", s)
	}
	_, dst, _ := net.ParseCIDR("192.0.2.2/32")
	if err := p.a.links.RouteDel(&netlink.Route{Dst: dst, LinkIndex: p.a.link("wg-core").Attrs().Index, Scope: netlink.SCOPE_LINK}); err != nil {
		t.Fatal(err)
	}
	wait(t, "the loop gone", func() bool { return !strings.Contains(a.Status().Problem, "goes through the tunnel itself") })
}
