// Package drain takes the node out of service and back without losing an accepted message.
//
// One goroutine owns the drain state. It takes requests (drain, resume, stop) from a channel, and
// facts from the parts that it acts on: the speaker withdraws the routes, ingress answers new
// clients with 421 and lets transactions in flight end, and the queue hands over the spool. The pure
// functions of state.go and steps.go decide how the state changes and what follows from it; the
// goroutine carries that out. Readers get the last published state and never wait.
//
// A request is stored on disk before it is answered, unless it applies to this process only.
package drain

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"anymx/edge/config"
	"anymx/edge/operate/api"
	"anymx/edge/queue"
	"anymx/edge/refusal"
	"anymx/edge/service"
)

// ErrStopping refuses requests while the process ends.
var ErrStopping = refusal.Unavailable.Errorf("the node is stopping")

// Speaker announces the node's routes. See poll.Speaker.
type Speaker interface {
	Desire(api.DesiredState)
	Desired() (desired *api.DesiredState, taken bool)
	Watch() (last api.Neighbour[api.SpeakerStatus], changed <-chan struct{})
	Hurry() (done func())
}

// Ingress accepts the connections of clients. See wire.Registry.
type Ingress interface {
	Open() int
	SetDraining(bool)
	Drain(ctx context.Context) (left int)
	Cut() int
	Close(ctx context.Context) (cut int)
}

// Queue holds the messages. See queue.Queue.
type Queue interface {
	Stats() queue.Stats
	Drain(ctx context.Context) (queue.Stats, error)
}

// Options configures a Drain.
type Options struct {
	StateDir string
	Speaker  Speaker // nil: nothing is announced
	Ingress  Ingress
	Queue    Queue
	Limits   func() config.Drain // those in force now
	Log      *slog.Logger
	// Report gets the error of an unreadable saved state, and nil once that state was replaced.
	Report func(file string, err error) // nil: not reported
}

// Drain is the node's way out of service and back. It is a prometheus.Collector.
type Drain struct {
	options   Options
	file      file
	requests  chan *request
	ended     chan struct{} // closed when the goroutine has ended
	published atomic.Pointer[state]

	// Only the goroutine uses the rest.
	state   state
	work    *work         // of the step sessions or flush; nil: none
	result  *string       // of that step, once it has ended
	stop    *request      // nil: the process goes on
	calm    func()        // ends the hurry of the speaker; nil: it is not hurried
	answers chan struct{} // receives callers of Answers
}

// request is one request to the goroutine.
type request struct {
	drain  *api.DrainRequest
	resume bool
	stop   *stopRequest
	answer chan error // one slot
}

type stopRequest struct {
	grace time.Duration
	hasty bool
	close func() // the listeners
}

// New creates the drain of a node that is starting.
func New(o Options) *Drain {
	d := &Drain{
		options: o, file: fileIn(o.StateDir), requests: make(chan *request), ended: make(chan struct{}),
		answers: make(chan struct{}), state: state{phase: api.Starting, since: time.Now()},
	}
	d.publish()
	return d
}

// Start restores the saved state, in service or draining, and starts the goroutine, which Stop ends.
// An unreadable state keeps the node out of service: what the operator was promised is unknown.
func (d *Drain) Start() {
	now := time.Now()
	saved, err := d.file.read()
	if err != nil {
		d.options.Log.Error("the node stays out of service until it is resumed", "err", err)
		d.report(err)
		saved = &savedState{Reason: "out of service until it is resumed: " + err.Error(), Began: now}
	}
	var actions []action
	switch {
	case saved == nil:
		d.state = inService(now)
	case saved.Resumed:
		d.state = inService(now)
		if d.options.Speaker != nil {
			d.state.announcing = true
			actions = []action{announceAgain(saved.Began)}
		}
	default:
		d.options.Ingress.SetDraining(true)
		d.state, actions = restored(*saved, d.options.Speaker != nil, now)
	}
	d.publish()
	d.carryOut(actions)
	go d.loop()
}

// Request begins a drain, or changes the one under way. It returns an error if the request could not
// be stored: the node drains anyway, but a restart forgets the drain.
func (d *Drain) Request(r api.DrainRequest) error { return d.ask(&request{drain: &r}) }

// Resume takes the node back into service, from any step of a drain.
func (d *Drain) Resume() error { return d.ask(&request{resume: true}) }

// Stop runs the steps because the process ends, within grace; hasty skips the graceful ones. close
// must close the listeners. Stop returns when no client is connected any more. The saved state stays
// as it is: a node that was in service starts in service again.
func (d *Drain) Stop(grace time.Duration, hasty bool, close func()) {
	_ = d.ask(&request{stop: &stopRequest{grace: grace, hasty: hasty, close: close}}) // ErrStopping: it has ended before
	<-d.ended
}

