package bgp

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"anymx/tests/kit"
)

func TestSessionOverIPv6(t *testing.T) {
	if l, err := newLoopback6(); err != nil {
		t.Skip("no IPv6 loopback:", err)
	} else {
		l.Close()
	}
	r := newRouter(t, 64501, "::1")
	r.expect("::1", ourASN)
	s := newSpeaker(t, ourASN, nil)
	p := r.peer()
	p.Families = []Family{IPv6, IPv4}
	setRoutes(t, s, ours()[1:]...)
	setPeers(t, s, p)
	r.wantTable(
		Path{Prefix: prefix("198.51.100.128/25"), NextHop: addr("192.0.2.1"), ASPath: []uint32{ourASN}},
		Path{Prefix: prefix("2001:db8:25::/48"), NextHop: addr("::1"), ASPath: []uint32{ourASN}},
	)
}

func TestOnlyFamiliesThatBothHave(t *testing.T) {
	r := newRouter(t, 64501, "127.0.0.2")
	r.expect("127.0.0.1", ourASN, func(p *api.Peer) { p.AfiSafis = p.AfiSafis[1:] })
	s := newSpeaker(t, ourASN, nil)
	setRoutes(t, s, ours()...)
	setPeers(t, s, r.peer())
	r.wantTable(Path{Prefix: prefix("2001:db8:25::/48"), NextHop: addr("2001:db8::1"), ASPath: []uint32{ourASN}})
	if got := peerStatus(t, s, r.address); len(got.Families) != 1 || len(got.Sent) != 1 {
		t.Errorf("agreed on %v, sent %s", got.Families, describe(got.Sent))
	}
}

func TestWrongASN(t *testing.T) {
	t.Run("of the router", func(t *testing.T) {
		r := newRouter(t, 64501, "127.0.0.2")
		r.expect("127.0.0.1", ourASN)
		s := newSpeaker(t, ourASN, nil)
		p := r.peer()
		p.ASN = 64599
		setPeers(t, s, p)
		wantNotification(t, s, p.Address, Notification{Code: packet.BGP_ERROR_OPEN_MESSAGE_ERROR, Subcode: packet.BGP_ERROR_SUB_BAD_PEER_AS})
	})
	t.Run("of the speaker", func(t *testing.T) {
		r := newRouter(t, 64501, "127.0.0.2")
		r.expect("127.0.0.1", 64599)
		s := newSpeaker(t, ourASN, nil)
		setPeers(t, s, r.peer())
		wantNotification(t, s, r.address, Notification{Code: packet.BGP_ERROR_OPEN_MESSAGE_ERROR, Subcode: packet.BGP_ERROR_SUB_BAD_PEER_AS, Received: true})
	})
}

// wantNotification waits until this was what ended an attempt.
func wantNotification(t *testing.T, s *Speaker, address netip.Addr, want Notification) {
	t.Helper()
	var n *Notification
	if !kit.Within(kit.Patience, func() bool {
		n = peerStatus(t, s, address).LastNotification
		return n != nil && n.Code == want.Code && n.Subcode == want.Subcode && n.Received == want.Received
	}) {
		t.Fatalf("ended by %v, want %v", n, &want)
	}
	if st := peerStatus(t, s, address); st.Counters.Sessions != 0 || st.State == Established {
		t.Errorf("got a session: %+v", st)
	}
}

func TestTCPMD5(t *testing.T) {
	r := newRouter(t, 64501, "127.0.0.2")
	r.expect("127.0.0.1", ourASN, func(p *api.Peer) { p.Conf.AuthPassword = "correct horse" })
	s := newSpeaker(t, ourASN, nil)
	p := r.peer()
	p.Password = "battery staple"
	setPeers(t, s, p)

	// With another password the SYN is dropped: the dial hangs, or fails where
	// the kernel has no TCP MD5.
	hangs := func() bool {
		st := peerStatus(t, s, p.Address)
		if st.LastError != nil && strings.Contains(st.LastError.Error(), "TCP MD5") {
			t.Skip("the kernel has no TCP MD5:", st.LastError)
		}
		return st.State == Connect && time.Since(st.Since) > time.Second
	}
	kit.Eventually(t, "a dial that hangs", hangs)
	p.Password = ""
	setPeers(t, s, p)
	kit.Eventually(t, "a dial that hangs without a password", hangs)

	p.Password = "correct horse"
	setRoutes(t, s, ours()...)
	setPeers(t, s, p)
	waitEstablished(t, s, p.Address)
	kit.Eventually(t, "the routes", func() bool { return len(r.table()) == 3 })
}

func TestTTLSecurity(t *testing.T) {
	near := newRouter(t, 64501, "127.0.0.2")
	near.expect("127.0.0.1", ourASN, func(p *api.Peer) { p.TtlSecurity = &api.TtlSecurity{Enabled: true, TtlMin: 255} })
	far := newRouter(t, 64502, "127.0.0.3")
	far.expect("127.0.0.1", ourASN, func(p *api.Peer) { p.EbgpMultihop = &api.EbgpMultihop{Enabled: true, MultihopTtl: 64} })
	s := newSpeaker(t, ourASN, nil)
	a, b := near.peer(), far.peer()
	a.TTLSecurity, b.TTLSecurity = true, true
	setPeers(t, s, a, b)
	waitEstablished(t, s, a.Address)

	// The other router's packets have a TTL of 64, as if from far away: they are
	// dropped, and it is never heard of.
	kit.Eventually(t, "an OPEN without an answer", func() bool {
		st := peerStatus(t, s, b.Address)
		return st.State == OpenSent && time.Since(st.Since) > time.Second && st.Counters.Received.Bytes == 0
	})
	b.TTLSecurity, b.Multihop = false, 64
	setPeers(t, s, a, b)
	waitEstablished(t, s, b.Address)
	if n := peerStatus(t, s, a.Address).Counters.Sessions; n != 1 {
		t.Errorf("the first session was reset: %d sessions", n)
	}
}
