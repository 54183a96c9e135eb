package bgp

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"anymx/tests/kit"
)

// beside is a well-behaved router next to a bad peer. Its session must not
// notice anything.
func beside(t *testing.T, s *Speaker, bad ...Peer) func() {
	t.Helper()
	r := newRouter(t, 64501, "127.0.0.2")
	r.expect("127.0.0.1", ourASN)
	setRoutes(t, s, ours()...)
	setPeers(t, s, append(bad, r.peer())...)
	kit.Eventually(t, "the routes at the good router", func() bool { return len(r.table()) == 3 })
	return func() {
		t.Helper()
		st := peerStatus(t, s, r.address)
		if st.State != Established || st.Counters.Sessions != 1 {
			t.Errorf("the good router was disturbed: %+v", st)
		}
		kit.Eventually(t, "the routes at the good router", func() bool { return len(r.table()) == 3 })
	}
}

func TestGarbage(t *testing.T) {
	const fsm = packet.BGP_ERROR_FSM_ERROR
	noise := make([]byte, 8192)
	for i := range noise {
		noise[i] = byte(rand.N(256))
	}
	notV4 := rawOpen(9, modern...)
	notV4[0] = 3
	anonymous := rawOpen(9, modern...)
	copy(anonymous[5:], []byte{0, 0, 0, 0})

	tests := []struct {
		name  string
		state State
		send  []byte
		want  *Notification // nil: the connection just ends
	}{
		{"noise", OpenSent, noise, headerError(packet.BGP_ERROR_SUB_CONNECTION_NOT_SYNCHRONIZED)},
		{"type 0", OpenSent, message(0, nil), headerError(packet.BGP_ERROR_SUB_BAD_MESSAGE_TYPE, 0)},
		{"type 9", OpenSent, message(9, nil), headerError(packet.BGP_ERROR_SUB_BAD_MESSAGE_TYPE, 9)},
		{"length 0", OpenSent, sized(0, packet.BGP_MSG_OPEN, nil), headerError(packet.BGP_ERROR_SUB_BAD_MESSAGE_LENGTH, 0, 0)},
		{"length 28 of an OPEN", OpenSent, sized(28, packet.BGP_MSG_OPEN, nil), headerError(packet.BGP_ERROR_SUB_BAD_MESSAGE_LENGTH, 0, 28)},
		{"length 65535", OpenSent, sized(65535, packet.BGP_MSG_OPEN, noise), headerError(packet.BGP_ERROR_SUB_BAD_MESSAGE_LENGTH, 255, 255)},
		{"version 3", OpenSent, message(packet.BGP_MSG_OPEN, notV4), openError(packet.BGP_ERROR_SUB_UNSUPPORTED_VERSION_NUMBER, 0, 4)},
		{"no router id", OpenSent, message(packet.BGP_MSG_OPEN, anonymous), openError(packet.BGP_ERROR_SUB_BAD_BGP_IDENTIFIER)},
		{"hold time 2", OpenSent, message(packet.BGP_MSG_OPEN, rawOpen(2)), openError(packet.BGP_ERROR_SUB_UNACCEPTABLE_HOLD_TIME)},
		{"hold time 0", OpenSent, message(packet.BGP_MSG_OPEN, rawOpen(0)), openError(packet.BGP_ERROR_SUB_UNACCEPTABLE_HOLD_TIME)},
		{"authentication", OpenSent, message(packet.BGP_MSG_OPEN, rawOpen(9, 1, 1, 0)), openError(packet.BGP_ERROR_SUB_UNSUPPORTED_OPTIONAL_PARAMETER)},
		{"cut parameter", OpenSent, message(packet.BGP_MSG_OPEN, rawOpen(9, 2, 9, 1)), openError(0)},
		{"cut capability", OpenSent, message(packet.BGP_MSG_OPEN, rawOpen(9, 2, 4, 65, 4, 0, 0)), openError(0)},
		{"no family", OpenSent, message(packet.BGP_MSG_OPEN, rawOpen(9, 2, 6, 1, 4, 0, 1, 0, 2)), openError(packet.BGP_ERROR_SUB_UNSUPPORTED_CAPABILITY, 1, 4, 0, 1, 0, 1)},
		{"UPDATE before OPEN", OpenSent, message(packet.BGP_MSG_UPDATE, make([]byte, 4)), &Notification{Code: fsm, Subcode: 1}},
		{"NOTIFICATION", OpenSent, message(packet.BGP_MSG_NOTIFICATION, []byte{6, 5}), nil},
		{"half an OPEN", OpenSent, message(packet.BGP_MSG_OPEN, rawOpen(9, modern...))[:25], nil},
		{"nothing", OpenSent, nil, nil},

		{"OPEN twice", OpenConfirm, message(packet.BGP_MSG_OPEN, rawOpen(9, modern...)), &Notification{Code: fsm, Subcode: 2}},
		{"UPDATE before KEEPALIVE", OpenConfirm, message(packet.BGP_MSG_UPDATE, make([]byte, 4)), &Notification{Code: fsm, Subcode: 2}},

		{"OPEN again", Established, message(packet.BGP_MSG_OPEN, rawOpen(9, modern...)), &Notification{Code: fsm, Subcode: 3}},
		{"type 6", Established, message(6, nil), headerError(packet.BGP_ERROR_SUB_BAD_MESSAGE_TYPE, 6)},
		{"long KEEPALIVE", Established, message(packet.BGP_MSG_KEEPALIVE, []byte{0}), headerError(packet.BGP_ERROR_SUB_BAD_MESSAGE_LENGTH, 0, 20)},
		{"short UPDATE", Established, message(packet.BGP_MSG_UPDATE, []byte{0, 0, 0}), headerError(packet.BGP_ERROR_SUB_BAD_MESSAGE_LENGTH, 0, 22)},
		{"short NOTIFICATION", Established, message(packet.BGP_MSG_NOTIFICATION, []byte{6}), headerError(packet.BGP_ERROR_SUB_BAD_MESSAGE_LENGTH, 0, 20)},
		{"noise in a session", Established, noise, headerError(packet.BGP_ERROR_SUB_CONNECTION_NOT_SYNCHRONIZED)},
		{"half an UPDATE", Established, sized(4096, packet.BGP_MSG_UPDATE, noise[:100]), nil},
	}
	s := newSpeaker(t, ourASN, nil)
	r := newRaw(t, "127.0.0.3")
	undisturbed := beside(t, s, r.peer())
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := r.accept()
			if test.state != OpenSent {
				c.send(message(packet.BGP_MSG_OPEN, rawOpen(9, modern...)))
				c.next() // its KEEPALIVE
			}
			if test.state == Established {
				c.send(message(packet.BGP_MSG_KEEPALIVE, nil))
				c.updates(3)
			}
			c.send(test.send)
			if test.want == nil {
				if err := c.CloseWrite(); err != nil {
					t.Fatal(err)
				}
			}
			got := c.end()
			c.Close()
			if (got == nil) != (test.want == nil) {
				t.Fatalf("ended with %v, want %v", got, test.want)
			}
			if got != nil && (got.Code != test.want.Code || got.Subcode != test.want.Subcode || !bytes.Equal(got.Data, test.want.Data)) {
				t.Errorf("ended with %v, want %v", got, test.want)
			}
			undisturbed()
		})
	}
	c := r.establish(rawOpen(9, modern...))
	c.updates(3)
	undisturbed()
}

