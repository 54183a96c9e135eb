package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"anymx/edge/config"
	"anymx/edge/ingress/wire"
	"anymx/edge/operate/api"
	"anymx/edge/queue"
	"anymx/edge/service"
)

// drainOptions are what a drain works on.
type drainOptions struct {
	file    standingFile
	speaker *speaker // nil: nothing is announced
	ingress *wire.Registry
	queue   *queue.Queue
	limits  func() config.Drain
	log     *slog.Logger
	// degraded is told of a state that can't be read; nil: nobody is.
	degraded *service.Degraded
}

// drain is the node's way out of service and back. A request is on disk before
// it is answered, unless it is for this process alone; a walk, a goroutine of the
// drain's own, then takes the steps. The zero phase is Starting.
type drain struct {
	o drainOptions

	changing sync.Mutex // held while a request is carried out
	walk     *walk      // nil in service
	ending   bool       // the process is: requests are refused

	disk     sync.Mutex // orders what is written; behind changing
	promised standing   // what is on disk, or should be, if the node is not in service
	until    api.Until  // "": it should be

	mu     sync.Mutex
	phase  api.Phase
	since  time.Time
	takes  bool             // clients, which find the node in service
	status *api.DrainStatus // nil in service
}

func newDrain(o drainOptions) *drain {
	d := &drain{o: o, phase: api.Starting, since: time.Now()}
	if o.speaker != nil {
		o.speaker.announced = d.announced
	}
	return d
}

// start puts the node where it was: in service, or on its way out. A state that
// can't be read keeps it out, for nobody knows what was promised.
func (d *drain) start() {
	d.changing.Lock()
	defer d.changing.Unlock()
	state, err := d.o.file.read()
	if err != nil {
		d.o.log.Error("the node stays out of service until it is resumed", "err", err)
		d.reportState(err)
		state = &standing{Reason: "out of service until it is resumed: " + err.Error(), Began: time.Now()}
	}
	if state == nil || state.Resumed {
		d.mu.Lock()
		d.phase, d.since, d.takes = api.Running, time.Now(), true
		d.mu.Unlock()
		if state != nil {
			d.announce(state.Began)
		}
		return
	}
	d.o.ingress.SetDraining(true)
	d.promised = *state
	status := &api.DrainStatus{Reason: state.Reason, Began: state.Began}
	if !state.Drained {
		d.set(api.Draining, status)
		d.begin(false, true)
		return
	}
	d.set(api.Drained, status)
	d.walk = newWalk(true)
	d.walk.cancel()
	close(d.walk.done)
	if d.o.speaker != nil {
		d.order(api.Withdrawn, d.walk)
	}
}

// begin starts a walk, of which the speaker is told to keep its part if ours is
// on disk. d.changing is held.
func (d *drain) begin(now, keep bool) {
	w := newWalk(keep)
	w.course = course{routes: d.o.speaker != nil, attracts: d.accepting() == nil, now: now}
	d.walk = w
	go func() {
		defer close(w.done)
		d.run(w.ctx, w)
		d.arrive(w)
	}()
}

// arrive notes that a walk has come to its end, unless it was given up.
func (d *drain) arrive(w *walk) {
	d.disk.Lock()
	defer d.disk.Unlock()
	if w.ctx.Err() != nil {
		return
	}
	d.promised.Drained = true
	if d.until == "" {
		if err := d.promise(d.promised); err != nil {
			d.o.log.Warn("a restart will walk the drain's steps once more", "err", err)
		}
	}
	d.set(api.Drained, nil)
	left := d.o.queue.Stats()
	d.o.log.Info("drained", "messages", left.Messages(), "held", left.Held)
}

// promise writes s to disk. d.disk is held.
func (d *drain) promise(s standing) error {
	err := d.o.file.write(s)
	if err == nil {
		d.promised = s
		d.reportState(nil)
	}
	return err
}

// reportState reports whether the drain's state could be read, or was replaced.
func (d *drain) reportState(err error) {
	if d.o.degraded != nil {
		d.o.degraded.Report(partDrain, string(d.o.file.File), err)
	}
}

