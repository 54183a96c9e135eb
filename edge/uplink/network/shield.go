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
	"anymx/edge/service"
	"anymx/xdp"
)

// shield is the packet filter in front of ingress, loaded, attached and held so.
// Where it can't be, packets pass unprotected, everything else goes on, and it is
// tried again.
type shield struct {
	log  *slog.Logger
	want func() (shieldPlan, error) // by the config in force

	busy    sync.Mutex // held while anything is changed; of what follows
	plan    shieldPlan
	ordered xdp.Mode    // by a command, until the next reload; empty: as planned
	opened  xdp.Options // what loaded was opened with
	stop    func()      // ends loaded's Run, and returns when it has; nil: it does not run
	lists   *lists
	problem error     // why the plan is not in force
	tried   time.Time // to put the plan into force
	ended   bool

	mu     sync.RWMutex // whoever uses loaded without busy holds it for reading
	loaded *xdp.Shield  // nil: there is none
	told   shieldTold
}

// shieldTold is what status tells of what busy guards, which may be held for long.
type shieldTold struct {
	options xdp.Options
	problem error // of anything but what loaded tells by itself
	off     bool  // nothing is wanted, so nothing is loaded
}

// newShield makes a shield that is not loaded. What commands have listed is kept
// in dir.
func newShield(log *slog.Logger, dir string, want func() (shieldPlan, error)) *shield {
	return &shield{log: log, want: want, lists: openLists(keptFile(filepath.Join(dir, "lists.json")), log, time.Now())}
}

// start loads it as the config asks, as well as that can be done.
func (s *shield) start() {
	s.busy.Lock()
	defer s.busy.Unlock()
	plan, err := s.want()
	s.plan = plan // as far as it goes: status tells it
	s.takeLists()
	_ = s.enforce(err) // logged, told, and tried again
}

// takeLists makes the lists be those that the plan names.
func (s *shield) takeLists() {
	var err error
	if s.lists.allow, s.lists.block, err = s.lists.prepare(s.plan.allow, s.plan.block); err != nil {
		s.log.Error("a list is wrong; nothing of it is in force", "err", err)
	}
}

// prepare reads what a config asks for, the key and lists under new names
// included. If any of it is wrong, that is the error.
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

// apply makes a plan the one in force. A change of limits is one write; one of
// interfaces or mode loads the programs anew, in place of those that hang there.
func (s *shield) apply(plan shieldPlan) {
	s.busy.Lock()
	defer s.busy.Unlock()
	s.plan, s.ordered = plan, ""
	s.lists.broken = nil
	s.takeLists()
	_ = s.enforce(nil) // logged, told, and tried again
	if s.loaded != nil {
		_ = s.lists.placeAll(s.loaded) // logged, told, and tried again
	}
	s.tell()
}

// options are those in force: the plan's, and the mode that was ordered.
func (s *shield) options() xdp.Options {
	o := s.plan.options
	if s.ordered != "" {
		o.Mode = s.ordered
	}
	return o
}

// enforce puts the plan into force. unplanned is why there is none. Its error
// tells why it is not in force; without its key it is. Caller holds busy.
func (s *shield) enforce(unplanned error) error {
	s.tried = time.Now()
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
		s.log.Error("the shield is not as it should be", "err", problem, "loaded", s.loaded != nil)
	}
	s.problem = problem
	s.tell()
	return err
}

// idle says that nothing is wanted and nothing is there, so that nothing needs
// to be loaded.
func (s *shield) idle() bool {
	if s.loaded != nil || s.options().Mode != xdp.Off {
		return false
	}
	pinned, err := pinnedOn(s.options().Pins)
	return err == nil && len(pinned) == 0
}

// replace loads the programs, and lets go of what was loaded once they hang where
// that did. What can't be attached is told by the shield's status, and tried again by
// its Run.
func (s *shield) replace() error {
	if s.stop != nil {
		s.stop() // it would attach by the options of before
		s.stop = nil
	}
	options := s.options()
	next, err := s.load(options)
	if err != nil {
		s.work()
		return err
	}
	if err := next.Attach(); err != nil {
		s.log.Error("the shield is not attached: packets pass unprotected", "err", err)
	}
	s.mu.Lock()
	before := s.loaded
	s.loaded, s.opened = next, options
	s.mu.Unlock()
	if before != nil {
		if err := before.Close(); err != nil {
			s.log.Error("the shield of before does not close", "err", err)
		}
	}
	s.work()
	s.log.Info("the shield is loaded", "interfaces", options.Interfaces, "mode", options.Mode)
	return nil
}

// load opens a shield that has all its rules and touches no packet yet.
func (s *shield) load(o xdp.Options) (*xdp.Shield, error) {
	o.Log = s.log
	next, err := xdp.Open(o)
	if err != nil {
		return nil, explainPins(err, o.Pins)
	}
	if err := next.Configure(s.plan.settings); err != nil {
		return nil, errors.Join(err, next.Close())
	}
	_ = s.lists.placeAll(next) // logged, told, and tried again
	return next, nil
}

