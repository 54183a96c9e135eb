package anycast

import "time"

// rounds keeps the checks and their rounds apart: a check that hangs belongs to
// the round that began it, and is not begun again before it has ended. So there
// is never more than one of each at a time.
type rounds struct {
	running []*round // by check; nil: it is not running
}

// round is one round of checks.
type round struct {
	verdict
	left int  // checks of it that run
	told bool // its verdict was given
}

func newRounds(checks int) *rounds { return &rounds{running: make([]*round, checks)} }

// begin begins a round, and returns the checks to be begun: those that do not
// run. Empty: there is no round.
func (r *rounds) begin(now time.Time) []int {
	var idle []int
	next := &round{verdict: verdict{began: now}}
	for i, running := range r.running {
		if running == nil {
			idle = append(idle, i)
			r.running[i] = next
		}
	}
	next.left = len(idle)
	if len(idle) < len(r.running) {
		next.outcome = open
	}
	return idle
}

// end takes the result of a check. It returns the verdict on the check's round
// when that is known: with the first check that is bad, which waits for no
// other, or when all have ended.
func (r *rounds) end(i int, c checked) (verdict, bool) {
	of := r.running[i]
	r.running[i] = nil
	of.left--
	if c.process != 0 {
		of.process = c.process
	}
	if c.outcome > of.outcome {
		of.outcome = c.outcome
		if c.outcome > open {
			of.reason = c.name + ": " + c.reason
		}
	}
	if of.told || of.left > 0 && of.outcome < bad {
		return verdict{}, false
	}
	of.told = true
	return of.verdict, true
}
