package rescue

import (
	"context"
	"os"
	"time"

	"anymx/edge/mail"
	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/refusal"
	"anymx/edge/spool"
	"anymx/edge/spool/salvage"
)

// This file answers the control socket.
var _ control.Node = (*Server)(nil)

// refuse returns the answer to requests that need a node: the damage.
func (s *Server) refuse() error {
	return refusal.Unavailable.Wrap(s.options.Unsound)
}

// Status describes a node that is stuck in its start.
func (s *Server) Status(context.Context) api.Status {
	c := s.options.Config
	return api.Status{
		Name: c.Node.Name, Region: c.Node.Region, Hostname: c.Node.Hostname, PID: os.Getpid(),
		Phase: api.Starting, Since: s.started, Started: s.started,
		Spool:  api.SpoolStatus{Reason: "damaged", Problem: s.options.Unsound.Error()},
		Config: &api.ConfigStatus{File: s.options.File, Loaded: s.started}, Clock: s.options.Clock.Status(), Degraded: s.degraded.List(),
	}
}

// Ready returns the reason.
func (s *Server) Ready(context.Context) error { return s.options.Unsound }

// Reload changes nothing: the config is read when the spool is opened.
func (s *Server) Reload(context.Context) (api.Reloaded, error) {
	return api.Reloaded{}, s.refuse()
}

// List refuses.
func (s *Server) List(context.Context, api.QueueQuery) (api.QueuePage, error) {
	return api.QueuePage{}, s.refuse()
}

// Summary refuses.
func (s *Server) Summary(context.Context, int) (api.QueueSummary, error) {
	return api.QueueSummary{}, s.refuse()
}

// Show refuses.
func (s *Server) Show(context.Context, mail.ID) (api.QueueDetail, error) {
	return api.QueueDetail{}, s.refuse()
}

// Change refuses.
func (s *Server) Change(context.Context, api.Action, []mail.ID, string) (api.Outcome, error) {
	return api.Outcome{}, s.refuse()
}

// Drain refuses: nothing is in service, and nothing can be handed over.
func (s *Server) Drain(context.Context, api.DrainRequest) error { return s.refuse() }

// Resume refuses.
func (s *Server) Resume(context.Context) error { return s.refuse() }

// SelfTest fails.
func (s *Server) SelfTest(context.Context) (api.SelfTest, error) { return api.SelfTest{}, s.refuse() }

// CheckSpool checks the damaged spool.
func (s *Server) CheckSpool(context.Context) (api.SpoolReport, error) {
	if !s.working.TryLock() {
		return api.SpoolReport{}, salvage.ErrBusy
	}
	defer s.working.Unlock()
	report, err := salvage.Check(s.options.Unsound.Dir)
	if err == nil && report.Sound() {
		report.Problems = append(report.Problems, s.options.Unsound.Problems...)
	}
	return report, err
}

// SetSpoolAside moves the damaged spool away, and triggers the opening of a new one.
func (s *Server) SetSpoolAside(context.Context) (string, error) {
	if !s.working.TryLock() {
		return "", salvage.ErrBusy
	}
	defer s.working.Unlock()
	to, err := spool.SetAside(s.options.Unsound.Dir, time.Now())
	if err != nil {
		return "", err
	}
	s.log.Warn("the damaged spool was set aside", "to", to)
	select {
	case s.aside <- struct{}{}:
	default:
	}
	return to, nil
}

// ExportSpool writes the damaged spool, and what was set aside before, to folders beside it.
func (s *Server) ExportSpool(_ context.Context, each func(api.SpoolMessage)) (api.SpoolExport, error) {
	if !s.working.TryLock() {
		return api.SpoolExport{}, salvage.ErrBusy
	}
	defer s.working.Unlock()
	return salvage.ExportAside(s.options.Unsound.Dir, true, int64(s.options.Config.Spool.DiskReserve), each)
}
