package handoff

import (
	"time"

	"anymx/edge/mail"
)

// This file is pure: whether an address may be used.

// Health is how an address of core does.
type Health string

// The states of an address.
const (
	Unused  Health = "unused"  // nothing was tried there yet
	Up      Health = "up"      // the last session could be opened
	Down    Health = "down"    // it is left alone until RetryAt
	Probing Health = "probing" // one connection finds out
)

const (
	backoffMin = time.Second
	// maxBreaks is after how many different messages in a row that met a broken connection an address
	// counts as down.
	maxBreaks = 3
	// restAfter is after how many different messages in a row that broke their connection, although the
	// address had accepted a recipient, it is left alone for restFor: they may all be poison, and the next
	// one good.
	restAfter = 20
	restFor   = time.Second
)

// health is the state of one address.
type health struct {
	state   Health
	changed time.Time // to state
	retryAt time.Time // while Down
	fails   int       // in a row, for the backoff
	breaks  int       // messages in a row that met a broken connection
	poison  int       // messages in a row that broke it after a recipient was accepted
	broke   mail.ID   // the last of them
}

// usable says whether a message may go there at now. One that finds the pause
// over makes it a probe.
func (h *health) usable(now time.Time) bool {
	switch h.state {
	case Down:
		if now.Before(h.retryAt) {
			return false
		}
		h.to(Probing, now)
		return true
	case Probing:
		return false
	}
	return true
}

func (h *health) to(state Health, now time.Time) {
	h.state, h.changed = state, now
}

// opened takes a session that was opened. It tells whether the address was
// down.
func (h *health) opened(now time.Time) (back bool) {
	back = h.state == Probing || h.state == Down
	if h.state != Up {
		h.to(Up, now)
	}
	return back
}

// failed takes a session, begun at began, that could not be opened. dice is of
// [0, 1). A failure of what began before the last change says nothing new; it
// tells whether this one did.
func (h *health) failed(began, now time.Time, most time.Duration, dice float64) (down bool) {
	if h.state == Down || h.state == Up && began.Before(h.changed) {
		return false
	}
	wait := min(backoffMin<<min(h.fails, 20), most)
	h.fails++
	h.retryAt = now.Add(time.Duration(float64(wait) * (0.75 + dice/2)))
	h.breaks = 0
	h.to(Down, now)
	return true
}

// hasten ends the pause.
func (h *health) hasten(now time.Time) {
	if h.state == Down && h.retryAt.After(now) {
		h.retryAt = now
	}
}

// forgo gives a probe up without an answer, as when its time was cancelled.
func (h *health) forgo(now time.Time) {
	if h.state == Probing {
		h.to(Down, now) // with its time already come
	}
}

// broken takes a message on whose way the connection broke or fell silent, and
// tells whether it is one too many: the third, or the first since the address
// came back.
func (h *health) broken(id mail.ID) bool {
	if h.breaks > 0 && h.broke == id {
		return false // it may be the message's own doing
	}
	h.broke = id
	h.breaks++
	return h.breaks >= maxBreaks || h.fails > 0
}

// poisoned notes a message that broke its connection after the address had accepted a recipient of it, which
// shows that the address is up. It reports whether the address rests now.
func (h *health) poisoned(id mail.ID, now time.Time) (rests bool) {
	h.breaks, h.fails = 0, 0
	if h.poison > 0 && h.broke == id {
		return false
	}
	h.broke = id
	if h.poison++; h.poison%restAfter != 0 || h.state != Up {
		return false
	}
	h.retryAt = now.Add(restFor)
	h.to(Down, now)
	return true
}

// worked notes a message that was answered: the address is up.
func (h *health) worked(now time.Time) {
	h.fails, h.breaks, h.poison = 0, 0, 0
	if h.state == Down || h.state == Probing { // a kept connection may be the probe
		h.to(Up, now)
	}
}
