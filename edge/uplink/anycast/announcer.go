package anycast

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"anymx/bgp"
	"anymx/edge/operate/api"
	"anymx/edge/service"
)

const (
	// confirmLimit is how long a change of the routes is watched on its way to
	// the routers. One that is silent for longer has lost its session, or is
	// about to.
	confirmLimit = 30 * time.Second
	// maxReason bounds the text of an order, in octets.
	maxReason = 1000
)

// Announcer keeps what routers are told in step with orders and health.
type Announcer struct {
	log      *slog.Logger
	read     reader // of passwords
	started  time.Time
	clock    *service.Clock // nil: not watched
	speaker  *bgp.Speaker
	store    orderFile
	writing  chan struct{} // one slot: whoever fills it may write the store
	watch    *watch
	degraded *service.Degraded // what the speaker goes without
	reloader *service.Reloader

	registry *prometheus.Registry
	metrics  *metrics

	life     context.Context // of what is begun by changes of the routes
	end      context.CancelFunc
	watching sync.WaitGroup // of that

	mu        sync.Mutex
	withheld  []api.SpeakerPeer
	orders    orders
	ordered   uint64 // orders to be kept that came
	health    health
	names     []string                   // of the checks that decide
	results   map[string]api.HealthCheck // by name, those for information too
	told      decision
	prefixes  []netip.Prefix // that told is about
	since     time.Time      // of told.routes
	moved     chan struct{}  // closed with the next change of told.routes
	confirmed context.CancelFunc
}

// settle makes the routes what orders and health want now. What peers are told
// changes before anything else is done about it. The caller holds mu.
func (a *Announcer) settle() {
	next, prefixes := decide(a.orders, a.health), a.reloader.Config().Anycast.Prefixes
	if next.routes == a.told.routes && (next.routes == api.Withdrawn || slices.Equal(prefixes, a.prefixes)) {
		a.told = next
		return
	}
	began := time.Now()
	if err := a.speaker.SetRoutes(context.Background(), routesOf(prefixes, next.routes)); err != nil {
		a.log.Error("routes not changed", "from", a.told.routes, "to", next.routes, "err", err)
		return
	}
	before := a.told.routes
	a.told, a.prefixes = next, slices.Clone(prefixes)
	if before != next.routes {
		a.since = began
		close(a.moved)
		a.moved = make(chan struct{})
		a.metrics.transitions.WithLabelValues(string(next.routes)).Inc()
	}
	established := 0
	for _, p := range a.speaker.Status().Peers {
		if p.State == bgp.Established {
			established++
		}
	}
	a.log.Info("routes changed", "from", before, "to", next.routes, "reason", next.reason,
		"prefixes", a.prefixes, "peers", established)
	a.confirm(next.routes, established, began)
}

// confirm logs when routers have acknowledged the change. The caller holds mu.
func (a *Announcer) confirm(routes api.Routes, established int, began time.Time) {
	a.confirmed() // a change that is overtaken is not watched any longer
	ctx, cancel := context.WithTimeout(a.life, confirmLimit)
	a.confirmed = cancel
	if established == 0 {
		return // whoever connects later is told what holds then
	}
	a.watching.Go(func() {
		err := a.speaker.Flush(ctx)
		took := time.Since(began)
		switch {
		case err == nil:
			a.metrics.confirm.Observe(took.Seconds())
			a.log.Info("peers have confirmed", "routes", routes, "peers", established, "took", took)
		case errors.Is(ctx.Err(), context.DeadlineExceeded):
			a.log.Warn("peers have not confirmed", "routes", routes, "after", took, "err", err)
		}
		cancel()
	})
}

// judged takes the verdict on a round, and says whether the next one should
// hurry to confirm it.
func (a *Announcer) judged(v verdict) (hurry bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.metrics.rounds.WithLabelValues(v.outcome.String()).Inc()
	rules := a.reloader.Config().BGP.Health
	was := a.health
	a.health = was.after(thresholds{
		rise: rules.Rise, riseTime: time.Duration(rules.RiseTime), fall: rules.Fall, busy: time.Duration(rules.Busy), strict: a.orders.passes(),
	}, v, time.Now())
	passing := a.orders.passes()
	a.orders = a.orders.seen(a.health)
	a.settle()

	if passing && !a.orders.passes() {
		a.log.Info("the order has ended: the node was down and is healthy again")
	}
	switch {
	case a.health.up && !was.up:
		a.log.Info("node is healthy", "rounds", a.health.good, "since", a.health.goodSince)
	case !a.health.up && was.up:
		a.log.Warn("node is not healthy", "reason", a.health.reason, "rounds", a.health.bad)
	case a.health.bad == 1 && was.bad == 0:
		a.log.Warn("a round of checks failed", "reason", a.health.reason, "fall", rules.Fall)
	case !a.health.busySince.IsZero() && was.busySince.IsZero():
		a.log.Warn("node is busy", "reason", a.health.reason, "limit", rules.Busy)
	}
	return a.health.doubtful()
}

