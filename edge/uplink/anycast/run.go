package anycast

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"anymx/bgp"
	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/secret"
	"anymx/edge/service"
)

// Sections are those that the config of anymx-bgp must have.
var Sections = []string{"bgp"}

// Parts that the speaker can work without, in Degraded.
const (
	partPassword = "password" // of a router, by its address
	partState    = "state"    // the directory of the desired state
)

// closing is how long sessions have to end in order.
const closing = 5 * time.Second

// sockets are those that a running Announcer serves.
type sockets struct {
	endpoint *control.Endpoint
	control  net.Listener
	page     net.Listener // metrics; nil: none
}

// Run runs anymx-bgp until ctx ends.
func Run(ctx context.Context, env *service.Env) error {
	a, err := newAnnouncer(env)
	if err != nil {
		return err
	}
	s, err := a.listen(ctx)
	if err != nil {
		return err
	}
	return a.run(ctx, s)
}

// newAnnouncer makes an Announcer that has not announced anything yet.
func newAnnouncer(env *service.Env) (*Announcer, error) {
	c := env.Config
	speaker, err := bgp.New(bgp.Options{ASN: c.BGP.ASN, RouterID: c.BGP.RouterID, Logger: env.Log})
	if err != nil {
		return nil, err
	}
	degraded := service.NewDegraded(env.Log, service.PartControl, service.PartMetrics, partPassword, partState)
	store, err := openDesiredFile(filepath.Join(c.Node.StateDir, "bgp"))
	degraded.Report(partState, store.dir, err)
	kept, err := store.load()
	switch {
	case err != nil:
		env.Log.Error("nothing is announced until the next command", "err", err)
	case kept.Routes != api.Announced:
		env.Log.Info("desired state loaded", "routes", kept.Routes, "reason", kept.Reason, "since", kept.at)
	}
	a := &Announcer{
		log: env.Log, read: remembering(secret.Read), degraded: degraded, started: time.Now(), clock: env.Clock,
		speaker: speaker, store: store, writing: make(chan struct{}, 1),
		states:  desiredStates{lasting: kept},
		results: map[string]api.HealthCheck{}, moved: make(chan struct{}), confirmed: func() {},
	}
	a.reloader = a.newReloader(env)
	a.registry = service.NewRegistry(env.Clock, gauges{a}, degraded, a.reloader)
	a.metrics = newMetrics(a.registry)
	a.watch = newWatch(a.recordCheck, a.recordRound)
	a.report, a.prefixes, a.since = decide(a.states, a.health), slices.Clone(c.Anycast.Prefixes), a.started
	a.life, a.end = context.WithCancel(context.Background())
	return a, nil
}

// listen opens the sockets. Nothing answers on them yet.
func (a *Announcer) listen(_ context.Context) (s sockets, err error) {
	s.endpoint, err = control.NewEndpoint(control.EndpointOptions{Gather: a.registry, Metrics: a.registry, Log: a.log, Ready: a.Ready})
	if err != nil {
		return s, err
	}
	s.endpoint.Handle("GET /v1/status", func(*http.Request) (any, error) { return a.Status(), nil })
	s.endpoint.Handle("POST /v1/desired", func(r *http.Request) (any, error) {
		var o api.DesiredState
		if err := control.ReadJSON(r, &o); err != nil {
			return nil, err
		}
		status, err := a.SetDesired(r.Context(), o)
		s.endpoint.Audit(r, err, "action", "desired", "routes", string(o.Routes), "reason", o.Reason, "keep", o.Keep)
		return status, err
	})
	socket := service.ListenControl(a.reloader.Config().BGP.Control, a.degraded)
	if err := socket.Err(); errors.Is(err, control.ErrSocketLive) { // another speaker runs
		return s, errors.Join(err, socket.Close())
	}
	s.control, s.page = socket, service.ListenMetrics(a.reloader.Config().BGP.Metrics, a.degraded)
	return s, nil
}

// run serves until ctx ends or the sockets fail; then it withdraws the routes.
func (a *Announcer) run(ctx context.Context, s sockets) error {
	failed, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var parts, asked sync.WaitGroup
	// Checks and the control socket outlive ctx: leaving is monitored too.
	partsCtx, stopParts := context.WithCancel(context.WithoutCancel(ctx))
	askedCtx, stopAsked := context.WithCancel(context.WithoutCancel(ctx))
	defer stopParts()
	defer stopAsked()
	asked.Go(func() {
		if err := s.endpoint.Serve(askedCtx, s.control, s.page); err != nil {
			fail(err)
		}
	})
	c := a.reloader.Config()
	want, err := a.checkPeers(c)
	if err == nil {
		a.applyConfig(failed, c, want)
		parts.Go(func() { a.watch.run(partsCtx) })
		parts.Go(func() { a.inform(partsCtx, c.Net.Control) })
		parts.Go(func() { a.updateSystemd(partsCtx) })
		parts.Go(func() { a.reloader.Run(failed) })
		parts.Go(func() { service.Watchdog(partsCtx, a.log, a.parts(c.BGP.Control)...) })
		service.Ready()
		a.log.Info("ready", "asn", c.BGP.ASN, "router_id", c.BGP.RouterID, "control", c.BGP.Control)
		<-failed.Done()
		a.leave()
	}
	stopParts()
	parts.Wait()
	last, cancel := context.WithTimeout(context.Background(), closing)
	defer cancel()
	err = errors.Join(err, a.speaker.Close(last))
	a.end()
	a.watching.Wait()
	stopAsked()
	asked.Wait()
	if ctx.Err() == nil {
		err = errors.Join(context.Cause(failed), err)
	}
	if err == nil {
		a.log.Info("stopped")
	}
	return err
}

// parts are those that answer systemd's watchdog: what decides about routes, and what accepts
// commands. None of them waits for a router, for the node, or for the disk that stores the desired
// state: routes are withdrawn while any of those hangs, which a killed speaker could not do.
func (a *Announcer) parts(socket string) []service.Part {
	return []service.Part{
		{Name: "health", Answers: a.watch.answers},
		{Name: "routes", Answers: func() { a.Status() }},
		service.ControlPart(socket, a.log),
	}
}

// updateSystemd keeps systemd's status line of the program up to date.
func (a *Announcer) updateSystemd(ctx context.Context) {
	last := ""
	for {
		s := a.Status()
		if now := line(&s); now != last {
			service.Status(now)
			last = now
		}
		select {
		case <-ctx.Done():
			return
		case <-a.speaker.Changed():
		}
	}
}
