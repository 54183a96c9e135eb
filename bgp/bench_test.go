package bgp

import (
	"context"
	"slices"
	"testing"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/apiutil"
	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"anymx/tests/kit"
)

// BenchmarkToTheTable measures from the call to the route being in, or out of,
// the table of a router (GoBGP) at the far side of a TCP connection. Beside the
// speaker stands GoBGP itself announcing, over the same kind of session.
func BenchmarkToTheTable(b *testing.B) {
	b.Run("speaker", func(b *testing.B) {
		r := newRouter(b, 64501, "127.0.0.2")
		r.expect("127.0.0.1", ourASN)
		s := newSpeaker(b, ourASN, nil)
		setPeers(b, s, r.peer())
		waitEstablished(b, s, r.address)
		route := ours()[0]
		timeTable(b, r,
			func() { setRoutes(b, s, route) },
			func() { setRoutes(b, s) },
		)
	})
	b.Run("gobgp", func(b *testing.B) {
		r, s := newRouter(b, 64501, "127.0.0.2"), newRouter(b, ourASN, "127.0.0.1")
		r.expect("127.0.0.1", ourASN)
		s.expect("127.0.0.2", 64501, func(p *api.Peer) {
			p.Transport = &api.Transport{RemotePort: uint32(r.port), LocalAddress: "127.0.0.1"}
		})
		kit.Eventually(b, "a session", r.established)
		path, err := apiutil.NewPath(packet.NewIPAddrPrefix(24, "192.0.2.0"), false, []packet.PathAttributeInterface{
			packet.NewPathAttributeOrigin(0), packet.NewPathAttributeNextHop("127.0.0.1"),
			packet.NewPathAttributeCommunities([]uint32{64500<<16 | 100}),
		}, time.Now())
		if err != nil {
			b.Fatal(err)
		}
		var id []byte
		timeTable(b, r,
			func() {
				added, err := s.AddPath(b.Context(), &api.AddPathRequest{Path: path})
				if err != nil {
					b.Fatal(err)
				}
				id = added.Uuid
			},
			func() {
				if err := s.DeletePath(b.Context(), &api.DeletePathRequest{Uuid: id}); err != nil {
					b.Fatal(err)
				}
			},
		)
	})
}

// timeTable announces and withdraws by turns.
func timeTable(b *testing.B, r *router, announce, withdraw func()) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	seen := make(chan bool, 1) // whether the last change was an announcement
	best := &api.WatchEventRequest_Table{Filters: []*api.WatchEventRequest_Table_Filter{{Type: api.WatchEventRequest_Table_Filter_BEST}}}
	err := r.WatchEvent(ctx, &api.WatchEventRequest{Table: best}, func(event *api.WatchEventResponse) {
		for _, p := range event.GetTable().GetPaths() {
			seen <- !p.IsWithdraw
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	var announced, withdrawn []time.Duration
	measure := func(change func(), want bool) time.Duration {
		start := time.Now()
		change()
		if got := <-seen; got != want {
			b.Fatalf("announced: %v, want %v", got, want)
		}
		return time.Since(start)
	}
	for b.Loop() {
		announced = append(announced, measure(announce, true))
		withdrawn = append(withdrawn, measure(withdraw, false))
	}
	b.ReportMetric(0, "ns/op")
	for name, times := range map[string][]time.Duration{"announce": announced, "withdraw": withdrawn} {
		slices.Sort(times)
		b.ReportMetric(float64(times[len(times)/2].Nanoseconds())/1e3, name+"-p50-µs")
		b.ReportMetric(float64(times[len(times)*99/100].Nanoseconds())/1e3, name+"-p99-µs")
	}
}

// BenchmarkFullTable measures how fast a peer's UPDATEs are thrown away.
func BenchmarkFullTable(b *testing.B) {
	s := newSpeaker(b, ourASN, nil)
	r := newRaw(b, "127.0.0.3")
	setPeers(b, s, r.peer())
	c := r.establish(rawOpen(90, modern...))
	address := r.peer().Address
	var burst []byte
	for range 1000 {
		burst = append(burst, message(packet.BGP_MSG_UPDATE, make([]byte, 70))...)
	}
	sent := uint64(0)
	for b.Loop() {
		c.send(burst)
		sent += 1000
	}
	kit.Eventually(b, "all of it received", func() bool { return peerStatus(b, s, address).Counters.Received.Updates == sent })
	b.ReportMetric(float64(sent)/b.Elapsed().Seconds(), "updates/s")
}