// What an UPDATE says is never looked at: no UPDATE can end a session.
func TestMalformedUpdates(t *testing.T) {
	s := newSpeaker(t, ourASN, nil)
	r := newRaw(t, "127.0.0.3")
	undisturbed := beside(t, s, r.peer())
	c := r.establish(rawOpen(9, modern...))
	c.updates(3)

	sent := 0
	send := func(body []byte) {
		c.send(message(packet.BGP_MSG_UPDATE, body))
		sent++
	}
	send([]byte{0xff, 0xff, 0, 0})                                            // more withdrawn than there is
	send([]byte{0, 0, 0xff, 0xff})                                            // more attributes
	send([]byte{0, 0, 0, 0, 33, 1, 2, 3, 4, 5})                               // a prefix of 33 bits
	send([]byte{0, 0, 0, 0, 24, 192, 0, 2})                                   // no attributes
	send([]byte{0, 0, 0, 4, 0x40, 1, 1, 9, 24, 192, 0, 2})                    // an unknown origin
	send([]byte{0, 0, 0, 9, 0x80, 14, 6, 0, 25, 70, 0, 0, 0})                 // EVPN without a body
	send([]byte{0, 0, 0, 8, 0x40, 1, 1, 0, 0x40, 1, 1, 0})                    // an attribute twice
	send(slices.Concat([]byte{0, 0, 0, 6, 0x40, 2, 3, 9, 9, 9}, []byte{200})) // a bad AS_PATH
	for range 1000 {
		body := make([]byte, 4+rand.N(messageSize-headerSize-3))
		for i := range body {
			body[i] = byte(rand.N(256))
		}
		send(body)
	}
	c.send(message(packet.BGP_MSG_ROUTE_REFRESH, []byte{0, 1, 0, 1}))
	c.updates(2) // the session is alive, and goes on
	st := peerStatus(t, s, r.peer().Address)
	if st.State != Established || st.Counters.Sessions != 1 || st.Counters.Received.Updates != uint64(sent) {
		t.Errorf("after %d malformed UPDATEs: %+v", sent, st)
	}
	undisturbed()
}

