package tunnel

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestPasses transfers a lot of data through a tunnel, inside and outside by IPv4 and IPv6.
func TestPasses(t *testing.T) {
	tests := []struct {
		endpoint string
		mtu      int
	}{
		{"192.0.2.2:51820", 1440},
		{"[2001:db8::2]:51820", 1420},
	}
	for _, test := range tests {
		t.Run(test.endpoint, func(t *testing.T) {
			p := newPair(t)
			p.sa.Peers[0].Endpoint = test.endpoint
			b := p.b.open(Options{}, p.sb)
			a := p.a.open(Options{}, p.sa)
			wait(t, "both ends up", func() bool { return a.Status().Up && b.Status().Peers[0].Up })
			for _, address := range []string{"10.77.0.2:2525", "[fd77::2]:2525"} {
				s := p.b.serve(address, echo)
				p.a.passes(s.address, 16<<20)
			}
			// B learns its MTU with A's endpoint, at its next comparison.
			wait(t, "the MTU at both ends", func() bool { return a.Status().MTU == test.mtu && b.Status().MTU == test.mtu })
			if s := a.Status(); s.Problem != "" || s.Peers[0].Received < 32<<20 || s.Peers[0].Sent < 32<<20 || s.ListenPort == 0 ||
				s.PublicKey != p.sa.PrivateKey.PublicKey() || s.Peers[0].Endpoint.String() != test.endpoint {
				t.Errorf("status %+v", s)
			}
			if s := b.Status(); s.ListenPort != 51820 || s.Problem != "" {
				t.Errorf("status %+v", s)
			}
		})
	}
}

// TestSegments compares the largest TCP segment with the MTU, at both ends: it is the MTU minus the
// TCP and IP headers. Timestamps take 12 more.
func TestSegments(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.a.open(Options{}, p.sa)
	b := p.b.open(Options{}, p.sb)
	wait(t, "B's MTU", func() bool { return b.Status().MTU == 1440 })
	for address, headers := range map[string]int{"10.77.0.2:2525": 20 + 20 + 12, "[fd77::2]:2525": 40 + 20 + 12} {
		accepted := make(chan *unix.TCPInfo, 1)
		s := p.b.serve(address, func(c *net.TCPConn) {
			echo(c)
			accepted <- tcpInfo(t, c)
		})
		c, err := p.a.dial(s.address, patient)
		if err != nil {
			t.Fatal(err)
		}
		if err := transfer(c, 1<<20); err != nil {
			t.Fatal(err)
		}
		mine := tcpInfo(t, c)
		c.Close()
		its := <-accepted
		for side, info := range map[string]*unix.TCPInfo{"A": mine, "B": its} {
			if want := uint32(1440 - headers); info.Snd_mss != want || info.Advmss != want || info.Pmtu != 1440 {
				t.Errorf("%s at %s: segments of %d, %d asked for, path MTU %d, want %d, %d, 1440", side, address, info.Snd_mss, info.Advmss, info.Pmtu, want, want)
			}
			if info.Total_retrans > 10 {
				t.Errorf("%s at %s: %d segments sent again", side, address, info.Total_retrans)
			}
		}
	}
}

// TestApplyAgain applies settings that are in force already, and a change that does not affect a
// session.
func TestApplyAgain(t *testing.T) {
	p := newPair(t)
	p.b.open(Options{}, p.sb)
	a := p.a.open(Options{}, p.sa)
	s := p.b.serve("10.77.0.2:2525", echo)
	p.a.passes(s.address, 1<<16)
	before, told := a.Status().Peers[0].LastHandshake, a.log.count("tunnel configured")
	for range 3 {
		a.apply()
	}
	if again := a.log.count("tunnel configured"); again != told {
		t.Errorf("the same settings are told %d times more", again-told)
	}
	a.settings.Peers[0].Keepalive = 20 * time.Second
	a.settings.Peers[0].AllowedIPs = prefixes("10.77.0.0/24", "fd77::2/128")
	a.apply()
	p.a.passes(s.address, 1<<16)
	if st := a.Status(); !st.Peers[0].LastHandshake.Equal(before) || len(st.Peers[0].AllowedIPs) != 2 {
		t.Errorf("a handshake was lost: %v, then %+v", before, st)
	}
	if err := a.Apply(context.Background(), Settings{}); err == nil || !strings.Contains(err.Error(), "private key is missing") {
		t.Errorf("empty settings are applied: %v", err)
	}
	p.a.passes(s.address, 1<<16)
}

