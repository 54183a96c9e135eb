package bgp

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"anymx/tests/kit"
)

const ourASN = 4200000100

func ptr[T any](v T) *T { return &v }

// ours are the routes that most tests announce: one with everything, one bare,
// in both families.
func ours(extra ...Community) []Route {
	return []Route{
		{
			Prefix:           prefix("192.0.2.0/24"),
			Communities:      append([]Community{64500<<16 | 100}, extra...),
			LargeCommunities: []LargeCommunity{{4200000100, 1, 2}},
		},
		{Prefix: prefix("198.51.100.128/25"), Communities: extra},
		{Prefix: prefix("2001:db8:25::/48"), Communities: extra},
	}
}

func TestEachPeerIsToldItsOwn(t *testing.T) {
	transit := newRouter(t, 64501, "127.0.0.2")
	exchange := newRouter(t, 4200000001, "127.0.0.3")
	inside := newRouter(t, ourASN, "127.0.0.4")
	for _, r := range []*router{transit, exchange, inside} {
		r.expect("127.0.0.1", ourASN)
	}
	s := newSpeaker(t, ourASN, nil)

	a, b, c := transit.peer(), exchange.peer(), inside.peer()
	a.Export.MED = ptr(uint32(20))
	a.Export.Communities = []Community{64501<<16 | 7, 64500<<16 | 100}
	b.Export.Prepend = 2
	b.Export.NextHop4 = addr("192.0.2.99")
	b.Export.LargeCommunities = []LargeCommunity{{4200000001, 0, 1}}
	c.Export.MED = ptr(uint32(0))
	setRoutes(t, s, ours()...)
	setPeers(t, s, a, b, c)

	atTransit := []Path{
		{
			Prefix: prefix("192.0.2.0/24"), NextHop: addr("127.0.0.1"), ASPath: []uint32{ourASN}, MED: ptr(uint32(20)),
			Communities: []Community{64500<<16 | 100, 64501<<16 | 7}, LargeCommunities: []LargeCommunity{{4200000100, 1, 2}},
		},
		{
			Prefix: prefix("198.51.100.128/25"), NextHop: addr("127.0.0.1"), ASPath: []uint32{ourASN}, MED: ptr(uint32(20)),
			Communities: []Community{64500<<16 | 100, 64501<<16 | 7},
		},
		{
			Prefix: prefix("2001:db8:25::/48"), NextHop: addr("2001:db8::1"), ASPath: []uint32{ourASN}, MED: ptr(uint32(20)),
			Communities: []Community{64500<<16 | 100, 64501<<16 | 7},
		},
	}
	thrice := []uint32{ourASN, ourASN, ourASN}
	atExchange := []Path{
		{
			Prefix: prefix("192.0.2.0/24"), NextHop: addr("192.0.2.99"), ASPath: thrice,
			Communities: []Community{64500<<16 | 100}, LargeCommunities: []LargeCommunity{{4200000001, 0, 1}, {4200000100, 1, 2}},
		},
		{
			Prefix: prefix("198.51.100.128/25"), NextHop: addr("192.0.2.99"), ASPath: thrice,
			LargeCommunities: []LargeCommunity{{4200000001, 0, 1}},
		},
		{
			Prefix: prefix("2001:db8:25::/48"), NextHop: addr("2001:db8::1"), ASPath: thrice,
			LargeCommunities: []LargeCommunity{{4200000001, 0, 1}},
		},
	}
	atInside := []Path{
		{
			Prefix: prefix("192.0.2.0/24"), NextHop: addr("127.0.0.1"), MED: ptr(uint32(0)), LocalPref: ptr(uint32(100)),
			Communities: []Community{64500<<16 | 100}, LargeCommunities: []LargeCommunity{{4200000100, 1, 2}},
		},
		{Prefix: prefix("198.51.100.128/25"), NextHop: addr("127.0.0.1"), MED: ptr(uint32(0)), LocalPref: ptr(uint32(100))},
		{Prefix: prefix("2001:db8:25::/48"), NextHop: addr("2001:db8::1"), MED: ptr(uint32(0)), LocalPref: ptr(uint32(100))},
	}
	transit.wantTable(atTransit...)
	exchange.wantTable(atExchange...)
	inside.wantTable(atInside...)

	// What was sent is what has arrived.
	flush(t, s)
	for address, want := range map[netip.Addr][]Path{a.Address: atTransit, b.Address: atExchange, c.Address: atInside} {
		st := peerStatus(t, s, address)
		if got := describe(st.Sent); got != describe(want) || !st.Confirmed {
			t.Errorf("%s was sent %s\nwant %s", address, got, describe(want))
		}
		if st.HoldTime != 9*time.Second || len(st.Families) != 2 || st.RouterID != address || st.Uptime <= 0 {
			t.Errorf("session with %s: %+v", address, st)
		}
	}

	// Before maintenance: announced once more, less attractive, not withdrawn.
	setRoutes(t, s, ours(GracefulShutdown)...)
	for _, paths := range [][]Path{atTransit, atExchange, atInside} {
		for i := range paths {
			paths[i].Communities = union(paths[i].Communities, []Community{GracefulShutdown})
			if paths[i].LocalPref != nil {
				paths[i].LocalPref = ptr(uint32(0))
			}
		}
	}
	transit.wantTable(atTransit...)
	exchange.wantTable(atExchange...)
	inside.wantTable(atInside...)

	// One prefix less, then none; nil and empty are the same.
	setRoutes(t, s, ours(GracefulShutdown)[:2]...)
	transit.wantTable(atTransit[:2]...)
	exchange.wantTable(atExchange[:2]...)
	inside.wantTable(atInside[:2]...)
	setRoutes(t, s)
	for _, r := range []*router{transit, exchange, inside} {
		r.wantTable()
	}
	flush(t, s)
	for _, r := range []*router{transit, exchange, inside} {
		c := peerStatus(t, s, r.address).Counters
		if c.Sessions != 1 || c.PathsAnnounced != 6 || c.PathsWithdrawn != 3 {
			t.Errorf("session with %s: %+v", r.address, c)
		}
	}
}

