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
	"anymx/edge/refusal"
	"anymx/edge/service"
)

const (
	// confirmLimit is how long a change of the routes is followed on its way to the routers. A
	// router that is silent for longer has lost its session, or is about to.
	confirmLimit = 30 * time.Second
	// maxReason bounds the reason in a desired state, in bytes.
	maxReason = 1000
)

// Announcer keeps the announced routes in step with the desired state and the node's health.
type Announcer struct {
	log      *slog.Logger
	read     reader // of passwords
	started  time.Time
	clock    *service.Clock // nil: not watched
	speaker  *bgp.Speaker
	store    desiredFile
	writing  chan struct{} // one slot: whoever fills it may write the store
	watch    *watch
	degraded *service.Degraded // what the speaker works without
	reloader *service.Reloader

	registry *prometheus.Registry
	metrics  *metrics

	life     context.Context // ends what changes of the routes start
	end      context.CancelFunc
	watching sync.WaitGroup // for the same

	mu        sync.Mutex
	withheld  []api.SpeakerPeer
	states    desiredStates
	commands  uint64 // number of desired states to be stored so far
	health    health
	names     []string                   // of the checks that decide
	results   map[string]api.HealthCheck // by name, including those for information
	report    decision
	prefixes  []netip.Prefix // those in report
	since     time.Time      // when report.routes began
	moved     chan struct{}  // closed with the next change of report.routes
	confirmed context.CancelFunc
}