// A peer that sends everything it knows costs no memory, and slows nothing
// down.
func TestFullTable(t *testing.T) {
	const prefixes, each = 200_000, 7 // as many to an UPDATE as on the Internet
	s := newSpeaker(t, ourASN, nil)
	r := newRaw(t, "127.0.0.3")
	undisturbed := beside(t, s, r.peer())
	c := r.establish(rawOpen(9, modern...))
	c.updates(3)

	attributes := attributesOf(Path{
		Prefix: prefix("0.0.0.0/0"), NextHop: addr("192.0.2.77"), ASPath: []uint32{rawASN, 3, 5, 7}, Communities: []Community{1},
	}, true)
	var everything bytes.Buffer
	sent := 0
	for i := 0; i < prefixes; sent++ {
		var nlri []netip.Prefix
		for ; len(nlri) < each; i++ {
			var a [4]byte
			binary.BigEndian.PutUint32(a[:], uint32(1<<24+i<<8))
			nlri = append(nlri, netip.PrefixFrom(netip.AddrFrom4(a), 24))
		}
		u, err := packet.NewBGPUpdateMessage(nil, attributes, nlri4(nlri)).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		everything.Write(u)
	}
	before := heap()
	start := time.Now()
	c.send(everything.Bytes())
	// Meanwhile the speaker withdraws, and the peer is told.
	setRoutes(t, s, ours()[:2]...)
	c.updates(1)
	flush(t, s)
	address := r.peer().Address
	kit.Eventually(t, "all of it received", func() bool { return peerStatus(t, s, address).Counters.Received.Updates == uint64(sent) })
	took, grown := time.Since(start), heap()-before
	t.Logf("%d prefixes in %d UPDATEs, %d octets: %s, heap grown by %d octets", prefixes, sent, everything.Len(), took, grown)
	if grown > 1<<20 {
		t.Errorf("the heap has grown by %d octets", grown)
	}
	if st := peerStatus(t, s, address); st.State != Established || st.Counters.Sessions != 1 {
		t.Errorf("the session was lost: %+v", st)
	}
	setRoutes(t, s, ours()...)
	c.updates(1)
	undisturbed()
}

// heap is what is in use after everything that nobody needs was collected.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestRouteRefresh(t *testing.T) {
	s := newSpeaker(t, ourASN, nil)
	r := newRaw(t, "127.0.0.3")
	setRoutes(t, s, ours()...)
	setPeers(t, s, r.peer())
	c := r.establish(rawOpen(9, modern...))
	c.updates(3)
	c.send(
		message(packet.BGP_MSG_ROUTE_REFRESH, []byte{0, 25, 0, 70}), // EVPN: never agreed on
		message(packet.BGP_MSG_ROUTE_REFRESH, []byte{0, 1, 1, 1}),   // a border of RFC 7313
		message(packet.BGP_MSG_ROUTE_REFRESH, []byte{0, 2, 0, 1}),
	)
	u := c.updates(1)[0]
	if len(u.NLRI) != 0 || pathOf(u.PathAttributes).NextHop != addr("2001:db8::1") {
		t.Errorf("told again: %v", u)
	}
	if st := peerStatus(t, s, r.peer().Address); st.Counters.PathsAnnounced > 4 {
		t.Errorf("told more than was asked for: %+v", st.Counters)
	}
}

