package anycast

import "time"

// rounds assigns checks to their rounds: a check that hangs belongs to the round that started it,
// and is not started again before it has ended. So there is never more than one of each at a time.
type rounds struct {
	running []*round // by check; nil: not running
}

// round is one round of checks.
type round struct {
	verdict
	left   int  // checks of it that still run
	judged bool // its verdict was returned
}

func newRounds(checks int) *rounds { return &rounds{running: make([]*round, checks)} }

// startRound starts a round, and returns the checks to be started: those that are not running.
// Empty: no round.
func (r *rounds) startRound(now time.Time) []int {
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

// endCheck records the result of a check. It returns the verdict on the check's round when that is
// known: with the first bad check, without waiting for the others, or when all have ended.
func (r *rounds) endCheck(i int, c checked) (verdict, bool) {
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
	if of.judged || of.left > 0 && of.outcome < bad {
		return verdict{}, false
	}
	of.judged = true
	return of.verdict, true
}
