package anycast

import (
	"context"
	"time"

	"anymx/edge/operate/api"
	"anymx/edge/service"
)

// leave takes the routes back in the order of a drain. With nothing announced it
// is over at once.
func (a *Announcer) leave() {
	service.Stopping()
	c := a.reloader.Config()
	grace := time.Duration(c.Node.ShutdownGrace) / 4
	graceful, confirm := min(time.Duration(c.Drain.Graceful), grace), min(time.Duration(c.Drain.Confirm), grace)
	a.mu.Lock()
	a.log.Info("stopping", "routes", a.told.routes)
	if graceful > 0 {
		a.orders.stopping = api.Graceful
		a.settle()
	}
	for a.told.routes == api.Graceful {
		// It counts from when it was told: an order may have come before us.
		left, moved := graceful-time.Since(a.since), a.moved
		if left <= 0 {
			break
		}
		a.mu.Unlock()
		select {
		case <-moved: // an order, or a failed check, may withdraw meanwhile
		case <-time.After(left):
		}
		a.mu.Lock()
	}
	told := a.told.routes != api.Withdrawn
	a.orders.stopping = api.Withdrawn
	a.settle()
	a.mu.Unlock()
	if !told {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), confirm)
	defer cancel()
	_ = a.speaker.Flush(ctx) // who has not heard of it hears of the session's end
}
