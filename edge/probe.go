package edge

import (
	"context"
	"time"
)

// probeLook is how often is looked whether a probe of the way to core is due:
// the interval may have been changed.
const probeLook = time.Second

// probeCore probes the way to core with packets of full size, as often as the
// config says, until ctx ends.
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
