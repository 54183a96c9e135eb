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

// Speaker polls the BGP speaker. It sends the node's desired state until the speaker has accepted
// it, and again whenever the speaker turns out to have another one.
type Speaker struct {
	*Program[api.SpeakerStatus]
	client *control.SpeakerClient

	mu      sync.Mutex
	desired *api.DesiredState // nil: the node desires nothing
	taken   bool              // by the speaker
}

// NewSpeaker returns a Speaker that polls anymx-bgp at its control socket.
func NewSpeaker(socket string, log *slog.Logger) *Speaker {
	s := &Speaker{client: control.NewSpeakerClient(socket)}
	s.Program = newProgram("anymx-bgp", log, s.sendOrAsk, s.client.Close)
	return s
}

// Desire sets the node's desired state. It counts from now unless d says since when.
func (s *Speaker) Desire(d api.DesiredState) {
	if d.Given.IsZero() {
		d.Given = time.Now()
	}
	s.mu.Lock()
	s.desired, s.taken = &d, false
	s.mu.Unlock()
	s.askNow()
}

// Desired returns the node's desired state, and whether the speaker has accepted it. It is nil
// while the node desires nothing: Desire was never called, or the speaker has accepted the command
// to announce.
func (s *Speaker) Desired() (d *api.DesiredState, taken bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.desired, s.taken
}

// recordTaken notes that the speaker has accepted d. That completes a command to announce: commands
// that others give the speaker later are not the node's concern.
func (s *Speaker) recordTaken(d *api.DesiredState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.desired != d {
		return // the desired state has changed meanwhile
	}
	s.taken = true
	if d.Routes == api.Announced {
		s.desired = nil
	}
}

// recordOvertaken notes that the speaker has a later command than d, given while this node was
// away. That cancels an old command to announce. A command that withholds routes is sent again with
// the current time, because the node needs it now.
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

// sendOrAsk sends the desired state if the speaker does not have it; otherwise it asks for the
// status.
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
