package anycast

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"anymx/edge/operate/api"
)

// BenchmarkToTheTable measures with real programs, and with the defaults of
// bgp.health but for a rise without delay, until the routes are gone from the
// router's table: after anymx-edge was killed at any moment between two rounds,
// and after an order was sent over the control socket, kept on disk and not.
func BenchmarkToTheTable(b *testing.B) {
	b.Run("death", func(b *testing.B) {
		n, r := benchNode(b)
		var times []time.Duration
		for b.Loop() {
			r.await(long, prefix4, prefix6)
			time.Sleep(rand.N(400 * time.Millisecond)) // any moment of a round
			began := time.Now()
			n.edge.Kill()
			times = append(times, r.await(long).Sub(began))
			n.startEdge()
		}
		report(b, times)
	})
	for name, keep := range map[string]bool{"order": false, "kept-order": true} {
		b.Run(name, func(b *testing.B) {
			n, r := benchNode(b)
			var times []time.Duration
			for b.Loop() {
				r.await(long, prefix4, prefix6)
				began := time.Now()
				n.order(api.DesiredState{Routes: api.Withdrawn, Keep: keep})
				times = append(times, r.await(long).Sub(began))
				n.order(api.DesiredState{Routes: api.Announced})
			}
			report(b, times)
		})
	}
}

func benchNode(b *testing.B) (*node, *router) {
	r := newRouter(b, "127.0.0.2")
	n := newNode(b, settings{routers: []string{"127.0.0.2"}, health: "rise = 1", riseTime: "0s"})
	n.start()
	return n, r
}

func report(b *testing.B, times []time.Duration) {
	slices.Sort(times)
	b.ReportMetric(0, "ns/op")
	for name, at := range map[string]int{"p50": 50, "p99": 99} {
		b.ReportMetric(float64(times[len(times)*at/100].Microseconds())/1e3, name+"-ms")
	}
	b.ReportMetric(float64(times[len(times)-1].Microseconds())/1e3, "max-ms")
}
