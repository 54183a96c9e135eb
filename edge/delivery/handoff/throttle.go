package handoff

import "time"

// This file is pure: how many messages may be under way to one address.

// The rule's figures; doc.go has the rule.
const (
	cutEvery    = time.Second            // two cuts are at least so far apart
	latencySpan = time.Second            // a mean is taken over this time at least,
	latencyMin  = 8                      // and over so many messages
	latencyOK   = 500 * time.Millisecond // a mean below is never too slow
	latencyRise = 4                      // nor is one below so many times the best
	forget      = 20                     // what part of the best is forgotten with each mean
)

// throttle is the limit of one address. The zero value is not usable.
type throttle struct {
	most  float64 // MaxConnections
	limit float64
	fast  float64 // below it the limit grows by one for each message
	cut   time.Time

	sum   time.Duration // of the transactions since began
	n     int
	began time.Time
	best  time.Duration // lowest mean, forgotten slowly; 0: none yet
}

func newThrottle(most int) throttle {
	return throttle{most: float64(most), limit: float64(most)}
}

// setMost changes MaxConnections.
func (t *throttle) setMost(most int) {
	if grown := t.limit >= t.most; grown || t.limit > float64(most) {
		t.limit = float64(most)
	}
	t.most = float64(most)
}

// now is the limit as a number of messages.
func (t *throttle) now() int { return int(t.limit) }

// answered takes a message that was answered in its time; busy counts those
// that were under way with it. took is 0 where it says nothing, because the
// message was long. It tells whether the limit was cut.
func (t *throttle) answered(now time.Time, took time.Duration, busy int) (cut bool) {
	switch {
	case t.limit < t.fast && float64(busy) >= t.limit/2:
		t.limit = min(t.limit+1, t.most)
	case float64(busy) >= t.limit-1:
		t.limit = min(t.limit+1/t.limit, t.most)
	}
	if took == 0 {
		return false
	}
	if t.n == 0 {
		t.began = now
	}
	t.sum += took
	t.n++
	if t.n < latencyMin || now.Sub(t.began) < latencySpan {
		return false
	}
	mean := t.sum / time.Duration(t.n)
	t.sum, t.n = 0, 0
	if t.best == 0 || mean < t.best {
		t.best = mean
		return false
	}
	slow := mean > latencyOK && mean > latencyRise*t.best
	t.best += t.best / forget
	if slow && now.Sub(t.cut) >= cutEvery {
		return t.lower(now, max(t.limit*3/4, t.most/4))
	}
	return false
}

// overload takes a sign that core has too much to do. It tells whether the
// limit was cut.
func (t *throttle) overload(now time.Time) (cut bool) {
	if now.Sub(t.cut) < cutEvery {
		return false
	}
	return t.lower(now, t.limit/2)
}

// refused takes a connection that was refused while open others work.
func (t *throttle) refused(now time.Time, open int) (cut bool) {
	return t.lower(now, float64(open))
}

// lower brings the limit down to n.
func (t *throttle) lower(now time.Time, n float64) bool {
	n = max(n, 1)
	if n >= t.limit {
		return false
	}
	t.limit, t.fast, t.cut = n, 0, now
	return true
}

// restart is for an address that was down: it starts with one message.
func (t *throttle) restart() {
	if t.limit > 1 {
		t.fast = t.limit / 2
	}
	t.limit = 1
	t.sum, t.n, t.best = 0, 0, 0
}
