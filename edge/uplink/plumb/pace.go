package plumb

import "time"

// The pauses between restoring the same thing. The first time there is none.
const (
	firstPause = 200 * time.Millisecond // after the first time; each is twice the previous
	manyTimes  = 5                      // from this many on the thing is contested: after 3 s or longer
	calm       = time.Minute            // after which the history is forgotten
)

// pace keeps two programs with conflicting configs from occupying a processor. The zero pace is
// that of a thing that was never restored.
type pace struct {
	last  time.Time // when it was restored
	pause time.Duration
	times int // how often it was restored without a calm time between
	// duplicate is set for an address that another host uses and that was retried.
	duplicate bool
}

// next is the earliest time at which the thing may be restored.
func (p *pace) next() time.Time { return p.last.Add(p.pause) }

// count records that the thing was restored at now. It reports whether the thing is contested. No
// pause is longer than most.
func (p *pace) count(now time.Time, most time.Duration) bool {
	if now.Sub(p.last) > max(calm, 2*p.pause) {
		p.pause, p.times = 0, 0
	}
	p.last, p.pause = now, min(max(firstPause, 2*p.pause), most)
	p.times++
	return p.contested(now)
}

// refused records that another host was found to use the address, or that the address was retried:
// the next attempt comes after a pause.
func (p *pace) refused(now time.Time, pause time.Duration) {
	p.last, p.pause, p.times, p.duplicate = now, pause, 0, true
}

// contested reports whether the thing is removed repeatedly.
func (p *pace) contested(now time.Time) bool {
	return p.times >= manyTimes && now.Sub(p.last) <= max(calm, 2*p.pause)
}
