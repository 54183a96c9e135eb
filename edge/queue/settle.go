package queue

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"anymx/edge/mail"
	"anymx/edge/spool"
)

// operation is what an operator wants done with a leg once its attempt has ended.
type operation struct {
	remove  bool
	hold    bool
	release bool
	reason  string // of hold
}

// conclude stores what came of an attempt, notifies the sender where that is needed, and puts the
// entry where it belongs.
func (q *Queue) conclude(e *entry, m *spool.Message, v *verdict, started time.Time) {
	notices, err := q.notify(e, m, v)
	after, stored := v.after, len(notices) > 0 // the last notice has brought it
	if err != nil {
		q.unstored(e.message, v, len(notices), err)
		if after, stored = v.plain, false; after != nil {
			after.Due = q.options.Now().Add(storeWait)
			if n := len(notices); n > 0 {
				after.DelayNoticed = v.notices[n-1].state.DelayNoticed
			}
		}
	}
	q.report(e, m.Envelope, v, notices, after, started)
	switch {
	case after == nil && stored:
		m.Release()
		q.end(e)
	case after == nil:
		q.remove(e, m)
	case stored:
		q.back(e, after, true)
	default:
		q.record(e, after)
		q.back(e, after, true)
	}
	for _, dsn := range notices {
		q.Accepted(dsn)
	}
}

// remove removes a leg of which nothing is left to be done.
func (q *Queue) remove(e *entry, m *spool.Message) {
	m.Release()
	if q.insist("remove", e.message, func() error { return q.options.Spool.RemoveLeg(e.message, int(e.leg)) }) {
		q.end(e)
	}
}

// record writes the state of a leg.
func (q *Queue) record(e *entry, st *spool.State) {
	q.insist("record", e.message, func() error { return q.options.Spool.Update(e.message, int(e.leg), *st) })
}

// insist has the spool write what became of a leg, however long that takes: the next attempt would
// deliver again what is not recorded as delivered. It gives up, and returns false, only when the queue
// stops or storage has failed for good; then the node's next start repeats the attempt.
func (q *Queue) insist(what string, id mail.ID, write func() error) bool {
	for wait := time.Second; ; wait = min(2*wait, storeWait) {
		err := write()
		if err == nil || errors.Is(err, spool.ErrNotFound) {
			return true
		}
		q.failed(what, id, err)
		if errors.Is(err, spool.ErrClosed) || errors.Is(err, spool.ErrEngine) {
			return false
		}
		select {
		case <-q.stopped:
			return false
		case <-time.After(wait):
		}
	}
}

// postpone leaves a leg alone for a while because the spool has failed.
func (q *Queue) postpone(e *entry, what string, err error) {
	q.failed(what, e.message, err)
	q.mu.Lock()
	e.due = q.clock.now() + int64(storeWait)
	q.mu.Unlock()
	q.back(e, nil, true)
}

func (q *Queue) failed(what string, id mail.ID, err error) {
	q.metrics.errors.Inc()
	if !errors.Is(err, spool.ErrClosed) {
		q.options.Log.Error("queue: spool failed", "to", what, "id", id, "err", err)
	}
}

// takeBack uncounts an attempt that found the destination down.
func (q *Queue) takeBack(e *entry, before *spool.State, first bool) {
	if !first {
		// If this can't be written one attempt more is counted than was made.
		if err := q.options.Spool.Update(e.message, int(e.leg), *before); err != nil && !errors.Is(err, spool.ErrNotFound) {
			q.failed("take back an attempt", e.message, err)
		}
	}
	q.back(e, nil, false)
}

// end forgets a leg that has ended.
func (q *Queue) end(e *entry) {
	q.mu.Lock()
	delete(q.pending, e.legID)
	q.forget(e)
	q.mu.Unlock()
}

// back puts an entry back after an attempt or an operator's request, due when st says so, or when it
// was; attempted says that it has had its turn. An operation that was requested meanwhile is done first.
func (q *Queue) back(e *entry, st *spool.State, attempted bool) {
	q.mu.Lock()
	if attempted {
		q.pay(e)
	}
	if st != nil {
		e.due = q.due(st, e)
	}
	op, requested := q.pending[e.legID]
	was := waiting
	switch {
	case requested:
		delete(q.pending, e.legID)
		q.withdraw(e)
		q.move(e, changed)
		if st != nil && st.Held {
			was = held
		}
	case st != nil && st.Held:
		q.park(e)
	default:
		q.wait(e)
	}
	q.mu.Unlock()
	if !requested {
		return
	}
	if err := q.alter(e, was, op); err != nil && !errors.Is(err, spool.ErrNotFound) {
		q.options.Log.Error("queue: operator's request could not be done", "id", e.message, "leg", e.leg, "err", err)
	}
}

