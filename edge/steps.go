package edge

import (
	"fmt"
	"strings"
	"time"

	"anymx/edge/config"
	"anymx/edge/operate/api"
	"anymx/edge/queue"
)

// This file is pure: which steps a drain has, how long each may take, and what
// is to be said of it.

// steps are those of a drain, in order.
var steps = []api.DrainStep{
	api.StepGraceful, api.StepWithdraw, api.StepConverge, api.StepSessions, api.StepFlush,
}

// course is what a walk's steps are decided from. It is looked at anew before
// each step, so that a change of the config applies to what is left.
type course struct {
	limits config.Drain
	// routes says that there is a speaker to be ordered.
	routes bool
	// attracts says that clients may still be on their way to this node: it
	// takes them, and its routes were not withdrawn before the walk began.
	attracts bool
	// now says that the operator, or a failure, leaves no time to be graceful.
	now bool
	// stopping says that the process ends: it has grace for all steps together,
	// and left of it is left.
	stopping    bool
	grace, left time.Duration
}

// takes says how long a step may take, and whether it is walked at all.
func (c *course) takes(step api.DrainStep) (limit time.Duration, walked bool) {
	switch step {
	case api.StepGraceful:
		limit = c.share(c.limits.Graceful)
		return limit, c.routes && c.attracts && !c.now && limit > 0
	case api.StepWithdraw:
		return c.share(c.limits.Confirm), c.routes
	case api.StepConverge:
		limit = c.share(c.limits.Converge)
		return limit, c.routes && c.attracts && !(c.stopping && c.now) && limit > 0
	case api.StepSessions:
		limit = time.Duration(c.limits.Sessions)
	case api.StepFlush:
		limit = time.Duration(c.limits.Flush)
	}
	if c.stopping {
		limit = max(c.left, 0)
	}
	return limit, true
}

// share is the time of a step that deals with routes: while stopping at most a
// quarter of the grace, so that sessions and spool get the larger part.
func (c *course) share(d config.Duration) time.Duration {
	if c.stopping {
		return min(time.Duration(d), c.grace/4)
	}
	return time.Duration(d)
}

// withdrawn says whether no router draws traffic to this node any more: every
// one that has a session has acknowledged the withdrawal.
func withdrawn(s *api.SpeakerStatus) bool {
	if s == nil || s.Routes != api.Withdrawn {
		return false
	}
	confirmed, established := s.Confirmed()
	return confirmed == established
}

// obeys says whether the speaker's order is the one that is wanted.
func obeys(s *api.SpeakerStatus, wanted *api.Order) bool {
	return s.Order.Routes == wanted.Routes && (s.Order.Keep || !wanted.Keep || wanted.Routes == api.Announced)
}

// routesNote says why routes are not as ordered; "" if they are.
func routesNote(n *api.Neighbour[api.SpeakerStatus], wanted *api.Order) string {
	switch s := n.Status; {
	case n.Problem != "":
		return n.Problem
	case s == nil:
		return "the speaker has not answered yet"
	case !obeys(s, wanted):
		return fmt.Sprintf("the speaker has not taken the order %q", wanted.Routes)
	case wanted.Routes != api.Withdrawn || withdrawn(s):
		return ""
	case s.Routes != api.Withdrawn:
		return fmt.Sprintf("the routes are still %s: %s", s.Routes, s.Reason)
	default:
		var silent []string
		for _, p := range s.Peers {
			if p.State == "Established" && !p.Confirmed {
				silent = append(silent, p.Address.String())
			}
		}
		return "not acknowledged by " + strings.Join(silent, ", ")
	}
}

// maxOrderReason is how much of a reason an order has, in octets; a speaker takes more.
const maxOrderReason = 200

// orderReason is a drain's reason as the speaker takes it.
func orderReason(reason string) string {
	if reason == "" {
		return "drain"
	}
	return strings.ToValidUTF8(reason[:min(len(reason), maxOrderReason)], "")
}

// cutNote says that sessions did not end by themselves.
func cutNote(cut int) string {
	if cut == 0 {
		return ""
	}
	return fmt.Sprintf("%s cut", count(cut, "session was", "sessions were"))
}

// flushNote says what is left in the spool.
func flushNote(left *queue.Stats) string {
	messages := left.Messages()
	if messages == 0 {
		return ""
	}
	note := count(messages, "message is", "messages are") + " left"
	switch {
	case left.Held == messages:
		return note + ", on hold"
	case left.Held > 0:
		note += fmt.Sprintf(", %d of them on hold", left.Held)
	}
	if left.Paused != nil {
		note += ": " + left.Paused.Cause.Error()
	}
	return note
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// flushed says whether nothing is left but what waits for the operator.
func flushed(s *queue.Stats) bool { return s.Messages() == s.Held }

// The pauses between two tries of a whole spool while it is being handed over.
const (
	flushPause    = time.Second
	flushPauseMax = 15 * time.Second
)

// nextFlush is the pause behind one of d.
func nextFlush(d time.Duration) time.Duration {
	return min(max(2*d, flushPause), flushPauseMax)
}
