package anycast

import (
	"time"

	"anymx/edge/operate/control"
)

// standing is an order that holds.
type standing struct {
	control.Order
	at   time.Time // zero: nobody has ordered it
	fell bool      // the node was seen to be down since
}

// orders are those that hold. One that is kept holds until the next order; one
// that is not passes when the node was down and has proven its health again,
// and then the kept one before it holds again. A passing order never allows
// more than the kept one: a drained node that is restarted stays drained.
type orders struct {
	kept    standing
	passing standing // without Routes: there is none
	// stopping is the speaker's own, on its way out; "": it is not.
	stopping control.Routes
}

// rank orders what can be told by how much traffic it draws.
func rank(r control.Routes) int {
	switch r {
	case control.Announced:
		return 2
	case control.Graceful:
		return 1
	}
	return 0
}

// inForce is the order that counts.
func (o orders) inForce() standing {
	if o.passes() && rank(o.passing.Routes) <= rank(o.kept.Routes) {
		return o.passing
	}
	return o.kept
}

// passes says whether there is an order that will pass.
func (o orders) passes() bool { return o.passing.Routes != "" }

// with is what holds after one more order, which came at the time.
func (o orders) with(order control.Order, at time.Time) orders {
	switch {
	case !order.Keep:
		o.passing = standing{Order: order, at: at}
	case o.passing.at.After(at): // it was waiting for the disk meanwhile
		o.kept = standing{Order: order, at: at}
	default:
		o.kept, o.passing = standing{Order: order, at: at}, standing{}
	}
	return o
}

// seen is what holds after a look at the node.
func (o orders) seen(h health) orders {
	switch {
	case !o.passes():
	case h.down():
		o.passing.fell = true
	case h.up && o.passing.fell:
		o.passing = standing{}
	}
	return o
}

// decision is what peers are told, and why.
type decision struct {
	routes control.Routes
	reason string
}

// decide makes the routes of what was ordered and of the node's health.
func decide(o orders, h health) decision {
	order := o.inForce()
	switch {
	case o.stopping == control.Withdrawn:
		return decision{control.Withdrawn, "anymx-bgp is stopping"}
	case order.Routes == control.Withdrawn:
		return decision{control.Withdrawn, ordered(order)}
	case !h.up && h.since.IsZero():
		return decision{control.Withdrawn, "not healthy: no check has ended yet"}
	case !h.up:
		return decision{control.Withdrawn, "not healthy: " + h.reason}
	case o.stopping == control.Graceful:
		return decision{control.Graceful, "anymx-bgp is stopping"}
	case order.Routes == control.Graceful:
		return decision{control.Graceful, ordered(order)}
	}
	return decision{control.Announced, "healthy"}
}

// ordered is an order as a reason.
func ordered(s standing) string {
	reason := "ordered"
	if !s.Keep {
		reason = "ordered until the node is back"
	}
	if s.Reason != "" {
		reason += ": " + s.Reason
	}
	return reason
}