func TestNothingIsSentTwice(t *testing.T) {
	r := newRouter(t, 64501, "127.0.0.2")
	r.expect("127.0.0.1", ourASN)
	s := newSpeaker(t, ourASN, nil)
	setRoutes(t, s, ours()...)
	setPeers(t, s, r.peer())
	waitEstablished(t, s, r.address)
	flush(t, s)
	before := peerStatus(t, s, r.address).Counters.Sent.Updates

	setRoutes(t, s, ours()...)
	setPeers(t, s, r.peer())
	changed := append(ours(), Route{Prefix: prefix("203.0.113.0/24")})
	setRoutes(t, s, changed...)
	r.wantTable(peerStatusSent(t, s, r.address, 4)...)
	if n := peerStatus(t, s, r.address).Counters.Sent.Updates - before; n != 1 {
		t.Errorf("%d updates for one new prefix", n)
	}
}

// peerStatusSent waits until so many paths were sent to a peer.
func peerStatusSent(t *testing.T, s *Speaker, address netip.Addr, n int) []Path {
	t.Helper()
	kit.Eventually(t, "all paths sent", func() bool { return len(peerStatus(t, s, address).Sent) == n })
	return peerStatus(t, s, address).Sent
}

func TestChangesTouchNoOtherSession(t *testing.T) {
	first := newRouter(t, 64501, "127.0.0.2")
	second := newRouter(t, 64502, "127.0.0.3")
	third := newRouter(t, 64503, "127.0.0.4")
	for _, r := range []*router{first, second, third} {
		r.expect("127.0.0.1", ourASN)
	}
	s := newSpeaker(t, ourASN, nil)
	setRoutes(t, s, ours()...)
	a, b, c := first.peer(), second.peer(), third.peer()
	setPeers(t, s, a)
	waitEstablished(t, s, a.Address)
	flush(t, s)
	since := peerStatus(t, s, a.Address).Since
	updates := first.session().State.Messages.Received.Update

	untouched := func(after string) {
		t.Helper()
		st := peerStatus(t, s, a.Address)
		far := first.session()
		if st.State != Established || st.Since != since || st.Counters.Sessions != 1 {
			t.Errorf("after %s the session is another one: %+v", after, st)
		}
		if far.State.Messages.Received.Open != 1 || far.State.Messages.Received.Update != updates || len(first.table()) != 3 {
			t.Errorf("after %s the router has seen %+v", after, far.State.Messages.Received)
		}
	}

	setPeers(t, s, a, b, c)
	waitEstablished(t, s, b.Address, c.Address)
	kit.Eventually(t, "routes at the others", func() bool { return len(second.table()) == 3 && len(third.table()) == 3 })
	untouched("adding two peers")

	b.Export.MED = ptr(uint32(5))
	setPeers(t, s, a, b, c)
	kit.Eventually(t, "the MED", func() bool { p := second.table(); return len(p) == 3 && p[0].MED != nil && *p[0].MED == 5 })
	if st := peerStatus(t, s, b.Address); st.Counters.Sessions != 1 || second.session().State.Messages.Received.Open != 1 {
		t.Errorf("a change of attributes reset the session: %+v", st)
	}
	untouched("changing attributes of another")

	b.HoldTime = 6 * time.Second
	setPeers(t, s, a, b, c)
	kit.Eventually(t, "the new hold time", func() bool { return peerStatus(t, s, b.Address).HoldTime == 6*time.Second })
	if n := second.session().State.Messages.Received.Notification; n != 1 {
		t.Errorf("%d NOTIFICATIONs before the new session", n)
	}
	untouched("another session's reset")

	setPeers(t, s, a, b)
	third.wantTable()
	kit.Eventually(t, "the end of the third session", func() bool { return !third.established() })
	if n := third.session().State.Messages.Received.Notification; n != 1 {
		t.Errorf("%d NOTIFICATIONs to a peer that was removed", n)
	}
	untouched("removing another")

	setPeers(t, s)
	first.wantTable()
	second.wantTable()
}

