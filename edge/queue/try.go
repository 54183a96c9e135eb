package queue

import (
	"context"
	"errors"
	"time"

	"anymx/edge/mail"
	"anymx/edge/spool"
)

// storeWait is how long a message is left alone after the spool has failed for
// it.
const storeWait = time.Minute

// works is a worker: it takes what is due and tries it, until the queue stops.
func (q *Queue) works(ctx context.Context) {
	var w worker
	for {
		j, ok := q.next()
		if !ok {
			return
		}
		q.do(ctx, &w, j)
	}
}

// worker holds what a worker uses again for each try.
type worker struct {
	try   Try
	every []int // 0, 1, 2 ...
}

// first lists the first n recipients.
func (w *worker) first(n int) []int {
	for len(w.every) < n {
		w.every = append(w.every, len(w.every))
	}
	return w.every[:n:n]
}

// next waits for something to do. It is false when the queue stops.
func (q *Queue) next() (job, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if q.stopping {
			return job{}, false
		}
		if j, ok := q.pick(); ok {
			return j, true
		}
		q.arm()
		q.idle++
		q.work.Wait()
		q.idle--
	}
}

// pick takes the next job, if there is one, and wakes another worker if there
// may be more. q.mu is held.
func (q *Queue) pick() (j job, ok bool) {
	if j, ok = q.pickOverdue(); !ok {
		if !q.flows() {
			return job{}, false
		}
		if j, ok = q.pull(); !ok {
			return job{}, false
		}
		if j.probe = q.paused != nil; j.probe {
			q.paused.probing = true
		}
	}
	q.move(j.entry, trying)
	if q.idle > 0 && q.more() {
		q.work.Signal()
	}
	return j, true
}

// more says whether another worker would find something. q.mu is held.
func (q *Queue) more() bool {
	switch {
	case len(q.overdue) > 0:
		return true
	case q.paused != nil:
		return false
	}
	return q.ring.n > 0 || len(q.agenda) > 0 && q.agenda[0].due <= q.clock.now()
}

func (q *Queue) pickOverdue() (job, bool) {
	for len(q.overdue) > 0 {
		e := q.overdue[0]
		q.overdue = q.overdue[1:]
		if e.place == waiting {
			q.agenda.remove(e)
			return job{entry: e, overdue: true}, true
		}
	}
	return job{}, false
}

// pull takes from ring and agenda by turns. q.mu is held.
func (q *Queue) pull() (job, bool) {
	top := q.agenda.top()
	due := top != nil && top.due <= q.clock.now()
	for !due || !q.turn {
		j, ok := q.ring.pop()
		if !ok {
			break
		}
		if j.entry.place == ready {
			q.turn = true
			return j, true
		}
		j.message.Release() // held or deleted meanwhile
	}
	q.turn = false
	if !due {
		return job{}, false
	}
	q.agenda.remove(top)
	return job{entry: top}, true
}

// do makes one try and all that follows from it. It is the only one to touch
// the message of j.entry until it has put the entry back.
func (q *Queue) do(ctx context.Context, w *worker, j job) {
	asked, answered := false, false
	if j.probe {
		defer func() { q.probed(asked && answered) }()
	}
	e := j.entry
	m, st, ok := q.load(j)
	if !ok {
		return
	}
	defer m.Release()
	started, age := q.o.Now(), q.age(e)
	if j.overdue {
		q.expire(e, m, st, started, age)
		return
	}

	before, first := st, e.attempts == 0
	w.prepare(e, m, &st, started)
	if !first {
		st.Attempts, st.LastAttempt, st.Waited, st.Due = w.try.Attempt, started, age, time.Time{}
		if err := q.o.Spool.Update(e.id, st); err != nil {
			q.postpone(e, "record a try", err)
			return
		}
	}

	asked = true
	results, err := q.o.Courier.Deliver(ctx, &w.try)
	now := q.o.Now()
	if d, down := isDown(err); down {
		q.metrics.tries.down.Inc()
		q.down(d)
		q.untried(e, &before, first)
		return
	}
	answered = true
	if err != nil && ctx.Err() != nil {
		// The queue is stopping: the message is in the spool.
		q.back(e, &st, false)
		return
	}
	q.metrics.tries.made.Inc()
	e.attempts = uint16(min(w.try.Attempt, 1<<16-1))
	if err == nil && first && q.clean(e, m, results, started, now) {
		return
	}
	if err != nil {
		results = same(w.try.Pending, err)
	}
	if first {
		st.Attempts, st.LastAttempt, st.Waited = 1, started, age
	}
	q.settle(e, m, judge(&facts{
		env: m.Envelope, arrived: now.Add(-q.age(e)), before: st, attempt: w.try.Attempt, pending: w.try.Pending,
		results: results, started: started, now: now, dice: q.o.Rand(),
	}, q.o.Schedule), started)
}