// TestSeveralPeers has one tunnel with two peers, and removes one.
func TestSeveralPeers(t *testing.T) {
	a, b, c := newHost(t), newHost(t), newHost(t)
	cable(a, b, "eth1", "192.0.2.1/30", "192.0.2.2/30")
	cable(a, c, "eth2", "192.0.2.5/30", "192.0.2.6/30")
	ka, kb, kc := GenerateKey(), GenerateKey(), GenerateKey()
	far := func(key Key, inside string) Settings {
		return Settings{
			PrivateKey: key, ListenPort: 51820, Addresses: prefixes(inside),
			Peers: []Peer{{PublicKey: ka.PublicKey(), AllowedIPs: prefixes("10.77.0.1/32")}},
		}
	}
	b.open(Options{}, far(kb, "10.77.0.2/24"))
	c.open(Options{}, far(kc, "10.77.0.3/24"))
	hub := a.open(Options{}, Settings{
		PrivateKey: ka, Addresses: prefixes("10.77.0.1/24"),
		Peers: []Peer{
			{PublicKey: kb.PublicKey(), Endpoint: "192.0.2.2:51820", AllowedIPs: prefixes("10.77.0.2/32"), Keepalive: 25 * time.Second},
			{PublicKey: kc.PublicKey(), Endpoint: "192.0.2.6:51820", AllowedIPs: prefixes("10.77.0.3/32")}, // idle until the first packet
		},
	})
	sb, sc := b.serve("10.77.0.2:2525", echo), c.serve("10.77.0.3:2525", echo)
	toB, err := a.dial(sb.address, patient)
	if err != nil {
		t.Fatal(err)
	}
	defer toB.Close()
	toC, err := a.dial(sc.address, patient)
	if err != nil {
		t.Fatal(err)
	}
	defer toC.Close()
	for _, conn := range []*net.TCPConn{toB, toC} {
		if err := transfer(conn, 1<<20); err != nil {
			t.Fatal(err)
		}
	}
	if s := hub.Status(); !s.Up || s.Peers[0].PublicKey != kb.PublicKey() || s.Peers[1].PublicKey != kc.PublicKey() {
		t.Errorf("status %+v", s)
	}

	// The smaller MTU of the two paths decides.
	a.resize("eth2", 1400)
	c.resize("eth2", 1400)
	wait(t, "the MTU of the narrower way", func() bool { return hub.Status().MTU == 1340 })

	before := hub.Status().Peers[1].LastHandshake
	hub.settings.Peers = hub.settings.Peers[1:]
	hub.apply()
	if err := transfer(toC, 1<<20); err != nil {
		t.Errorf("the peer that stays: %v", err)
	}
	if s := hub.Status(); len(s.Peers) != 1 || !s.Peers[0].LastHandshake.Equal(before) {
		t.Errorf("status after a peer went: %+v", s)
	}
	if err := toB.SetDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	_, _ = toB.Write([]byte("x"))
	if n, err := toB.Read(make([]byte, 1)); err == nil {
		t.Errorf("the peer that went still answers: %d bytes", n)
	}
}

// TestWrongKeys has two ends that reject each other's key.
func TestWrongKeys(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		spoil func(p *pair)
		says  string
	}{
		"public key":    {func(p *pair) { p.sa.Peers[0].PublicKey = GenerateKey().PublicKey() }, "no handshake: no valid packet from 192.0.2.2:51820"},
		"private key":   {func(p *pair) { p.sa.PrivateKey = GenerateKey() }, "no handshake: no valid packet"},
		"preshared key": {func(p *pair) { p.sa.Peers[0].Preshared = GenerateKey() }, "no handshake: "},
		"no preshared":  {func(p *pair) { p.sa.Peers[0].Preshared = Key{} }, "no handshake: "},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t)
			test.spoil(p)
			b := p.b.open(Options{}, p.sb)
			a := p.a.open(Options{}, p.sa)
			s := p.b.serve("10.77.0.2:2525", echo)
			if c, err := p.a.dial(s.address, time.Second); err == nil {
				c.Close()
				t.Error("a connection passes")
			}
			st := a.Status()
			if st.Up || st.Peers[0].Up || !strings.Contains(st.Problem, test.says) || st.Peers[0].Received != 0 || st.Peers[0].Sent == 0 {
				t.Errorf("status %+v", st)
			}
			if b.Status().Peers[0].Up {
				t.Errorf("status of the remote end %+v", b.Status())
			}
			// With the right key, it works at once.
			good := newFarSettings(p, b)
			a.settings = good
			a.apply()
			p.a.passes(s.address, 1<<16)
		})
	}
}