func TestCloseEndsEverySession(t *testing.T) {
	r := newRouter(t, 64501, "127.0.0.2")
	r.expect("127.0.0.1", ourASN)
	s := newSpeaker(t, ourASN, nil)
	setRoutes(t, s, ours()...)
	nobody := Peer{Address: addr("127.0.0.9"), Port: freePort(t, "127.0.0.9"), ASN: 64509, ConnectRetry: time.Hour}
	setPeers(t, s, r.peer(), nobody)
	kit.Eventually(t, "the routes", func() bool { return len(r.table()) == 3 })
	kit.Eventually(t, "a refused connection", func() bool { return peerStatus(t, s, nobody.Address).LastError != nil })

	start := time.Now()
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
	r.wantTable()
	if n := r.session().State.Messages.Received.Notification; n != 1 {
		t.Errorf("the router has seen %d NOTIFICATIONs", n)
	}
	for _, p := range s.Status().Peers {
		if p.State != Idle || p.Sent != nil {
			t.Errorf("after Close: %+v", p)
		}
	}
	if err := s.SetRoutes(t.Context(), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("SetRoutes after Close: %v", err)
	}
	if err := s.SetPeers(t.Context(), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("SetPeers after Close: %v", err)
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Errorf("Flush after Close: %v", err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestChangedTells(t *testing.T) {
	r := newRouter(t, 64501, "127.0.0.2")
	r.expect("127.0.0.1", ourASN)
	s := newSpeaker(t, ourASN, nil)
	setPeers(t, s, r.peer())
	// wait looks at the status only when told that it has changed.
	wait := func(what string, condition func(PeerStatus) bool) {
		t.Helper()
		limit := time.After(20 * time.Second)
		for !condition(peerStatus(t, s, r.address)) {
			select {
			case <-s.Changed():
			case <-limit:
				t.Fatalf("no signal of %s: %+v", what, peerStatus(t, s, r.address))
			}
		}
	}
	wait("the session", func(p PeerStatus) bool { return p.State == Established })
	setRoutes(t, s, ours()...)
	wait("the update", func(p PeerStatus) bool { return len(p.Sent) == 3 })
	kit.Eventually(t, "the routes at the router", func() bool { return len(r.table()) == 3 })
	if err := r.ShutdownPeer(t.Context(), &api.ShutdownPeerRequest{Address: "127.0.0.1", Communication: "back at nine"}); err != nil {
		t.Fatal(err)
	}
	wait("the end", func(p PeerStatus) bool { return p.LastNotification != nil })
	if c := peerStatus(t, s, r.address).Counters; c.Received.ByCode[packet.BGP_ERROR_CEASE] != 1 || c.Received.Notifications != 1 {
		t.Errorf("counted %+v", c.Received)
	}
	const want = `received NOTIFICATION 6/2: administrative shutdown, saying "back at nine"`
	if got := peerStatus(t, s, r.address).LastNotification.Error(); got != want {
		t.Errorf("ended by %s, want %s", got, want)
	}
}

func TestChangesAreRefusedWhole(t *testing.T) {
	s := newSpeaker(t, ourASN, nil)
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.SetRoutes(done, ours()); !errors.Is(err, context.Canceled) {
		t.Errorf("SetRoutes with a context that is done: %v", err)
	}
	if err := s.SetPeers(done, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("SetPeers with a context that is done: %v", err)
	}
	if err := s.SetRoutes(t.Context(), append(ours(), Route{Prefix: prefix("192.0.2.1/24")})); err == nil {
		t.Error("a prefix with host bits was taken")
	}
	if err := s.SetPeers(t.Context(), []Peer{{Address: addr("192.0.2.9"), ASN: 64501}, {Address: addr("192.0.2.10")}}); err == nil {
		t.Error("a peer without an ASN was taken")
	}
	if st := s.Status(); len(st.Peers) != 0 || len(st.Routes) != 0 {
		t.Errorf("something of it was taken: %+v", st)
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{
		{RouterID: addr("192.0.2.1")},
		{ASN: asTrans, RouterID: addr("192.0.2.1")},
		{ASN: 64500},
		{ASN: 64500, RouterID: addr("0.0.0.0")},
		{ASN: 64500, RouterID: addr("2001:db8::1")},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}
