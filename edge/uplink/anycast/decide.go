package anycast

import (
	"time"

	"anymx/edge/operate/api"
)

// desired is a desired state that is set.
type desired struct {
	api.DesiredState
	at   time.Time // zero: never set
	fell bool      // the node was down since
}

// desiredStates are those that are set. A kept one holds until the next one; a passing one ends when the
// node was down and has been confirmed healthy again, and then the kept one before it holds again.
// A passing one never allows more than the kept one: a drained node that restarts stays drained.
type desiredStates struct {
	lasting desired
	passing desired // without Routes: none
	// stopping is the speaker's own state during shutdown; "": it is not shutting down.
	stopping api.Routes
}

// rank sorts routes by how much traffic they draw.
func rank(r api.Routes) int {
	switch r {
	case api.Announced:
		return 2
	case api.Graceful:
		return 1
	}
	return 0
}

// inForce returns the one that counts.
func (d desiredStates) inForce() desired {
	if d.passes() && rank(d.passing.Routes) <= rank(d.lasting.Routes) {
		return d.passing
	}
	return d.lasting
}

// passes reports whether a passing one is set.
func (d desiredStates) passes() bool { return d.passing.Routes != "" }

// with adds a desired state that came at the given time.
func (d desiredStates) with(next api.DesiredState, at time.Time) desiredStates {
	switch {
	case !next.Keep:
		d.passing = desired{DesiredState: next, at: at}
	case d.passing.at.After(at): // it was waiting for the disk meanwhile
		d.lasting = desired{DesiredState: next, at: at}
	default:
		d.lasting, d.passing = desired{DesiredState: next, at: at}, desired{}
	}
	return d
}

// seen updates the desiredStates after a look at the node's health.
func (d desiredStates) seen(h health) desiredStates {
	switch {
	case !d.passes():
	case h.down():
		d.passing.fell = true
	case h.up && d.passing.fell:
		d.passing = desired{}
	}
	return d
}

// decision is what peers are sent, and why.
type decision struct {
	routes api.Routes
	reason string
}

// decide derives the routes from the desired state and the node's health.
func decide(d desiredStates, h health) decision {
	state := d.inForce()
	switch {
	case d.stopping == api.Withdrawn:
		return decision{api.Withdrawn, "anymx-bgp is stopping"}
	case state.Routes == api.Withdrawn:
		return decision{api.Withdrawn, commanded(state)}
	case !h.up && h.since.IsZero():
		return decision{api.Withdrawn, "not healthy: no check has ended yet"}
	case !h.up:
		return decision{api.Withdrawn, "not healthy: " + h.reason}
	case d.stopping == api.Graceful:
		return decision{api.Graceful, "anymx-bgp is stopping"}
	case state.Routes == api.Graceful:
		return decision{api.Graceful, commanded(state)}
	}
	return decision{api.Announced, "healthy"}
}

// commanded formats a desired state as a reason.
func commanded(s desired) string {
	reason := "by command"
	if !s.Keep {
		reason = "by command until the node is back"
	}
	if s.Reason != "" {
		reason += ": " + s.Reason
	}
	return reason
}
