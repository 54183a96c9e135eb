package poll

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
)

// Speaker polls the BGP speaker, and sends it the node's desired state until it has taken it, and
// again whenever it turns out to have another one.
type Speaker struct {
	*Program[api.SpeakerStatus]
	client *control.SpeakerClient

	mu      sync.Mutex
	desired *api.DesiredState // nil: the node desires nothing
	taken   bool              // by the speaker
}

// NewSpeaker makes what polls anymx-bgp at its control socket.
func NewSpeaker(socket string, log *slog.Logger) *Speaker {
	s := &Speaker{client: control.NewSpeakerClient(socket)}
	s.Program = newProgram("anymx-bgp", log, s.sendOrAsk, s.client.Close)
	return s
}

// Desire makes d what the node desires, from now on unless d says since when.
func (s *Speaker) Desire(d api.DesiredState) {
	if d.Given.IsZero() {
		d.Given = time.Now()
	}
	s.mu.Lock()
	s.desired, s.taken = &d, false
	s.mu.Unlock()
	s.askNow()
}

// Desired returns what the node desires, and whether the speaker has taken it. It is nil while the
// node desires nothing: Desire was never called, or the speaker has taken the command to announce.
func (s *Speaker) Desired() (d *api.DesiredState, taken bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.desired, s.taken
}

// recordTaken notes that the speaker has taken d. A command to announce ends with that: what
// others want of the speaker later is between it and them.
func (s *Speaker) recordTaken(d *api.DesiredState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.desired != d {
		return // the node desires another state by now
	}
	s.taken = true
	if d.Routes == api.Announced {
		s.desired = nil
	}
}

// recordOvertaken notes that the speaker has a later command than d, which somebody gave it while
// this node was away. An old command to announce ends there. A command that keeps routes back is
// sent again with the time of now, because it is what the node needs now.
func (s *Speaker) recordOvertaken(d *api.DesiredState) {
	s.log.Warn("anymx-bgp has a later command", "routes", d.Routes, "given", d.Given)
	if d.Routes == api.Announced {
		s.recordTaken(d)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.desired == d {
		again := *d
		again.Given = time.Now()
		s.desired, s.taken = &again, false
	}
}

// sendOrAsk sends the desired state if the speaker does not have it, and else asks for the status.
func (s *Speaker) sendOrAsk(ctx context.Context) (api.SpeakerStatus, error) {
	d, taken := s.Desired()
	if d == nil || taken {
		status, err := s.client.Status(ctx)
		if err != nil || d == nil || status.Obeys(d) {
			return status, err
		}
	}
	status, err := s.client.SetDesired(ctx, *d)
	if errors.Is(err, &api.Error{Code: api.Superseded}) {
		s.recordOvertaken(d)
		return s.client.Status(ctx)
	}
	if err != nil {
		return status, fmt.Errorf("the speaker has not taken the command %q: %w", d.Routes, err)
	}
	s.recordTaken(d)
	return status, nil
}
