package drain

import (
	"context"
	"time"

	"anymx/edge/operate/api"
	"anymx/edge/service"
)

// carryOut does what the state asks for.
func (d *Drain) carryOut(actions []action) {
	for i := range actions {
		switch a := &actions[i]; a.kind {
		case enterStep:
			service.Status("drain: " + string(a.step))
			d.options.Log.Info("drain: step begins", "step", a.step, "limit", a.limit, "reason", d.state.status.Reason,
				"stopping", d.state.status.Stopping, "sessions", d.options.Ingress.Open(), "messages", d.messages())
		case leaveStep:
			d.result = nil
			d.logEnd(a)
		case sendDesired:
			d.options.Speaker.Desire(a.desired)
		case closeSessions:
			stop := d.stop
			d.startWork(a.limit, func(timed, ctx context.Context) string { return d.sessions(timed, ctx, stop) })
		case flushSpool:
			stopping := d.stop != nil
			d.startWork(a.limit, func(timed, _ context.Context) string { return d.flush(timed, stopping) })
		case finishDrain:
			d.finishDrain()
		case finishStop: // the loop ends by itself
		}
	}
}

func (d *Drain) logEnd(a *action) {
	args := []any{"step", a.step, "took", a.limit.Round(time.Millisecond), "sessions", d.options.Ingress.Open(), "messages", d.messages()}
	if a.note == "" {
		d.options.Log.Info("drain: step ends", args...)
	} else {
		d.options.Log.Warn("drain: step ends", append(args, "note", a.note)...)
	}
}

func (d *Drain) messages() int {
	s := d.options.Queue.Stats()
	return s.Legs()
}

// finishDrain saves that all steps were taken, and then says that the node is drained.
func (d *Drain) finishDrain() {
	if d.state.until == "" {
		if err := d.save(d.state.saved); err != nil {
			d.options.Log.Warn("a restart will take the steps of the drain again", "err", err)
		}
	}
	next := d.state
	next.phase, next.since = api.Drained, time.Now()
	d.enterPhase(next, nil)
	left := d.options.Queue.Stats()
	d.options.Log.Info("drained", "messages", left.Legs(), "held", left.Held)
}

// save writes s to disk.
func (d *Drain) save(s savedState) error {
	err := d.onDisk(func() error { return d.file.write(s) })
	if err == nil {
		d.report(nil)
	}
	return err
}

// onDisk runs f, which waits for the disk, and answers the watchdog meanwhile: killing the
// process would not make a disk answer that hangs.
func (d *Drain) onDisk(f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	for {
		select {
		case err := <-done:
			return err
		case <-d.answers:
		}
	}
}

// report reports whether the saved state could be read, or was replaced.
func (d *Drain) report(err error) {
	if d.options.Report != nil {
		d.options.Report(string(d.file.File), err)
	}
}

// hurrySpeaker has the speaker polled more often while the run waits for it.
func (d *Drain) hurrySpeaker() {
	switch watching := d.options.Speaker != nil && d.state.watching(); {
	case watching && d.calm == nil:
		d.calm = d.options.Speaker.Hurry()
	case !watching && d.calm != nil:
		d.calm()
		d.calm = nil
	}
}

// forgetResume removes the file once the speaker has taken the command to announce.
func (d *Drain) forgetResume() {
	if !d.state.announcing {
		return
	}
	if desired, _ := d.options.Speaker.Desired(); desired != nil {
		return
	}
	d.state.announcing = false
	if err := d.onDisk(d.file.remove); err != nil {
		d.options.Log.Warn("the speaker will be asked to announce again at the next start", "err", err)
	}
}

// work is a step that waits for another part of the node, in a goroutine of its own.
type work struct {
	cancel context.CancelFunc
	done   chan struct{}
	note   string // once done is closed
}

// startWork runs f, whose context timed ends after limit, and ctx when the run is given up.
func (d *Drain) startWork(limit time.Duration, f func(timed, ctx context.Context) string) {
	w := &work{done: make(chan struct{})}
	var ctx context.Context
	ctx, w.cancel = context.WithCancel(context.Background())
	d.work = w
	go func() {
		defer close(w.done)
		defer w.cancel()
		timed, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		w.note = f(timed, ctx)
	}()
}

// endWork gives up the work under way, and returns when it has ended.
func (d *Drain) endWork() {
	w := d.work
	if w == nil {
		return
	}
	w.cancel()
	for {
		select {
		case <-w.done:
			d.work, d.result = nil, nil
			return
		case <-d.answers:
		}
	}
}

// sessions answers new clients with 421, lets sessions in flight end until timed ends, and cuts
// the rest, unless the run is given up. stop is the request to stop; nil: the process goes on.
func (d *Drain) sessions(timed, ctx context.Context, stop *request) string {
	if stop != nil {
		d.options.Ingress.SetDraining(true)
		stop.stop.close()
		return cutNote(d.options.Ingress.Close(timed))
	}
	if left := d.options.Ingress.Drain(timed); left == 0 || ctx.Err() != nil {
		return ""
	}
	return cutNote(d.options.Ingress.Cut())
}

// flush hands the spool over. A process that ends waits neither for a core that is known not to
// answer nor for one that has deferred a message.
func (d *Drain) flush(ctx context.Context, stopping bool) string {
	left := d.options.Queue.Stats()
	for pause := flushPause; !flushed(&left); pause = nextFlush(pause) {
		if stopping && left.Unreachable() {
			break
		}
		var err error
		if left, err = d.options.Queue.Drain(ctx); err != nil || stopping || flushed(&left) {
			break
		}
		if !service.Sleep(ctx, pause) {
			break
		}
		left = d.options.Queue.Stats()
	}
	return flushNote(&left)
}
