package core

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

// BenchmarkDeliver stores messages of 10 KB, one after the other on each connection, as an edge
// sends them.
func BenchmarkDeliver(b *testing.B) {
	for _, bb := range []struct{ connections, recipients, boxes int }{
		{1, 1, 100}, {16, 1, 1}, {16, 1, 100}, {16, 10, 100},
	} {
		b.Run(fmt.Sprintf("connections=%d/recipients=%d/mailboxes=%d", bb.connections, bb.recipients, bb.boxes), func(b *testing.B) {
			n := start(b, Options{})
			text := body("bench", 10_000)
			var next atomic.Int64
			give := func(c *client, i int) {
				l := transaction{ident: newIdent(), body: text}
				for j := range bb.recipients {
					l.to = append(l.to, fmt.Sprintf("b%d@example.net", (i*bb.recipients+j)%bb.boxes))
				}
				c.mustGive(l, false)
			}
			first := greet(b, n.smtp, "EHLO")
			for i := range bb.boxes/bb.recipients + 1 { // creates the mailboxes
				give(first, i)
			}
			clients := make([]*client, bb.connections)
			for k := range clients {
				clients[k] = greet(b, n.smtp, "EHLO")
			}
			b.ResetTimer()
			var running sync.WaitGroup
			for _, c := range clients {
				running.Go(func() {
					for i := int(next.Add(1)); i <= b.N; i = int(next.Add(1)) {
						give(c, i)
					}
				})
			}
			running.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}
