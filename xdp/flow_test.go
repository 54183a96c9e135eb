package xdp

import (
	"errors"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Flows between a client host and nodes, over cables, with the kernel's own TCP at the far end. The
// tests check whether the banner arrives.

// handshake sends a SYN to one node and the ACK for its reply to another.
func handshake(t *testing.T, l *lab, f frame, first, second *node) (greeted bool) {
	t.Helper()
	w1, w2 := l.wire(t, first), l.wire(t, second)
	w1.send(t, f)
	answer := w1.read(t, f, soon, isSYNACK)
	if answer == nil {
		t.Fatal("the SYN was not answered")
	}
	w2.send(t, f.reply(answer))
	return w2.read(t, f, little, isBanner) != nil
}

func TestFlowMovesBetweenNodes(t *testing.T) {
	l := newLab(t, Options{},
		Settings{Services: three, Cookies: Always, Key: key},
		Settings{Services: three, Key: key}, // without pressure
		Settings{Services: three, Cookies: Always, Key: []byte("the key of another operator")})
	eachFamily(t, func(t *testing.T, s Service) {
		if !handshake(t, l, forged(s, 41001), l.nodes[0], l.nodes[0]) {
			t.Error("no banner from the node that answered the SYN")
		}
		if !handshake(t, l, forged(s, 41002), l.nodes[0], l.nodes[1]) {
			t.Error("no banner from a node with the same key")
		}
		if handshake(t, l, forged(s, 41003), l.nodes[0], l.nodes[2]) {
			t.Error("a banner from a node with another key")
		}
	})
}

func TestLostLastACKInPeace(t *testing.T) {
	l := newLab(t, Options{}, Settings{Services: three})
	eachFamily(t, func(t *testing.T, s Service) {
		w, f := l.wire(t, l.nodes[0]), forged(s, 42001)
		w.send(t, f)
		first := w.read(t, f, soon, isSYNACK)
		if first == nil {
			t.Fatal("the SYN was not answered")
		}
		// The ACK is lost: the stack knows the connection and sends the SYN-ACK again.
		again := w.read(t, f, 3*time.Second, isSYNACK)
		if again == nil {
			t.Fatal("no second SYN-ACK came")
		}
		w.send(t, f.reply(again))
		if w.read(t, f, soon, isBanner) == nil {
			t.Error("no banner")
		}
	})
}

func TestCookiesOfTheStackAreRespected(t *testing.T) {
	l := newLab(t, Options{}, Settings{Services: three, Cookies: Never})
	n := l.nodes[0]
	n.do(t, func() { sysctl(t, "ipv4/tcp_syncookies", "2") }) // the stack always uses cookies
	eachFamily(t, func(t *testing.T, s Service) {
		w, f := l.wire(t, n), forged(s, 43001)
		n.configure(t, Settings{Services: three, Cookies: Never})
		w.send(t, f)
		answer := w.read(t, f, soon, isSYNACK)
		if answer == nil {
			t.Fatal("the SYN was not answered")
		}
		n.configure(t, Settings{Services: three, Cookies: Always})
		before := watch(t, n.shield).last
		w.send(t, f.reply(answer))
		if w.read(t, f, soon, isBanner) == nil {
			t.Errorf("no banner: %v", since(t, n.shield, before))
		}
		if got := since(t, n.shield, before); got[Handshake] != 1 {
			t.Errorf("%v", got)
		}
		bad := f.reply(answer)
		bad.sport, before = 43002, watch(t, n.shield).last
		w.send(t, bad)
		wait(t, "a verdict", func() bool { return len(since(t, n.shield, before)) > 0 })
		if got := since(t, n.shield, before); got[Bogus] != 1 {
			t.Errorf("a wrong cookie: %v", got)
		}
	})
}

func (n *node) configure(t *testing.T, s Settings) {
	t.Helper()
	n.do(t, func() {
		if err := n.shield.Configure(s); err != nil {
			t.Fatal(err)
		}
	})
}

func TestStackCookiesAreTheFallback(t *testing.T) {
	l := newLab(t, Options{stackCookies: true}, Settings{Services: three, Cookies: Always})
	n := l.nodes[0]
	n.do(t, func() { sysctl(t, "ipv4/tcp_syncookies", "2") })
	if st := status(t, n.shield); !st.StackCookies || st.WhyStackCookies == "" {
		t.Errorf("the status says %+v", st)
	}
	eachFamily(t, func(t *testing.T, s Service) {
		before := watch(t, n.shield).last
		conn, err := l.dial(t, s, soon)
		if err != nil {
			t.Fatal(err, since(t, n.shield, before))
		}
		defer conn.Close()
		echo(t, conn)
		if got := since(t, n.shield, before); got[SYNAnswered] != 1 || got[Handshake] != 1 || got[Established] == 0 {
			t.Errorf("%v", got)
		}
		if info := <-n.server.info; info.options != 0 || info.sendMSS == 0 {
			t.Errorf("the stack agreed on %+v", info)
		}
	})
}

func TestStraysAreNotReset(t *testing.T) {
	l := newLab(t, Options{}, Settings{Services: three, Cookies: Always})
	eachFamily(t, func(t *testing.T, s Service) {
		n := l.nodes[0]
		n.configure(t, Settings{Services: three, Cookies: Always})
		conn, err := l.dial(t, s, soon)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		w := l.wire(t, n)
		stray := with(forged(s, 44001), func(f *frame) { f.flags, f.ack = ack, 12345 })
		for range 100 {
			w.send(t, stray)
		}
		if w.read(t, stray, little, isReset) != nil {
			t.Error("a stray was reset under pressure")
		}
		echo(t, conn) // established connections stay
		n.configure(t, Settings{Services: three})
		before := watch(t, n.shield).last
		w = l.wire(t, n) // the first one is full of echoed data
		w.send(t, stray)
		if w.read(t, stray, soon, isReset) == nil {
			t.Error("a stray was not reset in peace: its sender would wait for nothing", since(t, n.shield, before))
		}
	})
}

func TestFragmentsAreNoWayRound(t *testing.T) {
	l := newLab(t, Options{}, Settings{Services: three, Cookies: Always})
	n := l.nodes[0]
	w, f := l.wire(t, n), forged(mail4, 45001)
	// The SYN in two fragments: its options are in the second.
	f.proto = 6
	whole := f.upper()
	send := func() {
		t.Helper()
		w.write(t, with(f, func(f *frame) { f.fragment = 0x2000 }).around(whole[:24]))
		w.write(t, with(f, func(f *frame) { f.fragment = 3 }).around(whole[24:]))
	}
	before := watch(t, n.shield).last
	send()
	if w.read(t, f, little, isSYNACK) != nil {
		t.Error("a SYN in fragments was answered")
	}
	if got := since(t, n.shield, before); got[Fragment] != 2 {
		t.Errorf("%v", got)
	}
	n.configure(t, Settings{Services: three, Cookies: Always, PassFragments: true})
	send()
	if w.read(t, f, soon, isSYNACK) == nil {
		t.Error("a SYN in fragments was not answered by the stack, which was to have them")
	}
}

func TestPortOfAnOldConnectionIsUsedAgain(t *testing.T) {
	l := newLab(t, Options{}, Settings{Services: three, Cookies: Always})
	n := l.nodes[0]
	eachFamily(t, func(t *testing.T, s Service) {
		w, f := l.wire(t, n), forged(s, 46001)
		w.send(t, f)
		answer := w.read(t, f, soon, isSYNACK)
		if answer == nil {
			t.Fatal("the SYN was not answered")
		}
		back := f.reply(answer)
		w.send(t, back)
		greeting := w.read(t, f, soon, isBanner)
		if greeting == nil {
			t.Fatal("no banner")
		}
		// Both ends close, the client last: the server remembers the 4-tuple for a minute.
		_, tcp := headers(greeting)
		back.ack = be.Uint32(tcp[4:]) + uint32(len(banner))
		w.send(t, with(back, func(f *frame) { f.flags = fin | ack }))
		last := w.read(t, f, soon, func(tcp []byte) bool { return tcp[13]&fin != 0 })
		if last == nil {
			t.Fatal("the server did not close")
		}
		w.send(t, with(back, func(f *frame) { f.seq++; f.ack++; f.flags = ack }))
		// For the old connection, this SYN starts a new one (RFC 6191).
		again := with(f, func(f *frame) { f.seq += 1 << 20 })
		before := watch(t, n.shield).last
		w.send(t, again)
		answer = w.read(t, f, soon, isSYNACK)
		if answer == nil {
			t.Fatalf("the new SYN was not answered: %v", since(t, n.shield, before))
		}
		w.send(t, again.reply(answer))
		if w.read(t, f, soon, isBanner) == nil {
			t.Errorf("no banner for the new connection: %v", since(t, n.shield, before))
		}
	})
}

func TestKeysRotateDuringHandshakes(t *testing.T) {
	l := newLab(t, Options{}, Settings{Services: three, Cookies: Always, Epoch: time.Minute})
	n := l.nodes[0]
	start := time.Now().Truncate(time.Minute)
	for i := range 8 { // a quarter of an epoch each
		w, f := l.wire(t, n), forged(mail4, uint16(47001+i))
		w.send(t, f)
		answer := w.read(t, f, soon, isSYNACK)
		if answer == nil {
			t.Fatal("the SYN was not answered")
		}
		if err := n.shield.tick(start.Add(time.Duration(i+1) * 15 * time.Second)); err != nil {
			t.Fatal(err)
		}
		w.send(t, f.reply(answer))
		if w.read(t, f, soon, isBanner) == nil {
			t.Errorf("no banner where the key changed in the middle, step %d", i)
		}
	}
}

func TestNoDressIsAWayRound(t *testing.T) {
	l := newLab(t, Options{}, Settings{Services: three, Cookies: Always})
	n := l.nodes[0]
	for name, dress := range map[string]func(*frame){
		"priority tag":           func(f *frame) { f.tags = []uint16{0x8100} }, // VLAN 0: the kernel ignores the tag
		"IPv4 options":           func(f *frame) { f.ipOptions = []byte{1, 1, 1, 0} },
		"IPv6 extension headers": func(f *frame) { f.extensions = []byte{0, 60} },
		"data":                   func(f *frame) { f.payload = []byte("EHLO client.example.org\r\n") },
		"padding":                func(f *frame) { f.pad = 20 },
	} {
		eachFamily(t, func(t *testing.T, s Service) {
			f := with(forged(s, 49001), dress)
			f.sport += uint16(len(name))
			before := watch(t, n.shield).last
			w := l.wire(t, n)
			w.send(t, f)
			answer := w.read(t, f, soon, isSYNACK)
			if answer == nil {
				t.Fatalf("%s: the SYN was not answered: %v", name, since(t, n.shield, before))
			}
			back := f.reply(answer)
			w.send(t, back)
			if w.read(t, f, soon, isBanner) == nil {
				t.Errorf("%s: no banner: %v", name, since(t, n.shield, before))
			}
			got := since(t, n.shield, before)
			if got[SYNAnswered] != 1 || got[Cookie] != 1 || got[Admitted] != 1 {
				t.Errorf("%s: %v", name, got)
			}
			w.send(t, with(back, func(f *frame) { f.flags = rst; f.payload = nil }))
		})
	}
}

func TestConnectionRateInPeace(t *testing.T) {
	l := newLab(t, Options{}, Settings{Services: three, ConnectionRate: 1, ConnectionBurst: 2})
	n := l.nodes[0]
	eachFamily(t, func(t *testing.T, s Service) {
		// Forging both SYN and ACK opens no connection for another address.
		w, f := l.wire(t, n), forged(s, 49501)
		w.send(t, f)
		answer := w.read(t, f, soon, isSYNACK)
		if answer == nil {
			t.Fatal("the SYN was not answered")
		}
		w.send(t, with(f.reply(answer), func(f *frame) { f.ack += 7 }))
		for range 2 {
			conn, err := l.dial(t, s, soon)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
		}
		if conn, err := l.dial(t, s, little); err == nil {
			conn.Close()
			t.Error("a third connection at once was let in")
		}
		openers, err := n.shield.Openers(10)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range openers {
			if o.Prefix.Contains(f.from) {
				t.Errorf("%s opened %d connections", o.Prefix, o.Connections)
			}
		}
	})
}

func TestHandshakeThroughVLANDevices(t *testing.T) {
	l := newLab(t, Options{}, Settings{Services: three, Cookies: Always})
	n := l.nodes[0]
	n.do(t, func() {
		vlan := func(over, name string, kind netlink.VlanProtocol) {
			below, err := netlink.LinkByName(over)
			if err != nil {
				t.Fatal(err)
			}
			attrs := netlink.NewLinkAttrs()
			attrs.Name, attrs.ParentIndex = name, below.Attrs().Index
			device := &netlink.Vlan{LinkAttrs: attrs, VlanId: 100, VlanProtocol: kind}
			if err := netlink.LinkAdd(device); errors.Is(err, unix.EOPNOTSUPP) {
				t.Skip("this kernel has no VLAN devices (8021q)")
			} else if err != nil {
				t.Fatal(err)
			}
			if err := netlink.LinkSetUp(device); err != nil {
				t.Fatal(err)
			}
		}
		vlan(n.device, n.device+".100", netlink.VLAN_PROTOCOL_8021Q)
		vlan(n.device, "outer", netlink.VLAN_PROTOCOL_8021AD)
		vlan("outer", "inner.100", netlink.VLAN_PROTOCOL_8021Q)
		if err := n.shield.Attach(); err != nil { // as Run does periodically
			t.Fatal(err)
		}
	})
	for name, tags := range map[string][]uint16{"VLAN": {0x8100}, "QinQ": {0x88a8, 0x8100}} {
		eachFamily(t, func(t *testing.T, s Service) {
			f := with(forged(s, 49700+uint16(len(tags))), func(f *frame) { f.tags, f.vlan = tags, 100 })
			before := watch(t, n.shield).last
			w := l.wire(t, n)
			w.send(t, f)
			answer := w.read(t, f, soon, isSYNACK)
			if answer == nil {
				t.Fatalf("%s: the SYN was not answered: %v", name, since(t, n.shield, before))
			}
			w.send(t, f.reply(answer))
			if w.read(t, f, soon, isBanner) == nil {
				t.Errorf("%s: no banner: %v", name, since(t, n.shield, before))
			}
			if got := since(t, n.shield, before); got[Cookie] != 1 || got[Admitted] != 1 || got[Unadmitted] != 0 {
				t.Errorf("%s: %v", name, got)
			}
		})
	}
}
