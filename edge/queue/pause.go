package queue

import (
	"context"
	"errors"
	"math"
	"time"
)

// pause is the time in which nothing can be delivered to a destination.
type pause struct {
	since  int64 // by the queue's clock, as until
	until  int64 // when the courier is asked
	cause  error
	asking bool // a worker asks it
}

const (
	minPause = time.Second      // a destination that is down is not asked more often
	maxNap   = 20 * time.Second // how often the pacer looks at least
	stride   = 1000             // entries looked at in one go of the lock
	// expiryGrace is how long after its end a leg may have its last attempt. Then it is given up.
	expiryGrace = 30 * time.Second
)

// errTooOld is the cause of an attempt that was cancelled because its leg is too old.
var errTooOld = errors.New("message is too old, and the attempt did not end")

// wakeAt returns when the pacer has to look. Expiry may wait for its nap. q.mu is held.
func (q *Queue) wakeAt() int64 {
	if l, ok := q.wakes.top(); ok {
		return l.wake
	}
	return math.MaxInt64
}

// arm pokes the pacer if it would look too late. q.mu is held.
func (q *Queue) arm() {
	if q.wakeAt() >= q.armed {
		return
	}
	select {
	case q.poke <- struct{}{}:
	default:
	}
}

// pace wakes a worker when a lane has something to do, or a leg is too old, until ctx ends. That
// worker wakes the next if there is more.
func (q *Queue) pace(ctx context.Context) {
	timer := time.NewTimer(maxNap)
	defer timer.Stop()
	for {
		timer.Reset(q.look())
		select {
		case <-ctx.Done():
			return
		case <-q.poke:
		case <-timer.C:
		}
	}
}

// look gives each lane whose time has come its turn, and returns when to look again.
func (q *Queue) look() time.Duration {
	now := q.clock.now()
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		l, ok := q.wakes.top()
		if !ok || l.wake > now {
			break
		}
		q.wakes.remove(l)
		l.queued = true
		q.turns.push(l)
	}
	nap := min(int64(maxNap), max(q.expire(now), int64(minPause)))
	if q.turns.n > 0 || q.tooOld.n > 0 {
		q.wakeWorker()
	}
	if at := q.wakeAt(); at != math.MaxInt64 {
		nap = min(nap, at-now)
	}
	q.armed = now + nap
	return time.Duration(nap)
}

// expire cancels attempts that go on for too long, which all workers may be waiting for, and has a worker end
// the legs that are too old. It returns when the next one is. q.mu is held.
func (q *Queue) expire(now int64) (left int64) {
	for {
		e, ok := q.expiry.top()
		if !ok {
			return int64(maxNap)
		}
		if left = e.expires() + int64(expiryGrace) - now; left > 0 {
			return left
		}
		q.expiry.remove(e)
		if e.state == running {
			q.cancelAttempt(e)
		} else {
			q.tooOld.push(e)
		}
	}
}

// pauseLane notes that the courier can deliver nothing to the destination of l.
func (q *Queue) pauseLane(l *lane, d *Down) {
	now := q.clock.now()
	until := max(q.clock.at(d.Until), now+int64(minPause))
	q.mu.Lock()
	defer q.mu.Unlock()
	if l.paused == nil {
		l.paused = &pause{since: now}
		q.options.Log.Warn("queue: delivery paused", "destination", shown(l.name), "until", q.clock.wallAt(until), "cause", d.Cause)
	}
	l.paused.cause = d.Cause
	l.paused.until = max(l.paused.until, until)
	q.arrange(l)
}

// askCourier ends the pause of l, or prolongs it, by what the courier says of its destination.
func (q *Queue) askCourier(ctx context.Context, l *lane) {
	err := q.options.Courier.Reach(ctx, l.name)
	if err != nil && ctx.Err() == nil {
		q.metrics.attempts.down.Inc()
		d, ok := isDown(err)
		if !ok {
			d = &Down{Until: time.Now().Add(minPause), Cause: err}
		}
		q.pauseLane(l, d)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if l.paused == nil {
		return
	}
	if l.paused.asking = false; err == nil {
		q.options.Log.Info("queue: delivery resumed", "destination", shown(l.name), "paused", time.Duration(q.clock.now()-l.paused.since).Round(time.Second))
		l.paused = nil
	}
	q.arrange(l)
	if l.queued {
		q.wakeWorker()
	}
	q.drop(l)
}

// isDown finds a *Down in err.
func isDown(err error) (*Down, bool) {
	var d *Down
	ok := errors.As(err, &d)
	return d, ok
}

// shown returns a destination in the words of logs and tables.
func shown(destination string) string {
	if destination == "" {
		return "core"
	}
	return destination
}
