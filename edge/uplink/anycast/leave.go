package anycast

import (
	"context"
	"time"

	"anymx/edge/operate/api"
	"anymx/edge/service"
)

// leave withdraws the routes in the order of a drain. If nothing is announced it returns at once.
func (a *Announcer) leave() {
	service.Stopping()
	c := a.reloader.Config()
	grace := time.Duration(c.Node.ShutdownGrace) / 4
	graceful, confirm := min(time.Duration(c.Drain.Graceful), grace), min(time.Duration(c.Drain.Confirm), grace)
	a.mu.Lock()
	a.log.Info("stopping", "routes", a.report.routes)
	if graceful > 0 {
		a.states.stopping = api.Graceful
		a.updateRoutes()
	}
	for a.report.routes == api.Graceful {
		// The time of the announcement counts: a command may have come first.
		left, moved := graceful-time.Since(a.since), a.moved
		if left <= 0 {
			break
		}
		a.mu.Unlock()
		select {
		case <-moved: // a command, or a failed check, may withdraw meanwhile
		case <-time.After(left):
		}
		a.mu.Lock()
	}
	announced := a.report.routes != api.Withdrawn
	a.states.stopping = api.Withdrawn
	a.updateRoutes()
	a.mu.Unlock()
	if !announced {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), confirm)
	defer cancel()
	_ = a.speaker.Flush(ctx) // routers that miss it see the session end
}
