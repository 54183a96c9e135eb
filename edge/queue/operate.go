package queue

import (
	"errors"
	"fmt"
	"time"

	"anymx/edge/mail"
	"anymx/edge/spool"
)

// Answer says what became of an operator's request. Each ID of the request
// stands in one of the lists, or in the error that came with the answer.
type Answer struct {
	// Done are as they were asked to be, those that were so before included.
	Done []mail.ID `json:"done"`
	// Pending are with the courier. The request is noted, and done when the try
	// has ended, unless the message has ended with it.
	Pending []mail.ID `json:"pending,omitempty"`
	// Missing are not in the queue.
	Missing []mail.ID `json:"missing,omitempty"`
}

// Flush makes messages due now. Held ones stay held, and one that is being
// tried is as it should be. If the courier is down, it is asked at once.
func (q *Queue) Flush(ids ...mail.ID) Answer {
	var a Answer
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, id := range ids {
		if e := q.roll.find(id); e == nil {
			a.Missing = append(a.Missing, id)
		} else {
			q.hasten(e)
			a.Done = append(a.Done, id)
		}
	}
	if len(a.Done) > 0 {
		q.unpause()
	}
	return a
}

// FlushAll makes all waiting messages due now, and says how many they were.
func (q *Queue) FlushAll() int {
	n := 0
	var part []*entry
	var after mail.ID
	for {
		q.mu.Lock()
		part = q.roll.after(after, stride, part[:0])
		for _, e := range part {
			if q.hasten(e) {
				n++
			}
			after = e.id
		}
		q.unpause()
		q.mu.Unlock()
		if len(part) == 0 {
			return n
		}
	}
}

// hasten makes e due now, if it waits. q.mu is held.
func (q *Queue) hasten(e *entry) bool {
	if e.place != waiting {
		return false
	}
	if now := q.clock.now(); e.due > now {
		e.due = now
		q.agenda.fix(e)
	}
	return true
}

// unpause lets a probe be made at once, and wakes who might make it. q.mu is
// held.
func (q *Queue) unpause() {
	if q.paused != nil {
		q.paused.until = min(q.paused.until, q.clock.now())
	}
	q.work.Signal()
	q.arm()
}

// Hold keeps messages from being tried until they are released. reason is for
// people. An error is the spool's.
func (q *Queue) Hold(reason string, ids ...mail.ID) (Answer, error) {
	return q.change(wish{hold: true, reason: reason}, ids)
}

// Release makes held messages due now. Others are left as they are, but for
// those that are to be held after their try: they are not. An error is the
// spool's.
func (q *Queue) Release(ids ...mail.ID) (Answer, error) {
	return q.change(wish{release: true}, ids)
}

// Delete removes messages; nobody is notified. An error is the spool's.
func (q *Queue) Delete(ids ...mail.ID) (Answer, error) {
	return q.change(wish{remove: true}, ids)
}

// change does what an operator wants with each message, or notes it for those
// that a worker has.
func (q *Queue) change(w wish, ids []mail.ID) (Answer, error) {
	var a Answer
	var errs []error
	for _, id := range ids {
		e, was, done := q.take(id, w)
		var err error
		switch {
		case was == gone:
			a.Missing = append(a.Missing, id)
			continue
		case e == nil && !done:
			a.Pending = append(a.Pending, id)
			continue
		case e != nil:
			err = q.alter(e, was, w)
		}
		switch {
		case err == nil:
			a.Done = append(a.Done, id)
		case errors.Is(err, spool.ErrNotFound):
			a.Missing = append(a.Missing, id)
		default:
			errs = append(errs, err)
		}
	}
	return a, errors.Join(errs...)
}

// take takes a message out of its place, was, for a change. Without an entry
// there is nothing to do: it is gone, or done, or else noted for later.
func (q *Queue) take(id mail.ID, w wish) (e *entry, was place, done bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e = q.roll.find(id)
	if e == nil {
		return nil, gone, false
	}
	was = e.place
	switch {
	case was == trying || was == changed:
		noted := q.wishes[id]
		if w.release && !noted.remove {
			delete(q.wishes, id)
			return nil, was, true
		}
		if !noted.remove {
			q.wishes[id] = w
		}
		return nil, was, false
	case was == held && w.hold, was != held && w.release:
		return nil, was, true
	case was == waiting:
		q.agenda.remove(e)
	}
	q.move(e, changed) // what stands in the ring is dropped when its turn comes
	return e, was, false
}

// alter does what w says with a message that the caller has taken from was, and
// puts it back. An error is the spool's, and leaves the message as it was.
func (q *Queue) alter(e *entry, was place, w wish) error {
	m, st, err := q.o.Spool.Load(e.id)
	switch {
	case w.remove:
		if err == nil || errors.Is(err, spool.ErrDamaged) { // what can't be read can be removed
			err = q.o.Spool.Remove(e.id)
		}
	case err == nil:
		st.Held, st.HoldReason = w.hold, w.reason
		if w.release {
			st.Due = time.Time{}
		}
		err = q.o.Spool.Update(e.id, st)
	}
	switch {
	case err == nil && w.remove:
		q.metrics.deleted.Inc()
		q.o.Log.Warn("queue: message deleted by an operator, nobody is notified", "id", e.id)
		if m != nil {
			q.o.MailLog.Removed(m.Envelope, "operator")
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
