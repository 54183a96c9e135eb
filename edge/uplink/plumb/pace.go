package plumb

import "time"

// The pauses between putting the same thing back. The first time there is none.
const (
	firstPause = 200 * time.Millisecond // after the first time; each is double the one before
	manyTimes  = 5                      // from which on it counts as fought for: after 3 s or longer
	calm       = time.Minute            // after which all is forgotten
)

// pace keeps two programs that want different things from keeping a processor
// busy. The zero pace is of a thing that was never put back.
type pace struct {
	last  time.Time // when it was put back
	pause time.Duration
	times int // how often it was, without a calm time between
	// duplicate is of an address that another host has, which was tried again.
	duplicate bool
}

// next is the earliest time at which the thing may be put back.
func (p *pace) next() time.Time { return p.last.Add(p.pause) }

// count takes down that the thing was put back at now, and says whether that is
// getting too much. No pause is longer than most.
func (p *pace) count(now time.Time, most time.Duration) bool {
	if now.Sub(p.last) > max(calm, 2*p.pause) {
		p.pause, p.times = 0, 0
	}
	p.last, p.pause = now, min(max(firstPause, 2*p.pause), most)
	p.times++
	return p.fought(now)
}

// refused takes down that another host was found to have the address, or that it
// was tried again: it is next after a pause.
func (p *pace) refused(now time.Time, pause time.Duration) {
	p.last, p.pause, p.times, p.duplicate = now, pause, 0, true
}

// fought says whether the thing is taken away again and again.
func (p *pace) fought(now time.Time) bool {
	return p.times >= manyTimes && now.Sub(p.last) <= max(calm, 2*p.pause)
}
