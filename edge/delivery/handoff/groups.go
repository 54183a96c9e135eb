package handoff

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"anymx/edge/delivery/routing"
	"anymx/edge/mail"
	"anymx/edge/queue"
	"anymx/edge/statefile"
)

// Groups is the courier to all cores. It has a Handoff for each core group and one for the default
// core, and each of them has connections, health, throttle and limits of its own: a group that is
// down or slow delays none of the others. It is safe for use by many goroutines.
type Groups struct {
	route   func(domain string) string
	current atomic.Pointer[map[string]*group]

	mu       sync.Mutex // of all below, and of changes of current
	closed   bool
	learning context.Context // of Learn; nil while it doesn't run
	learners sync.WaitGroup
	retiring sync.WaitGroup // groups that were removed and aren't closed yet
}

// group is one core group.
type group struct {
	*Handoff
	stopLearning context.CancelFunc // nil while Learn doesn't run
}

var _ queue.Courier = (*Groups)(nil)

// NewGroups makes a courier to the groups in options, by name; "" is the default core, and required.
// All may have the same Log and Metrics: a group is a field of its log lines, and each metric has the
// label group. Learned is a file for each.
//
// route returns the destination of a domain, by the config in force. Mail that waits for a group that
// was removed goes there.
func NewGroups(options map[string]Options, route func(domain string) string) (*Groups, error) {
	g := &Groups{route: route}
	g.current.Store(&map[string]*group{})
	if err := g.Reload(options); err != nil {
		return nil, err
	}
	return g, nil
}

