package queue

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"anymx/edge/mail"
	"anymx/edge/spool"
)

// wish is what an operator wants done with a message once its try has ended.
type wish struct {
	remove  bool
	hold    bool
	release bool
	reason  string // of hold
}

// settle stores what a try has come to, tells who has to be told, and puts the
// entry where it belongs.
func (q *Queue) settle(e *entry, m *spool.Message, v *verdict, started time.Time) {
	notices, err := q.notify(m, v)
	after, stored := v.after, len(notices) > 0 // the last notice has brought it
	if err != nil {
		q.unstored(e.id, v, len(notices), err)
		if after, stored = v.plain, false; after != nil {
			after.Due = q.o.Now().Add(storeWait)
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
		q.finish(e, m)
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

// finish removes a message of which nothing is left to be done.
func (q *Queue) finish(e *entry, m *spool.Message) {
	m.Release()
	if q.insist("remove", e.id, func() error { return q.o.Spool.Remove(e.id) }) {
		q.end(e)
	}
}

// record writes the state of a message.
func (q *Queue) record(e *entry, st *spool.State) {
	q.insist("record", e.id, func() error { return q.o.Spool.Update(e.id, *st) })
}

// insist has the spool write what became of a message, however long that takes:
// the next try would deliver again what is not recorded as delivered. It gives
// up, and is false, only when the queue stops or storage has failed for good;
// then the node's next start repeats the try.
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

// postpone leaves a message alone for a while because the spool has failed.
func (q *Queue) postpone(e *entry, what string, err error) {
	q.failed(what, e.id, err)
	q.mu.Lock()
	e.due = q.clock.now() + int64(storeWait)
	q.mu.Unlock()
	q.back(e, nil, true)
}

func (q *Queue) failed(what string, id mail.ID, err error) {
	q.metrics.errors.Inc()
	if !errors.Is(err, spool.ErrClosed) {
		q.o.Log.Error("queue: spool failed", "to", what, "id", id, "err", err)
	}
}

// untried takes back a try that was not one.
func (q *Queue) untried(e *entry, before *spool.State, first bool) {
	if !first {
		// If this can't be written an attempt more is counted than was made.
		if err := q.o.Spool.Update(e.id, *before); err != nil && !errors.Is(err, spool.ErrNotFound) {
			q.failed("take back a try", e.id, err)
		}
	}
	q.back(e, nil, false)
}

// end forgets a message that is no more.
func (q *Queue) end(e *entry) {
	q.mu.Lock()
	delete(q.wishes, e.id)
	q.forget(e)
	q.mu.Unlock()
}

// back puts an entry back after a try or an operator's request, due when st
// says so, or when it was; tried says that it has had its turn. A wish that
// came meanwhile is done first.
func (q *Queue) back(e *entry, st *spool.State, tried bool) {
	q.mu.Lock()
	if tried {
		q.pay(e)
	}
	if st != nil {
		e.due = q.due(st, e)
	}
	w, wished := q.wishes[e.id]
	was := waiting
	switch {
	case wished:
		delete(q.wishes, e.id)
		if st != nil && st.Held {
			was = held
		}
	case st != nil && st.Held:
		q.park(e)
	default:
		q.wait(e)
	}
	q.mu.Unlock()
	if !wished {
		return
	}
	if err := q.alter(e, was, w); err != nil && !errors.Is(err, spool.ErrNotFound) {
		q.o.Log.Error("queue: operator's request could not be done", "id", e.id, "err", err)
	}
}

// due is when st wants the next attempt, by the queue's clock.
func (q *Queue) due(st *spool.State, e *entry) int64 {
	if st.Due.IsZero() {
		return e.arrived
	}
	return q.clock.dueAt(st.Due, q.o.Schedule.longest())
}

// report writes the log's lines and counts. notices are those that were
// stored, in the order of v.notices.
func (q *Queue) report(e *entry, env *mail.Envelope, v *verdict, notices []*spool.Message, after *spool.State, started time.Time) {
	now := q.o.Now()
	var dsn mail.ID // of the failures
	for i, m := range notices {
		if v.notices[i].kind == kindFailure {
			dsn = m.Envelope.ID
		} else {
			q.o.MailLog.Notified(env, v.notices[i].kind, m.Envelope.ID)
		}
	}
	for i := range v.ends {
		r := &v.ends[i].result
		n := r.Recipient
		kind := v.ends[i].kind
		if after != nil && after.Recipients[n].Status == spool.Pending {
			kind = deferred // also a failure that could not be told of yet
		}
		id := dsn
		if !v.told(n) {
			id = mail.ID{}
		}
		switch kind {
		case delivered:
			q.tellDelivered(e, env, v.attempt, r, now.Sub(started))
		case deferred:
			q.metrics.results.deferred.Inc()
			q.o.MailLog.Deferred(env, n, v.attempt, r.Failure, after.Due)
		case failed:
			q.metrics.results.failed.Inc()
			q.lost(env, r, id)
			q.o.MailLog.Bounced(env, n, v.attempt, r.Failure, id)
		case expired:
			q.metrics.results.expired.Inc()
			q.lost(env, r, id)
			q.o.MailLog.Expired(env, n, v.attempt, r.Failure, id)
		}
	}
}

// unstored reports the notices of v from the n-th on, which the spool did not
// take. A failure or a delay is told later, for its message stays; nothing is
// left to be told about one that was passed on.
func (q *Queue) unstored(id mail.ID, v *verdict, n int, err error) {
	for _, left := range v.notices[n:] {
		q.metrics.unstored[left.kind].Inc()
		q.o.Log.Error("queue: notification could not be stored", "id", id, "kind", left.kind, "lost", left.kind == kindRelayed, "err", err)
	}
}

// lost reports a failure of which nobody is notified. One that the sender did not
// want to hear of is only counted. A notification of ours that ends like this is
// an error; what strangers can cause at will is a warning.
func (q *Queue) lost(env *mail.Envelope, r *mail.Result, dsn mail.ID) {
	if !dsn.IsZero() {
		return
	}
	why := env.NoDSNReason(r.Recipient, mail.NotifyFailure)
	switch why {
	case mail.NotRequested:
		q.metrics.untold.notAsked.Inc()
		return
	case mail.NullSender:
		q.metrics.doubleBounces.Inc()
	default:
		q.metrics.untold.forbidden.Inc()
	}
	level := slog.LevelWarn
	if env.Origin == mail.Local {
		level = slog.LevelError
	}
	q.o.Log.Log(context.Background(), level, "queue: message failed and nobody is notified", "id", env.ID, "recipient", r.Recipient,
		"nodsn", string(why), "why", r.Failure)
}

// vanished ends an entry whose message is not in the spool any more, though
// nobody but the queue removes messages.
func (q *Queue) vanished(e *entry) {
	q.metrics.vanished.Inc()
	q.o.Log.Error("queue: message is missing from the spool, nobody is notified", "id", e.id)
	q.end(e)
}

func (q *Queue) tellDelivered(e *entry, env *mail.Envelope, attempt int, r *mail.Result, took time.Duration) {
	q.metrics.results.delivered.Inc()
	q.metrics.latency.Observe(q.age(e).Seconds())
	q.o.MailLog.Delivered(env, r.Recipient, attempt, *r, took)
}
