package queue

import "time"

// clock counts nanoseconds that pass while the queue exists. Nobody can set it, so a due time or an
// age in memory survives any step of the wall clock. Its numbers mean nothing outside of one queue:
// what is written to the spool, or shown, is converted to the wall clock's time first.
type clock struct {
	wall  func() time.Time // may be set, in either direction, at any moment
	start time.Time        // with its monotonic reading
}

// clockZero is what the clock shows at its start. It leaves room for ages before it.
const clockZero = int64(1) << 60

func newClock(wall func() time.Time) clock { return clock{wall: wall, start: time.Now()} }

// now returns the clock's reading.
func (c *clock) now() int64 { return clockZero + int64(time.Since(c.start)) }

// at returns the reading at the moment that t names, for a t of time.Now with its monotonic reading.
func (c *clock) at(t time.Time) int64 { return clockZero + min(int64(t.Sub(c.start)), clockZero) }

// wallAt returns the wall clock's time at the reading at, as the wall clock is set now.
func (c *clock) wallAt(at int64) time.Time {
	return c.wall().Add(time.Duration(at - c.now())).Round(0)
}

// dueAt returns the reading at which an attempt is due that the wall clock's time due names. A wait
// is never longer than longest: such a due time was written while the wall clock was wrong.
func (c *clock) dueAt(due time.Time, longest time.Duration) int64 {
	wait := due.Sub(c.wall())
	return c.now() + int64(min(max(wait, -maxLate), longest))
}

// maxLate bounds how far in the past a due time may be: enough to attempt the oldest first.
const maxLate = 365 * 24 * time.Hour