// work starts what a loaded shield needs a process for. Caller holds busy, and ends it by
// stop.
func (s *shield) work() {
	if s.loaded == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	loaded := s.loaded
	running.Go(func() {
		if err := loaded.Run(ctx); err != nil {
			s.log.Error("shield", "err", err)
		}
	})
	s.stop = func() {
		cancel()
		running.Wait()
	}
}

// run looks at the lists, and tries again what could not be done, until ctx ends.
// What is pinned protects on.
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
		s.log.Error("the shield does not close", "err", err)
	}
}

func (s *shield) look(now time.Time) {
	s.busy.Lock()
	defer s.busy.Unlock()
	touched, first := s.lists.look(now)
	switch { // what goes wrong is logged, told, and tried again
	case s.loaded == nil:
	case first:
		_ = s.lists.placeAll(s.loaded)
	case len(touched) > 0:
		_ = s.lists.place(s.loaded, touched)
	}
	if now.Sub(s.tried) >= again {
		if s.problem != nil {
			plan, err := s.want()
			if err == nil {
				s.plan = plan
			}
			_ = s.enforce(err) // logged, told, and tried again
		}
		if s.loaded != nil && s.lists.fault != nil {
			s.tried = now
			_ = s.lists.placeAll(s.loaded)
		}
	}
	s.tell()
}

// tell makes status say how things stand. Caller holds busy.
func (s *shield) tell() {
	t := shieldTold{options: s.options(), problem: oneLine([]error{s.problem, s.lists.problem()}), off: s.idle()}
	if s.loaded == nil && !t.off {
		pinned, err := pinnedOn(t.options.Pins)
		state := errors.New("it is not loaded: packets pass unprotected")
		if len(pinned) > 0 && err == nil {
			state = fmt.Errorf("it is not loaded: what an earlier process pinned on %v goes on with the rules and keys of then", pinned)
		}
		t.problem = oneLine([]error{state, t.problem})
	}
	s.mu.Lock()
	s.told = t
	s.mu.Unlock()
}

// setMode is a command's. Where fewer interfaces would be protected by the mode
// than were before, nothing changes; what else is wrong stands in the status.
func (s *shield) setMode(text string) error {
	mode, err := parseMode(text)
	if err != nil {
		return badRequest(err)
	}
	s.busy.Lock()
	defer s.busy.Unlock()
	was, before := s.ordered, s.protected()
	s.ordered = mode
	err = s.enforce(nil)
	if s.protected() >= before || mode == xdp.Off && err == nil {
		return unavailable(err)
	}
	if err == nil {
		err = s.fault()
	}
	s.ordered = was
	_ = s.enforce(nil) // what is wrong with it was so before
	return unavailable(fmt.Errorf("the mode stays %s: %w", s.options().Mode, err))
}

// protected is on how many interfaces packets are looked at.
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

// fault is the first thing that is not attached as it should be.
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
	return errors.New("it protects less than before")
}

// list is a command's: what it returns is kept, and in force unless it errs.
func (s *shield) list(e api.ShieldEntry) (api.ShieldEntry, error) {
	s.busy.Lock()
	defer s.busy.Unlock()
	e, err := s.lists.list(e, time.Now())
	if err != nil {
		return e, err
	}
	return e, s.place(e.Prefix, "it is kept on the list, and not in force")
}

// unlist is a command's. Whether there was anything to take off.
func (s *shield) unlist(p netip.Prefix) (bool, error) {
	p, err := checkPrefix(p)
	if err != nil {
		return false, badRequest(err)
	}
	s.busy.Lock()
	defer s.busy.Unlock()
	removed, err := s.lists.unlist(p)
	if err != nil {
		return false, err
	}
	if !removed && s.loaded != nil { // it may be there and nobody know why
		return s.loaded.Unlist(p)
	}
	return removed, s.place(p, "it is off the list")
}

// place brings one prefix into force; but is what is true where that fails.
func (s *shield) place(p netip.Prefix, but string) error {
	defer s.tell()
	switch {
	case s.loaded != nil:
		return unavailable(s.lists.place(s.loaded, []netip.Prefix{p}))
	case s.idle():
		return nil
	case s.problem != nil:
		return unavailable(fmt.Errorf("%s: %s; the shield is not loaded: %w", p, but, s.problem))
	}
	return unavailable(fmt.Errorf("%s: %s; the shield is not loaded", p, but))
}

// entries is all that is listed.
func (s *shield) entries() []api.ShieldEntry {
	s.busy.Lock()
	defer s.busy.Unlock()
	var have []xdp.Listed
	if s.loaded != nil {
		have = s.loaded.Lists()
	}
	return s.lists.entries(have)
}

// unavailable is the answer for what the kernel or the disk would not do.
func unavailable(err error) error {
	var e *api.Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	return &api.Error{Code: api.Unavailable, Text: err.Error()}
}
