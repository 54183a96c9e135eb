package queue

import (
	"context"
	"errors"
	"math"
	"time"

	"anymx/edge/mail"
)

// pause is the time in which the courier can deliver nothing.
type pause struct {
	since   int64 // by the queue's clock, as until
	until   int64 // when a probe may be made
	cause   error
	probing bool // one is being made
}

const (
	minPause = time.Second // a courier that is down is not asked more often
	maxNap   = time.Minute // how often the pacer looks at least
	stride   = 1000        // entries looked at in one go of the lock
	// maxOverdue bounds the messages that a minute of a pause may end.
	maxOverdue = 10000
)

// flows says whether a worker may take a message now: mail flows, or it is time
// for a probe. q.mu is held.
func (q *Queue) flows() bool {
	return q.paused == nil || !q.paused.probing && q.clock.now() >= q.paused.until
}

// wakeAt is when a worker may next find something to do that comes from the
// agenda. q.mu is held.
func (q *Queue) wakeAt() int64 {
	top := q.agenda.top()
	switch {
	case top == nil && q.ring.n == 0:
		return math.MaxInt64
	case q.paused == nil && top == nil:
		return math.MaxInt64 // what is in the ring was announced
	case q.paused == nil:
		return top.due
	case q.paused.probing:
		return math.MaxInt64
	case top == nil || q.ring.n > 0:
		return q.paused.until
	}
	return max(top.due, q.paused.until)
}

// arm pokes the pacer if it would look too late. A worker calls it before it
// waits, and whoever puts something in the agenda while workers wait; while all
// are busy nobody needs the pacer. q.mu is held.
func (q *Queue) arm() {
	if q.wakeAt() >= q.armed {
		return
	}
	select {
	case q.poke <- struct{}{}:
	default:
	}
}

// pace wakes a worker when something is due, until ctx ends. That worker wakes
// the next if there is more.
func (q *Queue) pace(ctx context.Context) {
	timer := time.NewTimer(maxNap)
	defer timer.Stop()
	var swept int64
	for {
		now := q.clock.now()
		q.mu.Lock()
		at := q.wakeAt()
		due := at <= now
		nap := maxNap
		if !due && at != math.MaxInt64 {
			nap = min(nap, time.Duration(at-now))
		}
		q.armed = now + int64(nap)
		paused := q.paused != nil
		q.mu.Unlock()
		if due {
			q.work.Signal()
		}
		if paused && now-swept >= int64(maxNap) {
			swept = now
			q.sweep(now - int64(q.o.Schedule.Expire))
		}
		timer.Reset(nap)
		select {
		case <-ctx.Done():
			return
		case <-q.poke:
		case <-timer.C:
		}
	}
}

// sweep finds messages that arrived at limit or before, and so have grown too old while no attempt can
// be made. It looks at all: IDs are no order of age where the wall clock was set.
func (q *Queue) sweep(limit int64) {
	var after mail.ID
	var part []*entry
	for {
		q.mu.Lock()
		if q.paused == nil {
			q.mu.Unlock()
			return // they get their try
		}
		part = q.roll.after(after, stride, part[:0])
		found := len(q.overdue)
		for _, e := range part {
			if len(q.overdue) >= maxOverdue {
				part = nil
				break
			}
			if e.arrived <= limit && e.place == waiting {
				q.overdue = append(q.overdue, e)
			}
			after = e.id
		}
		if len(q.overdue) > found {
			q.work.Signal()
		}
		q.mu.Unlock()
		if len(part) == 0 {
			return
		}
	}
}

// down notes that the courier can deliver nothing.
func (q *Queue) down(d *Down) {
	now := q.clock.now()
	until := max(q.clock.at(d.Until), now+int64(minPause))
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.paused == nil {
		q.paused = &pause{since: now}
		q.o.Log.Warn("queue: delivery paused", "until", q.clock.wallAt(until), "cause", d.Cause)
	}
	q.paused.cause = d.Cause
	q.paused.until = max(q.paused.until, until)
	q.arm()
}

// probed hears how a probe has ended: answered says that the courier did not
// call itself down.
func (q *Queue) probed(answered bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.paused == nil {
		return
	}
	if q.paused.probing = false; answered {
		q.o.Log.Info("queue: delivery resumed", "paused", time.Duration(q.clock.now()-q.paused.since).Round(time.Second))
		q.paused = nil
		q.overdue = nil
	}
	q.work.Broadcast()
	q.arm()
}

// isDown finds a *Down in err.
func isDown(err error) (*Down, bool) {
	var d *Down
	ok := errors.As(err, &d)
	return d, ok
}