// due is when st wants the next attempt, by the queue's clock.
func (q *Queue) due(st *spool.State, e *entry) int64 {
	if st.Due.IsZero() {
		return e.arrived
	}
	return q.clock.dueAt(st.Due, e.lane.schedule.longest())
}

// report writes the log's lines and counts. notices are those that were stored, in the order of
// v.notices.
func (q *Queue) report(e *entry, env *mail.Envelope, v *verdict, notices []*spool.Message, after *spool.State, started time.Time) {
	now := q.options.Now()
	var dsn mail.ID // of the failures
	for i, m := range notices {
		if v.notices[i].kind == kindFailure {
			dsn = m.Envelope.ID
		} else {
			q.options.MailLog.Notified(env, v.notices[i].kind, m.Envelope.ID)
		}
	}
	for i := range v.ends {
		r := &v.ends[i].result
		n := r.Recipient
		kind := v.ends[i].kind
		if after != nil && after.Recipients[n].Status == spool.Pending {
			kind = deferred // also a failure of which the sender could not be notified yet
		}
		id := dsn
		if !v.notified(n) {
			id = mail.ID{}
		}
		switch kind {
		case delivered:
			q.reportDelivered(e, env, v.attempt, r, now.Sub(started))
		case deferred:
			q.metrics.results.deferred.Inc()
			q.options.MailLog.Deferred(env, n, v.attempt, r.Failure, after.Due)
		case failed:
			q.metrics.results.failed.Inc()
			q.lost(env, r, id)
			q.options.MailLog.Bounced(env, n, v.attempt, r.Failure, id)
		case expired:
			q.metrics.results.expired.Inc()
			q.lost(env, r, id)
			q.options.MailLog.Expired(env, n, v.attempt, r.Failure, id)
		}
	}
}

// unstored reports the notices of v from the n-th on, which the spool did not store. A failure or a
// delay is notified later, because its leg stays; nothing is left to notify about one that was relayed.
func (q *Queue) unstored(id mail.ID, v *verdict, n int, err error) {
	for _, left := range v.notices[n:] {
		q.metrics.unstored[left.kind].Inc()
		q.options.Log.Error("queue: notification could not be stored", "id", id, "kind", left.kind, "lost", left.kind == kindRelayed, "err", err)
	}
}

// lost reports a failure of which nobody is notified. One that the sender did not want to hear of is
// only counted. A notification of ours that ends like this is an error; what strangers can cause at will
// is a warning.
func (q *Queue) lost(env *mail.Envelope, r *mail.Result, dsn mail.ID) {
	if !dsn.IsZero() {
		return
	}
	why := env.NoDSNReason(r.Recipient, mail.NotifyFailure)
	switch why {
	case mail.NotRequested:
		q.metrics.unnotified.notAsked.Inc()
		return
	case mail.NullSender:
		q.metrics.doubleBounces.Inc()
	default:
		q.metrics.unnotified.forbidden.Inc()
	}
	level := slog.LevelWarn
	if env.Origin == mail.Local {
		level = slog.LevelError
	}
	q.options.Log.Log(context.Background(), level, "queue: message failed and nobody is notified", "id", env.ID, "recipient", r.Recipient,
		"nodsn", string(why), "why", r.Failure)
}

// vanished ends an entry whose leg is not in the spool any more, though nothing but the queue removes
// legs.
func (q *Queue) vanished(e *entry) {
	q.metrics.vanished.Inc()
	q.options.Log.Error("queue: message is missing from the spool, nobody is notified", "id", e.message, "leg", e.leg)
	q.end(e)
}

func (q *Queue) reportDelivered(e *entry, env *mail.Envelope, attempt int, r *mail.Result, took time.Duration) {
	q.metrics.results.delivered.Inc()
	q.metrics.latency.Observe(q.age(e).Seconds())
	q.options.MailLog.Delivered(env, r.Recipient, attempt, *r, took)
}
