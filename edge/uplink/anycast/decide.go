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
func (o desiredStates) inForce() desired {
	if o.passes() && rank(o.passing.Routes) <= rank(o.lasting.Routes) {
		return o.passing
	}
	return o.lasting
}

// passes reports whether a passing one is set.
func (o desiredStates) passes() bool { return o.passing.Routes != "" }

// with adds a desired state that came at the given time.
func (o desiredStates) with(order api.DesiredState, at time.Time) desiredStates {
	switch {
	case !order.Keep:
		o.passing = desired{DesiredState: order, at: at}
	case o.passing.at.After(at): // it was waiting for the disk meanwhile
		o.lasting = desired{DesiredState: order, at: at}
	default:
		o.lasting, o.passing = desired{DesiredState: order, at: at}, desired{}
	}
	return o
}

// seen updates the desiredStates after a look at the node's health.
func (o desiredStates) seen(h health) desiredStates {
	switch {
	case !o.passes():
	case h.down():
		o.passing.fell = true
	case h.up && o.passing.fell:
		o.passing = desired{}
	}
	return o
}

// decision is what peers are sent, and why.
type decision struct {
	routes api.Routes
	reason string
}

// decide derives the routes from the desired state and the node's health.
func decide(o desiredStates, h health) decision {
	state := o.inForce()
	switch {
	case o.stopping == api.Withdrawn:
		return decision{api.Withdrawn, "anymx-bgp is stopping"}
	case state.Routes == api.Withdrawn:
		return decision{api.Withdrawn, commanded(state)}
	case !h.up && h.since.IsZero():
		return decision{api.Withdrawn, "not healthy: no check has ended yet"}
	case !h.up:
		return decision{api.Withdrawn, "not healthy: " + h.reason}
	case o.stopping == api.Graceful:
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
