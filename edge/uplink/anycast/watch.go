package anycast

import (
	"context"
	"slices"
	"sync"
	"time"
)

// watch makes the checks, round after round.
type watch struct {
	ended  func(checked)      // is told of each check
	judged func(verdict) bool // and of each round; true: the next one is in a hurry
	change chan assignment    // one slot
	asked  chan struct{}      // whether it still goes round
	over   chan struct{}      // closed when it has ended
}

// assignment is what a watch has to do.
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

// answers returns when the watch has gone round once more, or has ended.
func (w *watch) answers() {
	select {
	case w.asked <- struct{}{}:
	case <-w.over:
	}
}

// assign changes what is checked, from the next round on.
func (w *watch) assign(a assignment) {
	select {
	case <-w.change: // one that was not taken up yet
	default:
	}
	w.change <- a
}

// run checks until ctx ends, and returns when no check is left.
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
	ends := make(chan end, len(a.checks)) // one of each runs at most: no send waits
	rounds := newRounds(len(a.checks))
	begin := func() {
		for _, i := range rounds.begin(time.Now()) {
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
				return a // the check was broken off
			}
			w.ended(e.checked)
			if v, known := rounds.end(e.check, e.checked); known && w.judged(v) {
				tick.Reset(a.interval / 2)
			}
		}
	}
}

// names are those of the checks.
func (a assignment) names() []string {
	var names []string
	for _, c := range a.checks {
		names = append(names, c.name)
	}
	return slices.Clip(names)
}
