package edge

import (
	"context"
	"sync"
	"time"

	"anymx/edge/operate/api"
)

// walk is one walk out of service.
type walk struct {
	course course        // limits and left are looked up for each step
	close  func()        // of the listeners; nil: they stay open
	hurry  chan struct{} // closed: the step graceful is over
	end    time.Time     // of all steps, while stopping
	ctx    context.Context
	cancel context.CancelFunc // of ctx: the walk is given up
	done   chan struct{}      // closed when it has ended

	ordering sync.Mutex // of the next two
	keep     bool       // the orders to the speaker, over restarts
	ordered  api.Routes // last; "": nothing yet
}

// newWalk is a walk that was asked for. keep says that it is on disk.
func newWalk(keep bool) *walk {
	w := &walk{keep: keep, hurry: make(chan struct{}), done: make(chan struct{})}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

// skip ends the step graceful, if it is not over.
func (w *walk) skip() {
	if !w.hurried() {
		close(w.hurry)
	}
}

func (w *walk) hurried() bool {
	select {
	case <-w.hurry:
		return true
	default:
		return false
	}
}

// walked says whether a step has ended by itself.
func walked(s *api.DrainStatus, step api.DrainStep) bool {
	for _, taken := range s.Steps {
		if taken.Step == step {
			return taken.Note != noteGivenUp
		}
	}
	return false
}

// noteGivenUp stands at a step that was left before its end.
const noteGivenUp = "given up"

// run takes the steps, each if it is called for.
func (d *drain) run(ctx context.Context, w *walk) {
	if w.course.routes && w.course.attracts {
		w.course.attracts = !d.isWithdrawn(ctx)
	}
	for _, step := range steps {
		w.course.limits = d.o.limits()
		w.course.now = w.course.now || w.hurried()
		w.course.left = time.Until(w.end)
		limit, called := w.course.takes(step)
		if !called {
			continue
		}
		d.enter(step, limit)
		note, err := d.take(ctx, w, step, limit)
		if err != nil {
			d.leave(step, noteGivenUp)
			return
		}
		d.leave(step, note)
	}
}

// askFirst is how long a walk waits to hear whether the routes are withdrawn
// already.
const askFirst = time.Second

// isWithdrawn asks the speaker whether there is nothing left to withdraw.
func (d *drain) isWithdrawn(ctx context.Context) bool {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, askFirst)
	defer cancel()
	answer := d.o.speaker.await(ctx, func(n *api.Neighbour[api.SpeakerStatus]) bool { return n.Asked.After(began) })
	return answer.Asked.After(began) && answer.Problem == "" && withdrawn(answer.Status)
}

// take takes one step. The error is that of ctx: somebody has given it up.
func (d *drain) take(ctx context.Context, w *walk, step api.DrainStep, limit time.Duration) (note string, err error) {
	timed, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	switch step {
	case api.StepGraceful:
		note = d.announceGraceful(timed, w)
	case api.StepWithdraw:
		note = d.withdraw(timed, w)
	case api.StepConverge:
		defer d.o.speaker.hurry()()
		<-timed.Done()
	case api.StepSessions:
		note = d.closeSessions(timed, ctx, w)
	case api.StepFlush:
		note = d.flush(timed, w)
	}
	return note, ctx.Err()
}

// announceGraceful tells routers to prefer other ways, and waits for them to do
// so. A speaker that does not hear it makes nobody wait: if it is dead its
// routes are gone, and if it is not the next order is what matters.
func (d *drain) announceGraceful(ctx context.Context, w *walk) string {
	defer d.o.speaker.hurry()()
	o := d.order(api.Graceful, w)
	began := time.Now()
	answer := d.o.speaker.await(ctx, func(n *api.Neighbour[api.SpeakerStatus]) bool {
		return w.hurried() || n.Asked.After(began) && (n.Problem != "" || obeys(n.Status, o))
	})
	if w.hurried() {
		return ""
	}
	if note := routesNote(&answer, o); note != "" {
		return note
	}
	select {
	case <-ctx.Done():
	case <-w.hurry:
	}
	return ""
}

// withdraw withdraws the routes, and waits until every router has acknowledged
// that.
func (d *drain) withdraw(ctx context.Context, w *walk) string {
	o := d.order(api.Withdrawn, w)
	answer := d.o.speaker.await(ctx, func(n *api.Neighbour[api.SpeakerStatus]) bool {
		_, heard := d.o.speaker.want()
		return heard && routesNote(n, o) == ""
	})
	return routesNote(&answer, o)
}

// order orders the speaker to tell routes, for as long as the walk lasts.
func (d *drain) order(routes api.Routes, w *walk) *api.Order {
	w.ordering.Lock()
	defer w.ordering.Unlock()
	w.ordered = routes
	return d.giveOrder(w)
}

// keepOrders has the speaker keep its part of the walk over restarts, from now on.
func (d *drain) keepOrders(w *walk) {
	w.ordering.Lock()
	defer w.ordering.Unlock()
	if w.keep {
		return
	}
	w.keep = true
	if w.ordered != "" {
		d.giveOrder(w)
	}
}

// giveOrder gives the speaker the walk's order. w.ordering is held.
func (d *drain) giveOrder(w *walk) *api.Order {
	o := api.Order{Routes: w.ordered, Reason: orderReason(d.view().Reason), Keep: w.keep}
	d.o.speaker.order(o)
	return &o
}

func (w *walk) keeps() bool {
	w.ordering.Lock()
	defer w.ordering.Unlock()
	return w.keep
}

// closeSessions says 421 to what is new, lets sessions in flight end until timed
// ends, and cuts the rest, unless the walk was given up.
func (d *drain) closeSessions(timed, ctx context.Context, w *walk) string {
	d.mu.Lock()
	d.takes = false
	d.mu.Unlock()
	if w.close != nil {
		d.o.ingress.SetDraining(true)
		w.close()
		return cutNote(d.o.ingress.Close(timed))
	}
	if left := d.o.ingress.Drain(timed); left == 0 || ctx.Err() != nil {
		return ""
	}
	return cutNote(d.o.ingress.Cut())
}

// flush hands the spool over. A process that ends does not wait for a core that
// is known not to answer, nor for one that has put a message off.
func (d *drain) flush(ctx context.Context, w *walk) string {
	left := d.o.queue.Stats()
	for pause := flushPause; !flushed(&left); pause = nextFlush(pause) {
		if w.course.stopping && left.Paused != nil {
			break
		}
		var err error
		if left, err = d.o.queue.Drain(ctx); err != nil || w.course.stopping || flushed(&left) {
			break
		}
		if !sleep(ctx, pause) {
			break
		}
		left = d.o.queue.Stats()
	}
	return flushNote(&left)
}

// sleep waits for t, and says whether ctx lasted so long.
func sleep(ctx context.Context, t time.Duration) bool {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