// newFarSettings returns settings of A that B accepts.
func newFarSettings(p *pair, b *end) Settings {
	key := GenerateKey()
	b.settings.Peers[0].PublicKey = key.PublicKey()
	b.apply()
	s := p.sa
	s.PrivateKey = key
	s.Peers = []Peer{p.sa.Peers[0]}
	s.Peers[0].PublicKey, s.Peers[0].Preshared = b.settings.PrivateKey.PublicKey(), b.settings.Peers[0].Preshared
	return s
}

// TestRefused opens tunnels that can't be opened.
func TestRefused(t *testing.T) {
	h := newHost(t)
	refused := func(o Options, says string) {
		t.Helper()
		err := h.space.do(func() error {
			tunnel, err := Open(o)
			if err == nil {
				return errors.Join(errors.New("it is opened"), tunnel.Close())
			}
			return err
		})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: %v, want an error that says %q", o, err, says)
		}
	}
	refused(Options{}, "1 to 15 bytes")
	refused(Options{Interface: "wg-core-is-too-long"}, "1 to 15 bytes")
	refused(Options{Interface: "wg-core", Implementation: "both"}, `implementation "both": use auto`)

	attrs := netlink.NewLinkAttrs()
	attrs.Name = "wg-veth"
	if err := h.links.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "wg-veth2"}); err != nil {
		t.Fatal(err)
	}
	refused(Options{Interface: "wg-veth"}, "another kind (veth)")

	h.open(Options{Interface: "wg-core"}, Settings{PrivateKey: GenerateKey()})
	refused(Options{Interface: "wg-core"}, "wg-core is in use by another program")
	refused(Options{Interface: "wg-core", Implementation: Kernel}, "is a TUN of the userspace implementation")
}

// TestRemove removes what this package has created and nothing else.
func TestRemove(t *testing.T) {
	h := newHost(t)
	e := h.open(Options{}, Settings{PrivateKey: GenerateKey()})
	e.stop()
	if link := h.link("wg-core"); link.Attrs().Alias != ours {
		t.Errorf("the device's alias is %q", link.Attrs().Alias)
	}
	removed := []string(nil)
	remove := func(name string) func() error {
		return func() (err error) { removed, err = Remove(name); return err }
	}
	h.do(remove(""))
	if !slices.Equal(removed, []string{"wg-core"}) {
		t.Errorf("removed %q", removed)
	}
	if link, err := h.links.find("wg-core"); err != nil || link != nil {
		t.Errorf("the device stays: %v, %v", link, err)
	}
	h.do(remove("wg-core")) // nothing to remove

	foreign := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "wg-core"}, Mode: netlink.TUNTAP_MODE_TUN}
	h.do(func() error { return netlink.LinkAdd(foreign) })
	err := h.space.do(func() error { return errors.Join(remove("wg-core")(), remove("lo")()) })
	if err == nil || strings.Count(err.Error(), "was not made by anymx") != 2 {
		t.Errorf("foreign devices: %v", err)
	}
	h.link("wg-core")

	// An existing device is reused, and stays foreign.
	e = h.open(Options{Implementation: Auto}, Settings{PrivateKey: GenerateKey()})
	if s := e.Status(); s.Why != "the TUN device existed already" || s.Implementation != Userspace {
		t.Errorf("status %+v", s)
	}
	e.stop()
	if err := h.space.do(remove("wg-core")); err == nil {
		t.Error("a foreign device is removed once it was taken over")
	}
}

// TestRenamed opens a tunnel under another name than that of the existing device: only the new one
// is left.
func TestRenamed(t *testing.T) {
	h := newHost(t)
	s := Settings{PrivateKey: GenerateKey(), ListenPort: 51820}
	h.open(Options{Interface: "wg-core"}, s).stop()
	foreign := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "wg-other"}, Mode: netlink.TUNTAP_MODE_TUN}
	h.do(func() error { return netlink.LinkAdd(foreign) })
	h.open(Options{Interface: "wg-new"}, s).stop()
	if link, err := h.links.find("wg-core"); err != nil || link != nil {
		t.Errorf("the old device stays: %v, %v", link, err)
	}
	h.link("wg-new")
	h.link("wg-other")
}

// TestTakenOverMTU checks that a device keeps its MTU while no path to its peer is known.
func TestTakenOverMTU(t *testing.T) {
	h := newHost(t)
	s := Settings{PrivateKey: GenerateKey(), MTU: 1300}
	h.open(Options{}, s).stop()
	s.MTU = 0
	e := h.open(Options{}, s)
	if st := e.Status(); st.MTU != 1300 || h.link("wg-core").Attrs().MTU != 1300 {
		t.Errorf("MTU %d (%s)", st.MTU, st.MTUWhy)
	}
}
