package anycast

import (
	"context"
	"slices"
	"sync"
	"time"
)

// watch runs the checks, round after round.
type watch struct {
	ended  func(checked)      // called with each check
	judged func(verdict) bool // called with each round; true: the next one comes early
	change chan assignment    // one slot
	asked  chan struct{}      // whether its loop still runs
	over   chan struct{}      // closed when it has ended
}

// assignment is what a watch checks.
type assignment struct {
	checks   []check
	interval time.Duration // from the start of one round to the next
	timeout  time.Duration // of each check
}

func newWatch(ended func(checked), judged func(verdict) bool) *watch {
	return &watch{
		ended: ended, judged: judged,
		change: make(chan assignment, 1), asked: make(chan struct{}), over: make(chan struct{}),
	}
}

// answers returns when the watch's loop has run again, or has ended.
func (w *watch) answers() {
	select {
	case w.asked <- struct{}{}:
	case <-w.over:
	}
}

// assign changes what is checked, from the next round on.
func (w *watch) assign(a assignment) {
	select {
	case <-w.change: // one that was not picked up yet
	default:
	}
	w.change <- a
}

// run checks until ctx ends, and returns when no check is running.
func (w *watch) run(ctx context.Context) {
	defer close(w.over)
	for a := <-w.change; ctx.Err() == nil; {
		a = w.follow(ctx, a)
	}
}

// follow carries out one assignment until there is another one or ctx ends.
func (w *watch) follow(ctx context.Context, a assignment) assignment {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	type end struct {
		check int
		checked
	}
	ends := make(chan end, len(a.checks)) // at most one of each runs: no send blocks
	rounds := newRounds(len(a.checks))
	begin := func() {
		for _, i := range rounds.startRound(time.Now()) {
			running.Go(func() { ends <- end{i, a.checks[i].run(ctx, a.timeout)} })
		}
	}
	tick := time.NewTicker(a.interval)
	defer tick.Stop()
	begin()
	for {
		select {
		case <-ctx.Done():
			return a
		case next := <-w.change:
			return next
		case <-tick.C:
			tick.Reset(a.interval)
			begin()
		case <-w.asked:
		case e := <-ends:
			if ctx.Err() != nil {
				return a // the check was cancelled
			}
			w.ended(e.checked)
			if v, known := rounds.endCheck(e.check, e.checked); known && w.judged(v) {
				tick.Reset(a.interval / 2)
			}
		}
	}
}

// names returns the names of the checks.
func (a assignment) names() []string {
	var names []string
	for _, c := range a.checks {
		names = append(names, c.name)
	}
	return slices.Clip(names)
}