// errEnding refuses what comes while the process ends.
var errEnding = &api.Error{Code: api.Unavailable, Text: "the node is stopping"}

// request begins a drain, or changes the one that there is.
func (d *drain) request(r api.DrainRequest) error {
	d.changing.Lock()
	defer d.changing.Unlock()
	if d.ending {
		return errEnding
	}
	d.disk.Lock()
	defer d.disk.Unlock()
	state := standing{Began: time.Now()}
	if d.walk != nil {
		state = d.promised
	}
	if d.walk == nil || r.Reason != "" {
		state.Reason = r.Reason
	}
	unkept := d.record(state, r.Until)
	if d.walk == nil {
		d.set(api.Draining, &api.DrainStatus{Reason: state.Reason, Began: state.Began, Until: d.until})
		d.begin(r.Now, d.until == "" && unkept == nil)
		return unkept
	}
	d.mu.Lock()
	d.status.Reason, d.status.Until = state.Reason, d.until
	d.mu.Unlock()
	if d.until == "" && unkept == nil {
		d.keepOrders(d.walk)
	}
	if r.Now {
		d.walk.skip()
	}
	return unkept
}

// record promises a drain, unless it is to end with this process and no drain
// that lasts is under way. Its error says that it will, because the disk takes
// nothing: that is not the least reason to drain a node. d.changing and d.disk
// are held.
func (d *drain) record(s standing, until api.Until) error {
	if d.walk != nil && d.until == "" {
		until = "" // what was promised to last does
	}
	d.promised, d.until = s, until
	if until != "" {
		return nil
	}
	err := d.promise(s)
	if err != nil {
		err = fmt.Errorf("the node is drained all the same, but only until anymx-edge is started again: %w", err)
		d.o.log.Error("drain", "err", err)
	}
	return err
}

// resume takes the node back into service, from wherever the walk is.
func (d *drain) resume() error {
	d.changing.Lock()
	defer d.changing.Unlock()
	if d.ending {
		return errEnding
	}
	if err := d.revoke(); err != nil {
		return err
	}
	d.reportState(nil)
	if d.giveUp() {
		d.o.ingress.SetDraining(false)
		d.mu.Lock()
		d.phase, d.since, d.takes, d.status = api.Running, time.Now(), true, nil
		d.mu.Unlock()
		service.Status(string(api.Running))
		d.o.log.Info("in service again")
	}
	d.announce(time.Now()) // also where the node was in service: the speaker may have an order of its own
	return nil
}

// revoke takes what was promised from the disk, and the walk's right to write.
// The speaker's word is on disk as well: ours stays until it has another.
func (d *drain) revoke() error {
	d.disk.Lock()
	defer d.disk.Unlock()
	var err error
	if d.o.speaker == nil {
		err = d.o.file.remove()
	} else {
		err = d.o.file.write(standing{Began: time.Now(), Resumed: true})
	}
	if err == nil && d.walk != nil {
		d.walk.cancel()
	}
	return err
}

// announce orders the speaker to announce the routes, once the node has proven
// its health.
func (d *drain) announce(resumed time.Time) {
	if d.o.speaker != nil {
		d.o.speaker.order(api.Order{Routes: api.Announced, Reason: "resumed", Keep: true, Given: resumed})
	}
}

// announced is called when the speaker has taken that order.
func (d *drain) announced() {
	d.changing.Lock()
	defer d.changing.Unlock()
	if d.walk != nil || d.ending {
		return // what is on disk is not about that order
	}
	if err := d.o.file.remove(); err != nil {
		d.o.log.Warn("the speaker will be ordered once more at the next start", "err", err)
	}
}

// giveUp ends the walk where it stands, and says whether there was one.
// d.changing is held.
func (d *drain) giveUp() bool {
	w := d.walk
	if w == nil {
		return false
	}
	w.cancel()
	<-w.done
	d.walk = nil
	return true
}

