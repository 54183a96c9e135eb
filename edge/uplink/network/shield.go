package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"anymx/edge/config"
	"anymx/edge/operate/api"
	"anymx/edge/refusal"
	"anymx/edge/service"
	"anymx/xdp"
)

// shield is the packet filter in front of ingress, loaded, attached and kept so. Where it can't be,
// packets pass unprotected, everything else goes on, and it is retried.
type shield struct {
	log  *slog.Logger
	want func() (shieldPlan, error) // from the config in force

	busy      sync.Mutex // held during a change; guards the fields below
	plan      shieldPlan
	commanded xdp.Mode    // the mode set by a command, until the next reload; empty: as planned
	opened    xdp.Options // the options that loaded was opened with
	stop      func()      // ends loaded's Run, and returns when it has; nil: it does not run
	lists     *lists
	problem   error     // why the plan is not in force
	attempted time.Time // when the plan was last enforced
	ended     bool

	mu     sync.RWMutex // read-held by whoever uses loaded without busy
	loaded *xdp.Shield  // nil: not loaded
	report shieldReport
}

// shieldReport is status's copy of what busy guards, since busy may be held for long.
type shieldReport struct {
	options xdp.Options
	problem error // of anything but what loaded reports itself
	off     bool  // nothing is wanted, so nothing is loaded
}

// newShield makes a shield that is not loaded, which its status says. dir stores what commands have
// listed.
func newShield(log *slog.Logger, dir string, want func() (shieldPlan, error)) *shield {
	s := &shield{log: log, want: want, lists: openLists(listFile(filepath.Join(dir, "lists.json")), log, time.Now())}
	s.plan, s.problem = want() // as far as it is valid
	if s.problem == nil && !s.idle() {
		s.problem = errors.New("it is being loaded")
	}
	s.updateReport()
	return s
}

// start loads the shield as far as possible.
func (s *shield) start() {
	s.busy.Lock()
	defer s.busy.Unlock()
	plan, err := s.want()
	s.plan = plan // as far as it is valid: status shows it
	s.setListFiles()
	_ = s.enforce(err) // logged, reported, and retried
}

// setListFiles switches the lists to the files of the plan.
func (s *shield) setListFiles() {
	var err error
	if s.lists.allow, s.lists.block, err = s.lists.prepare(s.plan.allow, s.plan.block); err != nil {
		s.log.Error("a prefix list is invalid; none of it is in force", "err", err)
	}
}

// prepare reads what a config names, including the key and the lists under new names, and returns
// an error if any of it is invalid.
func (s *shield) prepare(c *config.Config) (shieldPlan, error) {
	plan, err := shieldWants(c)
	if err == nil {
		err = plan.unkeyed
	}
	if err == nil {
		s.busy.Lock()
		defer s.busy.Unlock()
		_, _, err = s.lists.prepare(plan.allow, plan.block)
	}
	return plan, err
}

// apply puts a plan into force. A change of limits is one write; one of interfaces or mode loads
// the programs again, replacing those attached.
func (s *shield) apply(plan shieldPlan) {
	s.busy.Lock()
	defer s.busy.Unlock()
	s.plan, s.commanded = plan, ""
	s.lists.broken = nil
	s.setListFiles()
	_ = s.enforce(nil) // logged, reported, and retried
	if s.loaded != nil {
		_ = s.lists.enforceAll(s.loaded) // logged, reported, and retried
	}
	s.updateReport()
}

// options returns those in force: the plan's, with the mode that a command set.
func (s *shield) options() xdp.Options {
	o := s.plan.options
	if s.commanded != "" {
		o.Mode = s.commanded
	}
	return o
}

