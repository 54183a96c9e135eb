package drain

import (
	"fmt"
	"strings"
	"time"

	"anymx/edge/config"
	"anymx/edge/operate/api"
	"anymx/edge/queue"
)

// This file is pure: it holds the steps of a drain run, their time limits, and the notes on them.

// steps lists the steps of a drain, in order.
var steps = []api.DrainStep{
	api.StepGraceful, api.StepWithdraw, api.StepConverge, api.StepSessions, api.StepFlush,
}

// stepInput is the input for planning the steps of a run.
type stepInput struct {
	limits config.Drain
	// routes says that there is a speaker to withdraw them.
	routes bool
	// attracts says that clients may still be on their way to this node: it serves them, and its
	// routes were not withdrawn before the run began.
	attracts bool
	// hasty says that the operator, or a failure, leaves no time to be graceful.
	hasty bool
	// stopping says that the process ends: it has grace for all steps together, of which left is
	// left.
	stopping    bool
	grace, left time.Duration
}

// plan returns how long a step may take, and whether the run takes it.
func (c *stepInput) plan(step api.DrainStep) (limit time.Duration, taken bool) {
	switch step {
	case api.StepGraceful:
		limit = c.share(c.limits.Graceful)
		return limit, c.routes && c.attracts && !c.hasty && limit > 0
	case api.StepWithdraw:
		return c.share(c.limits.Confirm), c.routes
	case api.StepConverge:
		limit = c.share(c.limits.Converge)
		return limit, c.routes && c.attracts && !(c.stopping && c.hasty) && limit > 0
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

// share returns the time limit of a step that deals with routes: while stopping at most a quarter
// of the grace, so that sessions and spool get the larger part.
func (c *stepInput) share(d config.Duration) time.Duration {
	if c.stopping {
		return min(time.Duration(d), c.grace/4)
	}
	return time.Duration(d)
}

// withdrawn reports whether no router sends traffic to this node any more: each one with a session
// has acknowledged the withdrawal.
func withdrawn(s *api.SpeakerStatus) bool {
	if s == nil || s.Routes != api.Withdrawn {
		return false
	}
	confirmed, established := s.Confirmed()
	return confirmed == established
}

// routesNote says why the routes are not as wanted; "" if they are.
func routesNote(n *api.Neighbour[api.SpeakerStatus], wanted *api.DesiredState) string {
	switch s := n.Status; {
	case n.Problem != "":
		return n.Problem
	case s == nil:
		return "the speaker has not answered yet"
	case !s.Obeys(wanted):
		return fmt.Sprintf("the speaker has not taken the command %q", wanted.Routes)
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

// maxReason bounds the reason that the speaker gets, in bytes; the speaker accepts more.
const maxReason = 200

// shortReason returns the reason of a drain, cut for the speaker.
func shortReason(reason string) string {
	if reason == "" {
		return "drain"
	}
	return strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "")
}

// cutNote returns the note on sessions that were cut.
func cutNote(cut int) string {
	if cut == 0 {
		return ""
	}
	return fmt.Sprintf("%s cut", count(cut, "session was", "sessions were"))
}

// flushNote returns the note on what is left in the spool.
func flushNote(left *queue.Stats) string {
	messages := left.Legs()
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
	if len(left.Paused) > 0 {
		note += ": " + left.Paused[0].Cause.Error()
	}
	return note
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// flushed reports whether only messages on hold are left.
func flushed(s *queue.Stats) bool { return s.Legs() == s.Held }

// The pauses between two attempts to hand the whole spool over.
const (
	flushPause    = time.Second
	flushPauseMax = 15 * time.Second
)

// nextFlush returns the pause that follows a pause of d.
func nextFlush(d time.Duration) time.Duration {
	return min(max(2*d, flushPause), flushPauseMax)
}