// updateRoutes sets the routes that the desired state and health require now. The announcement
// changes before anything else happens. The caller holds mu.
func (a *Announcer) updateRoutes() {
	next, prefixes := decide(a.states, a.health), a.reloader.Config().Anycast.Prefixes
	if next.routes == a.report.routes && (next.routes == api.Withdrawn || slices.Equal(prefixes, a.prefixes)) {
		a.report = next
		return
	}
	began := time.Now()
	if err := a.speaker.SetRoutes(context.Background(), routesOf(prefixes, next.routes)); err != nil {
		a.log.Error("routes not changed", "from", a.report.routes, "to", next.routes, "err", err)
		return
	}
	before := a.report.routes
	a.report, a.prefixes = next, slices.Clone(prefixes)
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

// confirm logs when the routers have acknowledged the change. The caller holds mu.
func (a *Announcer) confirm(routes api.Routes, established int, began time.Time) {
	a.confirmed() // stop following the previous change
	ctx, cancel := context.WithTimeout(a.life, confirmLimit)
	a.confirmed = cancel
	if established == 0 {
		return // a router that connects later gets the routes of then
	}
	a.watching.Go(func() {
		err := a.speaker.Flush(ctx)
		took := time.Since(began)
		switch {
		case err == nil:
			a.metrics.confirm.Observe(took.Seconds())
			a.log.Info("peers confirmed", "routes", routes, "peers", established, "took", took)
		case errors.Is(ctx.Err(), context.DeadlineExceeded):
			a.log.Warn("peers did not confirm", "routes", routes, "after", took, "err", err)
		}
		cancel()
	})
}

// recordRound records the verdict on a round, and reports whether the next one should come early to
// confirm it.
func (a *Announcer) recordRound(v verdict) (hurry bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.metrics.rounds.WithLabelValues(v.outcome.String()).Inc()
	rules := a.reloader.Config().BGP.Health
	was := a.health
	a.health = was.after(thresholds{
		rise: rules.Rise, riseTime: time.Duration(rules.RiseTime), fall: rules.Fall, busy: time.Duration(rules.Busy), strict: a.states.passes(),
	}, v, time.Now())
	passing := a.states.passes()
	a.states = a.states.seen(a.health)
	a.updateRoutes()

	if passing && !a.states.passes() {
		a.log.Info("desired state ended: the node was down and is healthy again")
	}
	switch {
	case a.health.up && !was.up:
		a.log.Info("node is healthy", "rounds", a.health.good, "since", a.health.goodSince)
	case !a.health.up && was.up:
		a.log.Warn("node is unhealthy", "reason", a.health.reason, "rounds", a.health.bad)
	case a.health.bad == 1 && was.bad == 0:
		a.log.Warn("round of checks failed", "reason", a.health.reason, "fall", rules.Fall)
	case !a.health.busySince.IsZero() && was.busySince.IsZero():
		a.log.Warn("node is busy", "reason", a.health.reason, "limit", rules.Busy)
	}
	return a.health.doubtful()
}

// recordCheck records the result of a check.
func (a *Announcer) recordCheck(c checked) {
	a.metrics.check(c)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.results[c.name] = c.status()
}

// SetDesired sets the desired state. When it returns nil, the speaker has applied it, and a state
// that should last is on stable storage.
//
// A state that announces less, or the same, goes to the speaker first and then to disk: traffic
// must leave a node at once, also one whose disk hangs, which is an important reason to drain it.
// If the disk fails the state holds nevertheless, and the error says that it ends with this
// process. A state that announces more goes to disk first: if it were announced first and could not
// be written, a node would be in service, and would silently leave it after its next reboot. The
// state on disk never draws less traffic than the announced one, except while a resume is between
// the two, and then the next start completes it.
func (a *Announcer) SetDesired(ctx context.Context, o api.DesiredState) (api.SpeakerStatus, error) {
	if err := checkRoutes(o.Routes); err != nil {
		return api.SpeakerStatus{}, refusal.Invalid.Wrap(err)
	}
	if len(o.Reason) > maxReason {
		return api.SpeakerStatus{}, refusal.Invalid.Errorf("the reason has %d bytes; the limit is %d", len(o.Reason), maxReason)
	}
	o.Keep = o.Keep || o.Routes == api.Announced
	if err := ctx.Err(); err != nil {
		return api.SpeakerStatus{}, err // the client has given up, and may have sent another since
	}
	now := time.Now()
	at := now
	if !o.Given.IsZero() && o.Given.Before(now) {
		at = o.Given
	}
	o.Given = time.Time{}
	a.mu.Lock()
	if kept := a.states.lasting.at; o.Keep && at.Before(kept) && !kept.After(now) { // otherwise the clock was set back
		a.mu.Unlock()
		return api.SpeakerStatus{}, errOvertaken
	}
	less := rank(o.Routes) <= rank(a.states.inForce().Routes)
	if !o.Keep || less {
		a.states = a.states.with(o, at)
		a.updateRoutes()
	}
	if o.Keep {
		a.commands++
	}
	number := a.commands
	a.mu.Unlock()
	if !o.Keep {
		return a.Status(), nil
	}
	runtime.Gosched() // sessions write the change before this goroutine uses the disk
	err := a.keep(ctx, desired{DesiredState: o, at: at}, number)
	switch {
	case errors.Is(err, errOvertaken):
		return api.SpeakerStatus{}, err
	case err != nil && less:
		return api.SpeakerStatus{}, fmt.Errorf("routes are %s, but only until anymx-bgp restarts: %w", o.Routes, err)
	case err != nil:
		return api.SpeakerStatus{}, fmt.Errorf("nothing was changed: %w", err)
	}
	return a.Status(), nil
}

// errOvertaken is for a desired state that a later one has overtaken, on its way or while it waited
// for the disk.
var errOvertaken = refusal.Conflict.Errorf("overtaken by a later command")

// keep writes a desired state to disk, unless a later one will be written, and sets it.
func (a *Announcer) keep(ctx context.Context, s desired, number uint64) error {
	select {
	case a.writing <- struct{}{}:
		defer func() { <-a.writing }()
	case <-ctx.Done():
		return fmt.Errorf("the disk is busy with an earlier command: %w", ctx.Err())
	}
	a.mu.Lock()
	overtaken := a.commands != number
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
	if a.commands != number { // that one is written next
		return errOvertaken
	}
	if s.Routes == api.Announced && a.states.lasting.Routes == api.Withdrawn {
		a.health = a.health.doubted(time.Now()) // a resumed node confirms its health again
	}
	a.states = a.states.with(s.DesiredState, s.at)
	a.updateRoutes()
	return nil
}
