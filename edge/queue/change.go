package queue

import (
	"errors"
	"fmt"
	"time"

	"anymx/edge/mail"
	"anymx/edge/spool"
)

// Answer says what became of an operator's request. Each ID of the request is in one of the lists, or
// in the error that came with the answer.
type Answer struct {
	// Done are as they were requested to be, those that were so before included.
	Done []mail.ID `json:"done"`
	// Pending are with the courier, all or some of their legs. The request is carried out when the
	// attempt has ended, unless the leg has ended with it.
	Pending []mail.ID `json:"pending,omitempty"`
	// Missing are not in the queue.
	Missing []mail.ID `json:"missing,omitempty"`
}

// Flush makes messages due now. Held ones stay held, and one that is being attempted is as it should
// be. A destination that is down is asked at once.
func (q *Queue) Flush(ids ...mail.ID) Answer {
	var a Answer
	var legs []*entry
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, id := range ids {
		if legs = q.index.message(id, legs[:0]); len(legs) == 0 {
			a.Missing = append(a.Missing, id)
			continue
		}
		for _, e := range legs {
			q.hasten(e)
			q.unpause(e.lane)
		}
		a.Done = append(a.Done, id)
	}
	return a
}

// FlushAll makes all waiting legs due now, asks their destinations at once, and returns how many they
// were.
func (q *Queue) FlushAll() int {
	n := 0
	q.all(func(e *entry) {
		if q.hasten(e) {
			n++
		}
		q.unpause(e.lane)
	})
	return n
}

// all calls f with all entries and q.mu held, which it gives up now and then.
func (q *Queue) all(f func(*entry)) {
	var part []*entry
	var after legID
	for {
		q.mu.Lock()
		part = q.index.after(after, stride, part[:0])
		for _, e := range part {
			after = e.legID
			f(e)
		}
		q.mu.Unlock()
		if len(part) == 0 {
			return
		}
	}
}

// hasten makes e due now. It reports false if e does not wait. q.mu is held.
func (q *Queue) hasten(e *entry) bool {
	if e.state != waiting {
		return e.state == blocked
	}
	if now := q.clock.now(); e.due > now {
		e.due = now
		e.lane.due.fix(e)
		q.arrange(e.lane)
		q.wakeWorker()
	}
	return true
}

// unpause has the courier asked at once whether the destination of l can be reached. q.mu is held.
func (q *Queue) unpause(l *lane) {
	if l.paused == nil {
		return
	}
	if now := q.clock.now(); l.paused.until > now {
		l.paused.until = now
		q.arrange(l)
		q.wakeWorker()
	}
}

// Hold suspends messages until they are released. reason is for people. An error is the spool's.
func (q *Queue) Hold(reason string, ids ...mail.ID) (Answer, error) {
	return q.change(operation{hold: true, reason: reason}, ids)
}

// Release makes held messages due now. Others are left as they are, but for those that are to be held
// after their attempt: they are not. An error is the spool's.
func (q *Queue) Release(ids ...mail.ID) (Answer, error) {
	return q.change(operation{release: true}, ids)
}

// Delete removes messages; nobody is notified. An error is the spool's.
func (q *Queue) Delete(ids ...mail.ID) (Answer, error) {
	return q.change(operation{remove: true}, ids)
}

// change does op with each message, or notes it for the legs that a worker has.
func (q *Queue) change(op operation, ids []mail.ID) (Answer, error) {
	var a Answer
	var errs []error
	for _, id := range ids {
		done, noted, err := q.changeMessage(op, id)
		switch {
		case err != nil:
			errs = append(errs, err)
		case noted:
			a.Pending = append(a.Pending, id)
		case done:
			a.Done = append(a.Done, id)
		default:
			a.Missing = append(a.Missing, id)
		}
	}
	return a, errors.Join(errs...)
}

// changeMessage does op with all legs of a message. It reports whether op was done with one, and
// whether it was noted for one.
func (q *Queue) changeMessage(op operation, id mail.ID) (done, noted bool, err error) {
	q.mu.Lock()
	legs := q.index.message(id, nil)
	q.mu.Unlock()
	for _, e := range legs {
		was, now := q.withdrawFor(e, op)
		switch now {
		case changed:
			err := q.alter(e, was, op)
			if err != nil && !errors.Is(err, spool.ErrNotFound) {
				return done, noted, err
			}
			done = done || err == nil
		case running:
			noted = true
		case held:
			done = true
		}
	}
	return done, noted, nil
}

// withdrawFor takes a leg out of its state, was, for an operation. It returns changed if the caller has
// to do it, running if it was noted for later, held if nothing has to be done, and gone.
func (q *Queue) withdrawFor(e *entry, op operation) (was, now state) {
	q.mu.Lock()
	defer q.mu.Unlock()
	was = e.state
	switch {
	case was == gone:
		return was, gone
	case was == running || was == changed:
		before := q.pending[e.legID]
		if op.release && !before.remove {
			delete(q.pending, e.legID)
			return was, held
		}
		if !before.remove {
			q.pending[e.legID] = op
		}
		return was, running
	case was == held && op.hold, was != held && op.release:
		return was, held
	}
	q.withdraw(e)
	q.move(e, changed)
	return was, changed
}

// alter does op with a leg that the caller has withdrawn from the state was, and puts it back. An error
// is the spool's, and leaves the leg as it was.
func (q *Queue) alter(e *entry, was state, op operation) error {
	m, leg, err := q.options.Spool.LoadLeg(e.message, int(e.leg))
	var st spool.State
	switch {
	case op.remove:
		if err == nil || errors.Is(err, spool.ErrDamaged) { // what can't be read can be removed
			err = q.options.Spool.RemoveLeg(e.message, int(e.leg))
		}
	case err == nil:
		st = leg.State
		st.Held, st.HoldReason = op.hold, op.reason
		if op.release {
			st.Due = time.Time{}
		}
		err = q.options.Spool.Update(e.message, int(e.leg), st)
	}
	switch {
	case err == nil && op.remove:
		q.metrics.deleted.Inc()
		q.options.Log.Warn("queue: message deleted by an operator, nobody is notified", "id", e.message, "leg", e.leg)
		if m != nil {
			q.options.MailLog.Removed(m.Envelope, "operator")
		}
		q.end(e)
	case err == nil:
		q.back(e, &st, false)
	case errors.Is(err, spool.ErrNotFound):
		q.vanished(e)
	default:
		q.metrics.errors.Inc()
		err = fmt.Errorf("queue: %w", err)
		q.back(e, &spool.State{Held: was == held, Due: q.clock.wallAt(e.due)}, false)
	}
	return err
}