// ended takes the result of a check.
func (a *Announcer) ended(c checked) {
	a.metrics.check(c)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.results[c.name] = c.status()
}

// Order takes an order. When it returns nil, the speaker has been told, and an
// order that is to be kept is on stable storage.
//
// An order to tell less, or the same, goes to the speaker first and to disk
// then: traffic must leave a node at once, also one whose disk hangs, which is
// not the least reason to drain it. If the disk takes nothing the order holds
// all the same, and the error says that it ends with this process. An order to
// tell more goes to disk first: if it were announced first and could not be
// written, a node would be in service, and out of it without a word after its
// next reboot. What is on disk never draws less traffic than what is told, but
// for the moment in which a resume is between the two, and there the next start
// does what was ordered.
func (a *Announcer) Order(ctx context.Context, o api.Order) (api.SpeakerStatus, error) {
	if err := checkRoutes(o.Routes); err != nil {
		return api.SpeakerStatus{}, &api.Error{Code: api.BadRequest, Text: err.Error()}
	}
	if len(o.Reason) > maxReason {
		text := fmt.Sprintf("a reason of %d octets; at most %d", len(o.Reason), maxReason)
		return api.SpeakerStatus{}, &api.Error{Code: api.BadRequest, Text: text}
	}
	o.Keep = o.Keep || o.Routes == api.Announced
	if err := ctx.Err(); err != nil {
		return api.SpeakerStatus{}, err // whoever gave it has given it up, and may have given another since
	}
	now := time.Now()
	at := now
	if !o.Given.IsZero() && o.Given.Before(now) {
		at = o.Given
	}
	o.Given = time.Time{}
	a.mu.Lock()
	if kept := a.orders.kept.at; o.Keep && at.Before(kept) && !kept.After(now) { // or else the clock was set back
		a.mu.Unlock()
		return api.SpeakerStatus{}, errOvertaken
	}
	less := rank(o.Routes) <= rank(a.orders.inForce().Routes)
	if !o.Keep || less {
		a.orders = a.orders.with(o, at)
		a.settle()
	}
	if o.Keep {
		a.ordered++
	}
	number := a.ordered
	a.mu.Unlock()
	if !o.Keep {
		return a.Status(), nil
	}
	runtime.Gosched() // sessions write what has changed before this goroutine is at the disk
	err := a.keep(ctx, standing{Order: o, at: at}, number)
	switch {
	case errors.Is(err, errOvertaken):
		return api.SpeakerStatus{}, err
	case err != nil && less:
		return api.SpeakerStatus{}, fmt.Errorf("routes are %s, but only until anymx-bgp is started again: %w", o.Routes, err)
	case err != nil:
		return api.SpeakerStatus{}, fmt.Errorf("nothing was changed: %w", err)
	}
	return a.Status(), nil
}

// errOvertaken is for orders that a later one has overtaken, on their way or
// while they waited for the disk.
var errOvertaken = &api.Error{Code: api.Overtaken, Text: "a later order holds, or is about to"}

// keep writes an order to disk, unless a later one is to be written, and has it
// hold.
func (a *Announcer) keep(ctx context.Context, s standing, number uint64) error {
	select {
	case a.writing <- struct{}{}:
		defer func() { <-a.writing }()
	case <-ctx.Done():
		return fmt.Errorf("the disk is busy with an order before this one: %w", ctx.Err())
	}
	a.mu.Lock()
	overtaken := a.ordered != number
	a.mu.Unlock()
	if overtaken {
		return errOvertaken
	}
	err := a.store.save(s)
	a.degraded.Report(partState, a.store.dir, err)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ordered != number { // it goes to disk next
		return errOvertaken
	}
	if s.Routes == api.Announced && a.orders.kept.Routes == api.Withdrawn {
		a.health = a.health.doubted(time.Now()) // a resumed node proves its health anew
	}
	a.orders = a.orders.with(s.Order, s.at)
	a.settle()
	return nil
}