// enforce puts the plan into force. unplanned is why there is none. It returns why the plan is not
// in force; a missing key does not prevent that. The caller holds busy.
func (s *shield) enforce(unplanned error) error {
	s.attempted = time.Now()
	err := unplanned
	switch {
	case s.ended || err != nil || s.idle():
	case s.loaded == nil || !alike(s.opened, s.options()):
		err = s.replace()
	default:
		err = s.loaded.Configure(s.plan.settings)
	}
	problem := oneLine([]error{err, s.plan.unkeyed})
	if problem != nil && (s.problem == nil || s.problem.Error() != problem.Error()) {
		s.log.Error("shield setup failed, retrying", "err", problem, "loaded", s.loaded != nil)
	}
	s.problem = problem
	s.updateReport()
	return err
}

// idle reports that nothing is wanted and nothing exists, so that nothing needs to be loaded.
func (s *shield) idle() bool {
	if s.loaded != nil || s.options().Mode != xdp.Off {
		return false
	}
	pinned, err := pinnedOn(s.options().Pins)
	return err == nil && len(pinned) == 0
}

// replace loads the programs, and closes the previous ones once the new ones are attached in their
// place. The shield's status reports what can't be attached, and its Run retries it.
func (s *shield) replace() error {
	if s.stop != nil {
		s.stop() // it would attach with the previous options
		s.stop = nil
	}
	options := s.options()
	next, err := s.load(options)
	if err != nil {
		s.work()
		return err
	}
	if err := next.Attach(); err != nil {
		s.log.Error("shield not attached, packets pass unprotected", "err", err)
	}
	s.mu.Lock()
	before := s.loaded
	s.loaded, s.opened = next, options
	s.mu.Unlock()
	if before != nil {
		if err := before.Close(); err != nil {
			s.log.Error("closing the previous shield failed", "err", err)
		}
	}
	s.work()
	s.log.Info("shield loaded", "interfaces", options.Interfaces, "mode", options.Mode)
	return nil
}

// load opens a shield that has all its rules and is not attached yet.
func (s *shield) load(options xdp.Options) (*xdp.Shield, error) {
	options.Log = s.log
	next, err := xdp.Open(options)
	if err != nil {
		return nil, explainPins(err, options.Pins)
	}
	if err := next.Configure(s.plan.settings); err != nil {
		return nil, errors.Join(err, next.Close())
	}
	_ = s.lists.enforceAll(next) // logged, reported, and retried
	return next, nil
}

// work starts the tasks that a loaded shield needs a process for; stop ends them. The caller holds
// busy.
func (s *shield) work() {
	if s.loaded == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	loaded := s.loaded
	running.Go(func() {
		if err := loaded.Run(ctx); err != nil {
			s.log.Error("shield failed", "err", err)
		}
	})
	s.stop = func() {
		cancel()
		running.Wait()
	}
}

// run checks the lists, and retries what failed, until ctx ends. What is pinned keeps protecting.
func (s *shield) run(ctx context.Context) {
	tick := time.NewTicker(service.WatchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			s.end()
			return
		case <-tick.C:
			s.look(time.Now())
		}
	}
}

func (s *shield) end() {
	s.busy.Lock()
	defer s.busy.Unlock()
	s.ended = true
	if s.stop != nil {
		s.stop()
	}
	s.mu.Lock()
	loaded := s.loaded
	s.loaded = nil
	s.mu.Unlock()
	if loaded == nil {
		return
	}
	if err := loaded.Close(); err != nil {
		s.log.Error("closing the shield failed", "err", err)
	}
}

func (s *shield) look(now time.Time) {
	s.busy.Lock()
	defer s.busy.Unlock()
	touched, first := s.lists.look(now)
	switch { // failures are logged, reported, and retried
	case s.loaded == nil:
	case first:
		_ = s.lists.enforceAll(s.loaded)
	case len(touched) > 0:
		_ = s.lists.enforce(s.loaded, touched)
	}
	if now.Sub(s.attempted) >= again {
		if s.problem != nil {
			plan, err := s.want()
			if err == nil {
				s.plan = plan
			}
			_ = s.enforce(err) // logged, reported, and retried
		}
		if s.loaded != nil && s.lists.fault != nil {
			s.attempted = now
			_ = s.lists.enforceAll(s.loaded)
		}
	}
	s.updateReport()
}