// end walks the steps because the process ends, within grace; at once says that
// there is nothing to be graceful about. It returns when nobody is connected any
// more. close has to close the listeners. What is on disk stays as it is: a node
// that was in service will be so again.
func (d *drain) end(grace time.Duration, atOnce bool, close func()) {
	d.run(context.Background(), d.beginEnd(grace, atOnce, close))
}

// beginEnd gives up a walk under way for the one that ends the process.
func (d *drain) beginEnd(grace time.Duration, atOnce bool, close func()) *walk {
	d.changing.Lock()
	defer d.changing.Unlock()
	d.ending = true
	w := &walk{
		close: close, hurry: make(chan struct{}), end: time.Now().Add(grace),
		course: course{routes: d.o.speaker != nil, attracts: d.accepting() == nil, now: atOnce, stopping: true, grace: grace},
	}
	status := &api.DrainStatus{Reason: "the program ends", Began: time.Now()}
	phase, _ := d.place()
	if before := d.walk; d.giveUp() {
		status = d.view()
		w.keep, w.course.now = before.keeps(), true
		w.course.routes = w.course.routes && phase != api.Drained && !walked(status, api.StepWithdraw)
	}
	status.Stopping = true
	d.set(api.Stopping, status)
	return w
}

// set says where the node stands. A nil status leaves that as it is.
func (d *drain) set(phase api.Phase, status *api.DrainStatus) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.phase, d.since = phase, time.Now()
	if status != nil {
		d.status = status
	}
	service.Status(string(phase))
}

// enter and leave note a step's begin and end.
func (d *drain) enter(step api.DrainStep, limit time.Duration) {
	d.mu.Lock()
	d.status.Steps = append(d.status.Steps, api.StepStatus{Step: step, Began: time.Now(), Limit: limit})
	reason, stopping := d.status.Reason, d.status.Stopping
	d.mu.Unlock()
	service.Status("drain: " + string(step))
	d.o.log.Info("drain: step begins", "step", step, "limit", limit, "reason", reason, "stopping", stopping,
		"sessions", d.o.ingress.Open(), "messages", d.messages())
}

func (d *drain) leave(step api.DrainStep, note string) {
	d.mu.Lock()
	s := &d.status.Steps[len(d.status.Steps)-1]
	s.Ended, s.Note = time.Now(), note
	took := s.Ended.Sub(s.Began)
	d.mu.Unlock()
	args := []any{"step", step, "took", took.Round(time.Millisecond), "sessions", d.o.ingress.Open(), "messages", d.messages()}
	if note == "" {
		d.o.log.Info("drain: step ends", args...)
	} else {
		d.o.log.Warn("drain: step ends", append(args, "note", note)...)
	}
}

func (d *drain) messages() int {
	s := d.o.queue.Stats()
	return s.Messages()
}

// place is where the node stands, and since when.
func (d *drain) place() (api.Phase, time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.phase, d.since
}

// accepting is nil while clients find the node in service: until the step
// sessions, also where the process ends, so that nobody takes the way out for a
// failure.
func (d *drain) accepting() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.takes:
		return nil
	case d.status != nil && d.status.Reason != "":
		return fmt.Errorf("the node is %s: %s", d.phase, d.status.Reason)
	}
	return errors.New("the node is " + string(d.phase))
}

// view is the drain at this moment; nil in service.
func (d *drain) view() *api.DrainStatus {
	d.mu.Lock()
	if d.status == nil {
		d.mu.Unlock()
		return nil
	}
	s := *d.status
	s.Steps = append([]api.StepStatus{}, s.Steps...)
	d.mu.Unlock()
	left := d.o.queue.Stats()
	s.Sessions, s.Messages, s.Held = d.o.ingress.Open(), int64(left.Messages()), int64(left.Held)
	if d.o.speaker != nil {
		if answer := d.o.speaker.view(); answer.Status != nil && answer.Problem == "" {
			s.Confirmed, s.Peers = answer.Status.Confirmed()
		}
	}
	return &s
}
