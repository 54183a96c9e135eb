package queue

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Schedule says when a leg is attempted again, and when it is given up. It is pure: the clock and the
// dice are arguments.
type Schedule struct {
	// Retry holds the waits after the first, second, ... failed attempt; the last one repeats. Empty means
	// DefaultRetry.
	Retry []time.Duration
	// Jitter is the part of a wait by which it is made longer or shorter at
	// random, 0 to 0.5.
	Jitter float64
	// Expire is the age at which a message is given up. 0 means five days
	// (RFC 5321 section 4.5.4.1).
	Expire time.Duration
	// DelayNotice is the age from which a sender who asked for it is told, at
	// the next failed try, that the message still waits. 0: never.
	DelayNotice time.Duration
}

// DefaultRetry are the waits of the package comment.
var DefaultRetry = []time.Duration{
	30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute,
	10 * time.Minute, 20 * time.Minute, 30 * time.Minute, time.Hour,
}

const defaultExpire = 5 * 24 * time.Hour

// fill puts defaults in place and says what is wrong with the rest.
func (s *Schedule) fill() error {
	if len(s.Retry) == 0 {
		s.Retry = DefaultRetry
	}
	if s.Expire == 0 {
		s.Expire = defaultExpire
	}
	for _, wait := range s.Retry {
		if wait <= 0 {
			return fmt.Errorf("schedule: a wait of %s", wait)
		}
	}
	switch {
	case s.Jitter < 0 || s.Jitter > 0.5:
		return fmt.Errorf("schedule: jitter %v is not between 0 and 0.5", s.Jitter)
	case s.Expire < 0 || s.DelayNotice < 0:
		return errors.New("schedule: negative age")
	}
	return nil
}

// Next is when a leg that arrived at arrived and has failed its attempt number attempts, the first being
// 1, is attempted again; r is from [0, 1). The last attempt is at Expire. After that there is no next
// one, and ok is false.
func (s Schedule) Next(attempts int, arrived, now time.Time, r float64) (next time.Time, ok bool) {
	expires := s.Expires(arrived)
	if !now.Before(expires) {
		return time.Time{}, false
	}
	wait := s.Retry[min(max(attempts, 1), len(s.Retry))-1]
	wait += time.Duration(float64(wait) * s.Jitter * (2*r - 1))
	if next = now.Add(wait); next.After(expires) {
		next = expires
	}
	return next, true
}

// Age is how old a message is that the queue has watched over for the time watched, and not for the
// time apart since then, by the wall clock. Nobody can tell whether a clock was set in that time, or
// the node was off, so it never counts into the last quarter of Expire: a message gets that much of
// its time in service, whatever the clock says, and is not given up at the first attempt after a step.
func (s Schedule) Age(watched, apart time.Duration) time.Duration {
	watched = min(max(watched, 0), s.Expire)
	apart = min(max(apart, 0), s.Expire)
	return min(watched+apart, max(watched, s.Expire-s.Expire/4))
}

// longest is the longest wait between two attempts.
func (s Schedule) longest() time.Duration {
	wait := slices.Max(s.Retry)
	return wait + time.Duration(float64(wait)*s.Jitter)
}

// Expires is when a message that arrived at arrived is given up.
func (s Schedule) Expires(arrived time.Time) time.Time { return arrived.Add(s.Expire) }

// Late says whether the sender of a message should hear that it still waits.
func (s Schedule) Late(arrived, now time.Time) bool {
	return s.DelayNotice > 0 && now.Sub(arrived) >= s.DelayNotice
}
