package plumb

import "time"

// The pauses between putting the same thing back. The first time there is none.
const (
	firstPause = 200 * time.Millisecond // after the first time; each is double the one before
	longFight  = 2 * time.Second        // a pause from which on it counts as fought for
	calm       = time.Minute            // after which all is forgotten
)

// pace keeps two programs that want different things from keeping a processor
// busy. The zero pace is of a thing that was never put back.
type pace struct {
	last  time.Time // when it was put back
	pause time.Duration
}

// next is the earliest time at which the thing may be put back.
func (p *pace) next() time.Time { return p.last.Add(p.pause) }

// count takes down that the thing was put back at now, and says whether that is
// getting too much. No pause is longer than most.
func (p *pace) count(now time.Time, most time.Duration) bool {
	if now.Sub(p.last) > max(calm, 2*p.pause) {
		p.pause = 0
	}
	p.last, p.pause = now, min(max(firstPause, 2*p.pause), most)
	return p.fought(now)
}

// fought says whether the thing is taken away again and again.
func (p *pace) fought(now time.Time) bool {
	return p.pause >= longFight && now.Sub(p.last) <= max(calm, 2*p.pause)
}