// Reload puts other options in force, as Handoff.Reload does for a group that stays. A group that is
// new takes all of its options. What a removed group has in transfer ends as it began, and all else that
// waits for it goes where the domains of its recipients go. An error leaves everything as it was.
func (g *Groups) Reload(options map[string]Options) error {
	if _, ok := options[""]; !ok {
		return errors.New("hand-off: the default core is missing")
	}
	for name, o := range options {
		if _, err := o.settings(); err != nil {
			return inGroup(name, err)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return errClosed
	}
	old := *g.current.Load()
	next, err := openGroups(options, old)
	if err != nil {
		return err
	}
	var errs []error
	for name, one := range next {
		if old[name] == one {
			errs = append(errs, inGroup(name, one.Reload(options[name])))
		} else if g.learning != nil {
			g.startLearning(one)
		}
	}
	g.current.Store(&next)
	for name, one := range old {
		if next[name] == nil {
			g.retire(name, one)
		}
	}
	return errors.Join(errs...)
}

// openGroups returns the groups of options: those that are in old already, and new ones.
func openGroups(options map[string]Options, old map[string]*group) (map[string]*group, error) {
	next := make(map[string]*group, len(options))
	for name, o := range options {
		if next[name] = old[name]; next[name] != nil {
			continue
		}
		h, err := New(ofGroup(name, o))
		if err != nil {
			for added, one := range next {
				if old[added] == nil && one != nil {
					_ = one.Close()
				}
			}
			return nil, inGroup(name, err)
		}
		next[name] = &group{Handoff: h}
	}
	return next, nil
}

// ofGroup returns o with a log and metrics that name the group.
func ofGroup(name string, o Options) Options {
	if o.Metrics != nil {
		o.Metrics = prometheus.WrapRegistererWith(prometheus.Labels{"group": name}, o.Metrics)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if name != "" {
		o.Log = o.Log.With("group", name)
	}
	return o
}

// inGroup names the group in err, unless that is nil or of the default core.
func inGroup(name string, err error) error {
	if err == nil || name == "" {
		return err
	}
	return fmt.Errorf("core group %s: %w", name, err)
}

// retire closes a group that was removed. Its metrics end at once, so that a group of the same name
// can come. g.mu is held.
func (g *Groups) retire(name string, one *group) {
	if one.stopLearning != nil {
		one.stopLearning()
	}
	one.metrics.unregister()
	one.log.Info("core group was removed: mail that waits for it goes where its recipients' domains go")
	g.retiring.Go(func() {
		_ = one.Close()
		g.mu.Lock()
		defer g.mu.Unlock()
		if (*g.current.Load())[name] == nil {
			removeLearned(one.file, one.log)
		}
	})
}

// removeLearned removes the file of what a removed group has learned.
func removeLearned(file statefile.File, log *slog.Logger) {
	if file == "" {
		return
	}
	if err := file.Remove(); err != nil {
		log.Warn("the file of a core group that was removed stays", "file", string(file), "err", err)
	}
}

// Learn asks the addresses of all groups what they take, as Handoff.Learn does, until ctx ends.
func (g *Groups) Learn(ctx context.Context) {
	g.mu.Lock()
	g.learning = ctx
	for _, one := range *g.current.Load() {
		g.startLearning(one)
	}
	g.mu.Unlock()
	<-ctx.Done()
	g.mu.Lock()
	g.learning = nil
	g.mu.Unlock()
	g.learners.Wait()
}

// startLearning is Learn for one group. g.mu is held.
func (g *Groups) startLearning(one *group) {
	ctx, stop := context.WithCancel(g.learning)
	one.stopLearning = stop
	g.learners.Go(func() { one.Learn(ctx) })
}

// Deliver implements queue.Courier.
func (g *Groups) Deliver(ctx context.Context, t *queue.Attempt) ([]mail.Result, error) {
	one := g.groupOf(t.Destination)
	if one == nil {
		return g.redirect(ctx, t)
	}
	results, err := one.Deliver(ctx, t)
	if errors.Is(err, errClosed) && g.groupOf(t.Destination) != one {
		return g.redirect(ctx, t) // it was removed meanwhile, and nothing was sent
	}
	return results, err
}

// Reach implements queue.Courier. A group that was removed can be reached: where its mail goes now is
// up to each recipient.
func (g *Groups) Reach(ctx context.Context, destination string) error {
	one := g.groupOf(destination)
	if one == nil {
		return nil
	}
	err := one.Reach(ctx, destination)
	if errors.Is(err, errClosed) && g.groupOf(destination) != one {
		return nil // it was removed meanwhile
	}
	return err
}

// groupOf returns the group that is a destination, nil if there is none.
func (g *Groups) groupOf(destination string) *group {
	name, ok := routing.GroupOf(destination)
	if !ok {
		return nil
	}
	return (*g.current.Load())[name]
}

// redirect delivers each recipient to where its domain goes now: the group that it was accepted for
// doesn't exist.
func (g *Groups) redirect(ctx context.Context, t *queue.Attempt) ([]mail.Result, error) {
	parts := map[*group][]int{}
	var order []*group
	for _, n := range t.Pending {
		one := g.groupOf(g.route(t.Message.Envelope.Recipients[n].Path.Domain))
		if one == nil {
			one = g.groupOf(routing.Core) // between the two steps of a reload
		}
		if parts[one] == nil {
			order = append(order, one)
		}
		parts[one] = append(parts[one], n)
	}
	var results []mail.Result
	var failed []int
	var failure error
	for _, one := range order {
		part := *t
		part.Pending = parts[one]
		some, err := one.Deliver(ctx, &part)
		if err != nil {
			failed, failure = append(failed, part.Pending...), err
		}
		results = append(results, some...)
	}
	if failure == nil {
		return results, nil
	}
	if len(results) == 0 {
		return nil, failure
	}
	return append(results, unreached(failed, failure)...), nil
}

// Extensions returns what is known of what every group takes: a message that needs more couldn't go
// to one of them. Groups of which nothing is known yet don't count. It does not wait.
func (g *Groups) Extensions() mail.CoreExtensions {
	takes := mail.CoreUnknown
	for _, one := range *g.current.Load() {
		takes = takes.Both(one.Extensions())
	}
	return takes
}

// GroupStatus is one core group at one moment.
type GroupStatus struct {
	Name      string          `json:"name"` // "" is the default core
	Addresses []AddressStatus `json:"addresses"`
}

// Status returns the default core, and then the groups by name.
func (g *Groups) Status() []GroupStatus {
	current := *g.current.Load()
	list := make([]GroupStatus, 0, len(current))
	for _, name := range slices.Sorted(maps.Keys(current)) {
		list = append(list, GroupStatus{name, current[name].Status()})
	}
	return list
}

// Probe probes the addresses of all groups, as Handoff.Probe does.
func (g *Groups) Probe(ctx context.Context, size int) {
	g.each(func(one *group) { one.Probe(ctx, size) })
}

// Retry ends the pauses of all addresses that are down.
func (g *Groups) Retry() {
	for _, one := range *g.current.Load() {
		one.Retry()
	}
}

// Close closes all groups, as Handoff.Close does, after the ctx of Learn has ended.
func (g *Groups) Close() error {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.each(func(one *group) { _ = one.Close() })
	g.retiring.Wait()
	return nil
}

// each runs f for all groups at once and waits, so that a group that doesn't answer costs the time of
// one.
func (g *Groups) each(f func(*group)) {
	var wait sync.WaitGroup
	for _, one := range *g.current.Load() {
		wait.Go(func() { f(one) })
	}
	wait.Wait()
}