// updateReport updates what status returns. The caller holds busy.
func (s *shield) updateReport() {
	t := shieldReport{options: s.options(), problem: oneLine([]error{s.problem, s.lists.problem()}), off: s.idle()}
	if s.loaded == nil && !t.off {
		pinned, err := pinnedOn(t.options.Pins)
		state := errors.New("not loaded: packets pass unprotected")
		if len(pinned) > 0 && err == nil {
			state = fmt.Errorf("not loaded: the programs pinned on %v by an earlier process keep running with their old rules and keys", pinned)
		}
		t.problem = oneLine([]error{state, t.problem})
	}
	s.mu.Lock()
	s.report = t
	s.mu.Unlock()
}

// setMode runs a command. If fewer interfaces would be protected than before, nothing changes;
// other problems are in the status.
func (s *shield) setMode(text string) error {
	mode, err := parseMode(text)
	if err != nil {
		return refusal.Invalid.Wrap(err)
	}
	s.busy.Lock()
	defer s.busy.Unlock()
	was, before := s.commanded, s.protected()
	s.commanded = mode
	err = s.enforce(nil)
	if s.protected() >= before || mode == xdp.Off && err == nil {
		return refusal.Unavailable.Wrap(err)
	}
	if err == nil {
		err = s.fault()
	}
	s.commanded = was
	_ = s.enforce(nil) // what is wrong with it was so before
	return refusal.Unavailable.Errorf("the mode stays %s: %w", s.options().Mode, err)
}

// protected returns the number of interfaces with a filter.
func (s *shield) protected() (n int) {
	if s.loaded == nil {
		return 0
	}
	st, err := s.loaded.Status()
	if err != nil {
		return 0
	}
	for _, i := range st.Interfaces {
		if i.Mode != xdp.Off {
			n++
		}
	}
	return n
}

// fault is the first attachment that failed.
func (s *shield) fault() error {
	if s.loaded == nil {
		return errors.New("the shield is not loaded")
	}
	st, err := s.loaded.Status()
	if err != nil {
		return err
	}
	for _, i := range st.Interfaces {
		if i.Problem != "" {
			return errors.New(i.Problem)
		}
	}
	return errors.New("it would protect fewer interfaces than before")
}

// list runs a command: its entry is stored, and in force if the error is nil.
func (s *shield) list(e api.ShieldEntry) (api.ShieldEntry, error) {
	s.busy.Lock()
	defer s.busy.Unlock()
	e, err := s.lists.list(e, time.Now())
	if err != nil {
		return e, err
	}
	return e, s.enforcePrefix(e.Prefix, "stored on the list, but not in force")
}

// unlist runs a command. It reports whether an entry was removed.
func (s *shield) unlist(p netip.Prefix) (bool, error) {
	p, err := checkPrefix(p)
	if err != nil {
		return false, refusal.Invalid.Wrap(err)
	}
	s.busy.Lock()
	defer s.busy.Unlock()
	removed, err := s.lists.unlist(p)
	if err != nil {
		return false, err
	}
	if !removed && s.loaded != nil { // in the kernel, but on no list
		return s.loaded.Unlist(p)
	}
	return removed, s.enforcePrefix(p, "removed from the list")
}

// enforcePrefix brings one prefix into force; but describes the state if that fails.
func (s *shield) enforcePrefix(p netip.Prefix, but string) error {
	defer s.updateReport()
	switch {
	case s.loaded != nil:
		return refusal.Unavailable.Wrap(s.lists.enforce(s.loaded, []netip.Prefix{p}))
	case s.idle():
		return nil
	case s.problem != nil:
		return refusal.Unavailable.Errorf("%s: %s; the shield is not loaded: %w", p, but, s.problem)
	}
	return refusal.Unavailable.Errorf("%s: %s; the shield is not loaded", p, but)
}

// entries returns all that is listed.
func (s *shield) entries() []api.ShieldEntry {
	s.busy.Lock()
	defer s.busy.Unlock()
	var have []xdp.Listed
	if s.loaded != nil {
		have = s.loaded.Lists()
	}
	return s.lists.entries(have)
}
