package queue

import (
	"context"
	"errors"
	"math"
	"time"

	"anymx/edge/mail"
	"anymx/edge/spool"
)

// storeWait is how long a leg is left alone after the spool has failed for it.
const storeWait = time.Minute

// worker holds what a worker uses again for each attempt.
type worker struct {
	parent context.Context // ends when the queue can't wait any longer
	ctx    context.Context // of the current attempt; ended when it takes too long
	cancel context.CancelCauseFunc
	entry  *entry // being attempted; nil: none. Queue.mu is held for it

	attempt Attempt
	every   []int // 0, 1, 2 ...
}

func newWorker(parent context.Context) *worker {
	w := &worker{parent: parent}
	w.ctx, w.cancel = context.WithCancelCause(parent)
	return w
}

// runWorker takes what is due and attempts it, until the queue stops.
func (q *Queue) runWorker(w *worker) {
	defer func() { w.cancel(nil) }()
	for {
		j, ok := q.nextJob(w)
		if !ok {
			return
		}
		if j.reach != nil {
			q.askCourier(w.ctx, j.reach)
			continue
		}
		q.do(w, j)
		if w.ctx.Err() != nil && w.parent.Err() == nil {
			w.cancel(nil)
			q.mu.Lock()
			w.ctx, w.cancel = context.WithCancelCause(w.parent)
			q.mu.Unlock()
		}
	}
}

// first lists the first n recipients.
func (w *worker) first(n int) []int {
	for len(w.every) < n {
		w.every = append(w.every, len(w.every))
	}
	return w.every[:n:n]
}

// do makes one attempt and everything that follows from it. It is the only one to touch the leg of
// j.entry until it has put the entry back.
func (q *Queue) do(w *worker, j job) {
	e := j.entry
	defer q.finished(e, !j.expired)
	m, leg, ok := q.load(j)
	if !ok {
		return
	}
	defer m.Release()
	st := leg.State
	started, age := q.options.Now(), q.age(e)
	if j.expired {
		q.endExpired(j, m, leg, started, age)
		return
	}

	before, first := st, e.attempts == 0
	w.prepare(e, m, leg, started)
	if !first {
		st.Attempts, st.LastAttempt, st.Waited, st.Due = w.attempt.Number, started, age, time.Time{}
		if err := q.options.Spool.Update(e.message, leg.Number, st); err != nil {
			q.postpone(e, "record an attempt", err)
			return
		}
	}

	results, err := q.options.Courier.Deliver(w.ctx, &w.attempt)
	now := q.options.Now()
	if d, down := isDown(err); down {
		q.metrics.attempts.down.Inc()
		q.pauseLane(e.lane, d)
		q.takeBack(e, &before, first)
		return
	}
	if err != nil && w.parent.Err() != nil {
		// The queue is stopping: the message is in the spool.
		q.back(e, &st, false)
		return
	}
	q.metrics.attempts.made.Inc()
	e.attempts = uint16(min(w.attempt.Number, math.MaxUint16))
	if err == nil && first && q.clean(e, m, w.attempt.Pending, results, now.Sub(started)) {
		return
	}
	if err != nil {
		results = same(w.attempt.Pending, err)
	}
	if first {
		st.Attempts, st.LastAttempt, st.Waited = 1, started, age
	}
	q.conclude(e, m, judge(&facts{
		env: m.Envelope, arrived: now.Add(-q.age(e)), before: st, attempt: w.attempt.Number, pending: w.attempt.Pending,
		results: results, started: started, now: now, dice: q.options.Rand(),
	}, *j.schedule), started)
}

// finished counts a job as ended.
func (q *Queue) finished(e *entry, attempt bool) {
	q.mu.Lock()
	q.ended(e, attempt)
	q.mu.Unlock()
}

// endExpired ends a leg that is too old for another attempt.
func (q *Queue) endExpired(j job, m *spool.Message, leg *spool.Leg, now time.Time, age time.Duration) {
	e := j.entry
	pending := pending(m.Envelope, leg)
	q.conclude(e, m, judge(&facts{
		env: m.Envelope, arrived: now.Add(-age), before: leg.State, attempt: int(e.attempts), pending: pending, now: now,
		results: q.unreachable(e.lane, pending),
	}, *j.schedule), now)
}

// prepare sets the attempt that w makes now.
func (w *worker) prepare(e *entry, m *spool.Message, leg *spool.Leg, started time.Time) {
	w.attempt = Attempt{Message: m, Leg: leg.Number, Destination: e.lane.name, Number: int(e.attempts) + 1, Started: started}
	if leg.State.Recipients == nil && leg.Recipients == nil {
		w.attempt.Pending = w.first(len(m.Envelope.Recipients))
	} else {
		w.attempt.Pending = pending(m.Envelope, leg)
	}
}

// age is how old a leg is, whatever the wall clock says.
func (q *Queue) age(e *entry) time.Duration { return time.Duration(q.clock.now() - e.arrived) }

// clean ends a first attempt that delivered to all: by far the most frequent end, and the only one
// with nothing to judge.
func (q *Queue) clean(e *entry, m *spool.Message, pending []int, results []mail.Result, took time.Duration) bool {
	if len(results) != len(pending) || len(pending) > 64 {
		return false
	}
	seen := uint64(0)
	for i := range results {
		r := &results[i]
		if r.Failure != nil || r.Relayed {
			return false
		}
		at := r.Recipient // where it is in pending
		if at >= len(pending) || at < 0 || pending[at] != r.Recipient {
			if at = position(pending, r.Recipient); at < 0 {
				return false
			}
		}
		seen |= 1 << at
	}
	if seen != 1<<len(results)-1 {
		return false
	}
	for i := range results {
		q.reportDelivered(e, m.Envelope, 1, &results[i], took)
	}
	q.remove(e, m)
	return true
}

// position returns where n is in list, or -1.
func position(list []int, n int) int {
	for i, v := range list {
		if v == n {
			return i
		}
	}
	return -1
}

// load returns the message and the leg of a job. If there is none to be attempted it has dealt with
// the entry.
func (q *Queue) load(j job) (*spool.Message, *spool.Leg, bool) {
	e := j.entry
	if j.message != nil {
		for i := range j.message.Legs {
			if leg := &j.message.Legs[i]; leg.Number == int(e.leg) {
				return j.message, leg, true
			}
		}
	}
	m, leg, err := q.options.Spool.LoadLeg(e.message, int(e.leg))
	switch {
	case errors.Is(err, spool.ErrNotFound):
		q.vanished(e)
		return nil, nil, false
	case err != nil:
		q.postpone(e, "load", err)
		return nil, nil, false
	}
	return m, leg, true
}

// same is the failure of a whole attempt as that of each recipient.
func same(pending []int, err error) []mail.Result {
	var f *mail.Failure
	if !errors.As(err, &f) {
		f = &mail.Failure{Enhanced: mail.Enhanced{4, 3, 0}, Cause: err}
	}
	results := make([]mail.Result, len(pending))
	for i, n := range pending {
		results[i] = mail.Result{Recipient: n, Failure: f}
	}
	return results
}

// unreachable returns the results of a leg that grew too old without another attempt.
func (q *Queue) unreachable(l *lane, pending []int) []mail.Result {
	cause := errors.New("destination was unreachable")
	q.mu.Lock()
	if l.paused != nil {
		cause = l.paused.cause
	}
	q.mu.Unlock()
	return same(pending, &mail.Failure{Enhanced: mail.Enhanced{4, 4, 1}, Cause: cause})
}
