package anycast

import (
	"time"

	"anymx/edge/operate/api"
)

// standing is an order that holds.
type standing struct {
	api.Order
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
	stopping api.Routes
}

// rank orders what can be told by how much traffic it draws.
func rank(r api.Routes) int {
	switch r {
	case api.Announced:
		return 2
	case api.Graceful:
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
func (o orders) with(order api.Order, at time.Time) orders {
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
	routes api.Routes
	reason string
}

// decide makes the routes of what was ordered and of the node's health.
func decide(o orders, h health) decision {
	order := o.inForce()
	switch {
	case o.stopping == api.Withdrawn:
		return decision{api.Withdrawn, "anymx-bgp is stopping"}
	case order.Routes == api.Withdrawn:
		return decision{api.Withdrawn, ordered(order)}
	case !h.up && h.since.IsZero():
		return decision{api.Withdrawn, "not healthy: no check has ended yet"}
	case !h.up:
		return decision{api.Withdrawn, "not healthy: " + h.reason}
	case o.stopping == api.Graceful:
		return decision{api.Graceful, "anymx-bgp is stopping"}
	case order.Routes == api.Graceful:
		return decision{api.Graceful, ordered(order)}
	}
	return decision{api.Announced, "healthy"}
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