func (d *Drain) ask(r *request) error {
	r.answer = make(chan error, 1)
	select {
	case d.requests <- r:
		return <-r.answer
	case <-d.ended:
		return ErrStopping
	}
}

// Answers returns once the goroutine responds or has ended, for the watchdog. It does not wait for
// the disk.
func (d *Drain) Answers() {
	select {
	case d.answers <- struct{}{}:
	case <-d.ended:
	}
}

// Phase returns the phase that the node is in, and since when.
func (d *Drain) Phase() (api.Phase, time.Time) {
	s := d.published.Load()
	return s.phase, s.since
}

// Accepting returns nil while clients may use the node, and the reason why not otherwise.
func (d *Drain) Accepting() error { return d.published.Load().accepting() }

// Status returns the drain at this moment; nil in service.
func (d *Drain) Status() *api.DrainStatus {
	published := d.published.Load().status
	if published == nil {
		return nil
	}
	s := *published
	s.Steps = append([]api.StepStatus{}, s.Steps...)
	left := d.options.Queue.Stats()
	s.Sessions, s.Messages, s.Held = d.options.Ingress.Open(), int64(left.Legs()), int64(left.Held)
	if d.options.Speaker != nil {
		if last, _ := d.options.Speaker.Watch(); last.Status != nil && last.Problem == "" {
			s.Confirmed, s.Peers = last.Status.Confirmed()
		}
	}
	return &s
}

func (d *Drain) publish() {
	s := d.state
	d.published.Store(&s)
}

// loop runs in the goroutine. It ends when the process may end.
func (d *Drain) loop() {
	defer close(d.ended)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		changed := d.advance()
		if d.stop != nil && d.state.run.over {
			return
		}
		var wake <-chan time.Time
		if at := d.state.wakeAt(); !at.IsZero() {
			timer.Reset(time.Until(at))
			wake = timer.C
		}
		var worked <-chan struct{}
		if d.work != nil {
			worked = d.work.done
		}
		select {
		case r := <-d.requests:
			r.answer <- d.handle(r)
		case <-changed:
		case <-wake:
		case <-worked:
			d.result, d.work = &d.work.note, nil
		case <-d.answers:
		}
	}
}

// advance takes the run as far as the facts allow. It returns a channel that is closed when the
// speaker's status changes.
func (d *Drain) advance() (changed <-chan struct{}) {
	for {
		f := facts{limits: d.options.Limits(), result: d.result}
		if d.options.Speaker != nil {
			f.speaker, changed = d.options.Speaker.Watch()
			_, f.taken = d.options.Speaker.Desired()
		}
		next, actions := d.state.advance(&f, time.Now())
		d.state = next
		d.publish()
		d.carryOut(actions)
		if len(actions) == 0 {
			break
		}
	}
	d.hurrySpeaker()
	d.forgetResume()
	return changed
}

// handle carries out a request.
func (d *Drain) handle(r *request) error {
	if d.stop != nil {
		return ErrStopping
	}
	switch {
	case r.drain != nil:
		return d.handleDrain(*r.drain)
	case r.resume:
		return d.handleResume()
	}
	d.stop = r
	d.endWork()
	next, actions := d.state.stop(d.options.Speaker != nil, r.stop.grace, r.stop.hasty, time.Now())
	d.enterPhase(next, actions)
	return nil
}

func (d *Drain) handleDrain(r api.DrainRequest) error {
	now := time.Now()
	next, toDisk := d.state.request(r, now)
	d.state = next
	var err error
	if toDisk {
		if err = d.save(next.saved); err != nil {
			// A disk that can't be written is a good reason to drain a node.
			err = fmt.Errorf("the node is drained all the same, but only until anymx-edge is started again: %w", err)
			d.options.Log.Error("drain", "err", err)
		}
	}
	next, actions := d.state.drain(d.options.Speaker != nil, toDisk && err == nil, r.Now, now)
	d.enterPhase(next, actions)
	return err
}

func (d *Drain) handleResume() error {
	// The speaker stores its desired state, too: ours stays until it has announced.
	var err error
	if d.options.Speaker == nil {
		err = d.onDisk(d.file.remove)
	} else {
		err = d.onDisk(func() error { return d.file.write(savedState{Began: time.Now(), Resumed: true}) })
	}
	if err != nil {
		return err
	}
	d.report(nil)
	out := d.state.run != nil
	d.endWork()
	if out {
		d.options.Ingress.SetDraining(false)
	}
	next, actions := d.state.resume(d.options.Speaker != nil, time.Now())
	d.enterPhase(next, actions)
	if out {
		d.options.Log.Info("in service again")
	}
	return nil
}

// enterPhase makes next the state and carries out its actions.
func (d *Drain) enterPhase(next state, actions []action) {
	changed := next.phase != d.state.phase
	d.state = next
	d.publish()
	if changed {
		service.Status(string(next.phase))
	}
	d.carryOut(actions)
}
