package edge

import (
	"context"
	"time"
)

// probeLook is how often we check whether a probe of core is due: a reload may have changed the
// interval.
const probeLook = time.Second

// probeCore probes the path to core with full-size packets, at the configured interval, until ctx
// ends.
func (n *Node) probeCore(ctx context.Context) {
	tick := time.NewTicker(probeLook)
	defer tick.Stop()
	var last time.Time // zero: the first probe is due
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			t := n.reloader.Config().Tunnel
			if every := time.Duration(t.ProbeInterval); every > 0 && now.Sub(last) >= every {
				last = now
				n.courier.Probe(ctx, int(t.ProbeSize))
			}
		}
	}
}
