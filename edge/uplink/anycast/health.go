package anycast

import (
	"fmt"
	"time"
)

// outcome is the result of a check, or of a round of checks. A round has the worst outcome of its
// checks.
type outcome int

const (
	good outcome = iota
	open         // undecided: a check has not been answered, and has time left
	busy         // served, but not now: 421
	bad
)

func (o outcome) String() string { return [...]string{"good", "open", "busy", "bad"}[o] }

// verdict is the result of one round.
type verdict struct {
	outcome outcome
	reason  string    // why it is not good: the check, and what it met
	began   time.Time // when the round began
	process int       // that answered /readyz; 0: unknown
}

// thresholds are the numbers of rounds that change health. See config.BGPHealth.
type thresholds struct {
	rise     int
	riseTime time.Duration
	fall     int
	busy     time.Duration // config.BGPHealth.Busy
	// strict takes health down with the first bad round, and when another process answers. It
	// applies while a passing desired state is set: a restart that fits between two rounds must be
	// noticed, or the state would hold forever. The announcement can't flap from it, since nothing
	// is announced as usual then.
	strict bool
}

// health is the assessment of the node. The zero health is down until confirmed.
type health struct {
	up     bool
	since  time.Time // when up last changed; zero: before the first round
	reason string    // why it is not up, or what fails at the moment; "" if all is well

	good      int       // rounds in a row, up to the one that made it up
	goodSince time.Time // when the first of them began
	bad       int       // rounds since the last good one
	busySince time.Time // when the first busy round since the last good one began; zero: none
	process   int       // that answered last
}

// doubtful reports that the node is healthy, but the last round was bad.
func (h health) doubtful() bool { return h.up && h.bad > 0 }

// after is health after the next round, which ended now.
func (h health) after(t thresholds, v verdict, now time.Time) health {
	replaced := v.process != 0 && h.process != 0 && v.process != h.process
	if v.process != 0 {
		h.process = v.process
	}
	if t.strict && replaced && v.outcome != bad {
		v.outcome, v.reason = bad, "readyz: anymx-edge was restarted"
	}
	if v.outcome != open && h.since.IsZero() {
		h.since = now
	}
	switch v.outcome {
	case good:
		return h.passed(t, v, now)
	case bad:
		return h.failed(t, v.reason, now)
	case busy:
		if h.busySince.IsZero() {
			h.busySince = v.began
		}
		if busy := now.Sub(h.busySince); busy >= t.busy {
			return h.failed(t, fmt.Sprintf("%s; busy for %s, without a good round", v.reason, busy.Round(time.Second)), now)
		}
		h.reason = v.reason
	}
	return h
}

func (h health) passed(t thresholds, v verdict, now time.Time) health {
	h.bad, h.busySince, h.reason = 0, time.Time{}, ""
	if h.up {
		return h
	}
	if h.good == 0 {
		h.goodSince = v.began
	}
	h.good++
	confirmed := now.Sub(h.goodSince)
	if h.good >= t.rise && confirmed >= t.riseTime {
		h.up, h.since = true, now
		return h
	}
	h.reason = fmt.Sprintf("not confirmed yet: good for %s of %s, %d of %d rounds",
		confirmed.Round(100*time.Millisecond), t.riseTime, min(h.good, t.rise), t.rise)
	return h
}

func (h health) failed(t thresholds, reason string, now time.Time) health {
	h.good, h.reason = 0, reason
	h.bad++
	if h.up && (t.strict || h.bad >= t.fall) {
		h.up, h.since = false, now
	}
	return h
}

// doubted is health that has to be confirmed again.
func (h health) doubted(now time.Time) health {
	return health{process: h.process, since: now, reason: "not confirmed yet since the resume"}
}

// down reports that the node was seen to be down, as opposed to not confirmed yet.
func (h health) down() bool { return !h.up && h.bad > 0 }