// expire ends a message that is too old for another attempt.
func (q *Queue) expire(e *entry, m *spool.Message, st spool.State, now time.Time, age time.Duration) {
	q.settle(e, m, judge(&facts{
		env: m.Envelope, arrived: now.Add(-age), before: st, attempt: int(e.attempts), pending: pending(m.Envelope, &st), now: now,
		results: q.unreachable(m.Envelope),
	}, q.o.Schedule), now)
}

// prepare sets the attempt that w makes now.
func (w *worker) prepare(e *entry, m *spool.Message, st *spool.State, started time.Time) {
	w.try = Try{Message: m, Attempt: int(e.attempts) + 1, Started: started}
	if st.Recipients == nil {
		w.try.Pending = w.first(len(m.Envelope.Recipients))
	} else {
		w.try.Pending = pending(m.Envelope, st)
	}
}

// age is how old a message is, whatever the wall clock says.
func (q *Queue) age(e *entry) time.Duration { return time.Duration(q.clock.now() - e.arrived) }

// clean ends a first try that went well for all: by far the most frequent end,
// and the only one with nothing to judge.
func (q *Queue) clean(e *entry, m *spool.Message, results []mail.Result, started, now time.Time) bool {
	env := m.Envelope
	if len(results) != len(env.Recipients) {
		return false
	}
	seen := uint64(0)
	for i := range results {
		r := &results[i]
		if r.Failure != nil || r.Relayed || r.Recipient < 0 || r.Recipient >= min(len(results), 64) {
			return false
		}
		seen |= 1 << r.Recipient
	}
	if seen != 1<<len(results)-1 {
		return false
	}
	for i := range results {
		q.tellDelivered(e, env, 1, &results[i], now.Sub(started))
	}
	q.finish(e, m)
	return true
}

// load gives the message of a job and its state. If there is none to be tried
// it has dealt with the entry.
func (q *Queue) load(j job) (*spool.Message, spool.State, bool) {
	if j.message != nil {
		return j.message, spool.State{}, true
	}
	e := j.entry
	m, st, err := q.o.Spool.Load(e.id)
	switch {
	case errors.Is(err, spool.ErrNotFound):
		q.vanished(e)
		return nil, st, false
	case err != nil:
		q.postpone(e, "load", err)
		return nil, st, false
	}
	return m, st, true
}

// same is the failure of a whole try as that of each recipient.
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

// unreachable are the results of a message that grew too old in a pause.
func (q *Queue) unreachable(env *mail.Envelope) []mail.Result {
	cause := errors.New("destination was unreachable")
	q.mu.Lock()
	if q.paused != nil {
		cause = q.paused.cause
	}
	q.mu.Unlock()
	failure := &mail.Failure{Enhanced: mail.Enhanced{4, 4, 1}, Cause: cause}
	results := make([]mail.Result, len(env.Recipients))
	for i := range results {
		results[i] = mail.Result{Recipient: i, Failure: failure}
	}
	return results
}