func TestPeerThatKnowsOnlyShortASNs(t *testing.T) {
	s := newSpeaker(t, ourASN, nil)
	r := newRaw(t, "127.0.0.3")
	p := r.peer()
	p.Export.Prepend = 1
	setRoutes(t, s, ours()[0])
	setPeers(t, s, p)
	c := r.establish(rawOpen(9)) // no capabilities at all: IPv4, and ASNs of 16 bits
	u := c.updates(1)[0]
	var as4 []uint32
	for _, a := range u.PathAttributes {
		if a, ok := a.(*packet.PathAttributeAs4Path); ok {
			for _, segment := range a.Value {
				as4 = append(as4, segment.AS...)
			}
		}
	}
	if got := pathOf(u.PathAttributes).ASPath; !slices.Equal(got, []uint32{asTrans, asTrans}) {
		t.Errorf("AS_PATH %d", got)
	}
	if !slices.Equal(as4, []uint32{ourASN, ourASN}) {
		t.Errorf("AS4_PATH %d", as4)
	}
	if f := peerStatus(t, s, p.Address).Families; !slices.Equal(f, []Family{IPv4}) {
		t.Errorf("agreed on %s", f)
	}
}

func TestHoldTimer(t *testing.T) {
	s := newSpeaker(t, ourASN, nil)
	r := newRaw(t, "127.0.0.3")
	setPeers(t, s, r.peer())
	c := r.establish(rawOpen(3, modern...))
	start := time.Now()
	if got := peerStatus(t, s, r.peer().Address).HoldTime; got != 0 && got != 3*time.Second {
		t.Errorf("agreed on %s", got)
	}
	n := c.end()
	if took := time.Since(start); n == nil || n.Code != packet.BGP_ERROR_HOLD_TIMER_EXPIRED || took < 2*time.Second || took > 20*time.Second {
		t.Errorf("a silent peer's session ended after %s with %v", took, n)
	}
	// An UPDATE, and a KEEPALIVE, keep a session up beyond the hold time.
	c = r.establish(rawOpen(3, modern...))
	for i := range 5 {
		time.Sleep(time.Second)
		kind := []byte{packet.BGP_MSG_UPDATE, packet.BGP_MSG_KEEPALIVE}[i%2]
		c.send(message(kind, make([]byte, 4*(1-i%2))))
	}
	st := peerStatus(t, s, r.peer().Address)
	if st.State != Established || st.Counters.Sessions != 2 || st.Counters.Sent.Keepalives < 5 {
		t.Errorf("a session with traffic: %+v", st)
	}
}

func TestFlappingPeer(t *testing.T) {
	s := newSpeaker(t, ourASN, nil)
	r := newRaw(t, "127.0.0.3")
	p := r.peer()
	p.ConnectRetry = time.Millisecond
	undisturbed := beside(t, s, p)
	var before int
	for i := range 200 {
		c := r.establish(rawOpen(9, modern...))
		if i == 10 {
			before = runtime.NumGoroutine()
		}
		if i%2 == 0 {
			c.updates(1)
			c.send(message(packet.BGP_MSG_NOTIFICATION, []byte{6, 4}))
		} else if err := c.SetLinger(0); err != nil { // a reset
			t.Fatal(err)
		}
		c.Close()
	}
	c := r.establish(rawOpen(9, modern...))
	c.updates(3)
	st := peerStatus(t, s, p.Address)
	if st.State != Established || st.Counters.Sessions < 200 || st.LastError == nil {
		t.Errorf("after 200 flaps: %+v", st)
	}
	if !kit.Within(5*time.Second, func() bool { return runtime.NumGoroutine() <= before+2 }) {
		t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
	}
	undisturbed()
}

// A peer that reads nothing holds up nobody but itself.
func TestPeerThatReadsNothing(t *testing.T) {
	s := newSpeaker(t, ourASN, nil)
	r := newRaw(t, "127.0.0.3")
	r.smallBuffer()
	undisturbed := beside(t, s, r.peer())
	// It keeps talking, so that only what it does not read is at fault.
	r.establish(rawOpen(3, modern...)).talk()
	address := r.peer().Address
	stuff(t, s, address)
	kit.Eventually(t, "the end of the session", func() bool {
		st := peerStatus(t, s, address)
		return st.LastError != nil && (strings.Contains(st.LastError.Error(), "taken no data") ||
			strings.Contains(st.LastError.Error(), "acknowledges nothing"))
	})
	setRoutes(t, s, ours()...)
	undisturbed()
	kit.Eventually(t, "the good router's session is confirmed", func() bool {
		return peerStatus(t, s, addr("127.0.0.2")).Confirmed
	})
}
