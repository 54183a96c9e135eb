package network

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"time"

	"anymx/edge/config"
	"anymx/edge/operate/control"
	"anymx/edge/service"
	"anymx/edge/uplink/plumb"
	"anymx/edge/uplink/tunnel"

	"golang.org/x/sys/unix"
)

// network is the network of one node.
type network struct {
	env      *service.Env
	log      *slog.Logger
	started  time.Time
	plumbing *plumb.Plumbing
	degraded *service.Degraded
	keys     keys    // of the tunnel
	core     *core   // nil: no tunnel is configured
	shield   *shield // nil: none is configured
	reloader *service.Reloader
}

// Run runs anymx-net until ctx ends. It fails if it may not change the network, or if another
// process holds its control socket; problems of single things or of the tunnel are in its status.
func Run(ctx context.Context, env *service.Env) error {
	if err := privilege(); err != nil {
		return err
	}
	degraded := service.NewDegraded(env.Log, service.PartControl, service.PartMetrics, partKey)
	socket, metrics, err := listen(env.Config, degraded)
	if err != nil {
		return err
	}
	plumbing, err := plumb.Open(plumb.Options{Log: env.Log, Every: time.Duration(env.Config.Net.Repair)})
	if err != nil {
		return errors.Join(err, closeAll(socket, metrics))
	}
	defer plumbing.Close()
	n := newNetwork(env, plumbing, degraded)
	endpoint, err := n.endpoint()
	if err != nil {
		return errors.Join(err, closeAll(socket, metrics))
	}
	return n.run(ctx, func(ctx context.Context) error { return endpoint.Serve(ctx, socket, metrics) })
}

// newNetwork makes a network in which nothing is set up yet.
func newNetwork(env *service.Env, plumbing *plumb.Plumbing, degraded *service.Degraded) *network {
	n := &network{env: env, log: env.Log, started: time.Now(), plumbing: plumbing, degraded: degraded}
	n.reloader = n.newReloader()
	if t := env.Config.Tunnel; t != nil {
		n.core = &core{
			log: n.log, options: tunnel.Options{Interface: t.Interface, Implementation: t.Implementation, Log: n.log, Clock: env.Clock.Problem},
			read: func() (tunnel.Settings, error) { return n.keys.settings(n.inForce().Tunnel) }, degraded: degraded,
		}
	}
	if env.Config.Shield != nil {
		n.shield = newShield(n.log, filepath.Join(env.Config.Node.StateDir, "net"), func() (shieldPlan, error) { return shieldWants(n.inForce()) })
	} else if err := withdraw(env.Config, n.log); err != nil {
		n.log.Error("removing the shield of an earlier config failed", "err", err)
	}
	return n
}

// run sets everything up and keeps it so, and runs serve, until ctx ends or a part fails.
func (n *network) run(ctx context.Context, serve func(context.Context) error) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	var parts sync.WaitGroup
	parts.Go(func() { end(serve(ctx)) })
	if n.shield != nil { // before there is an address that it protects
		n.shield.start()
		parts.Go(func() { n.shield.run(ctx) })
	}
	opened, err := n.start(ctx)
	if err == nil {
		parts.Go(func() { end(n.plumbing.Run(ctx)) })
		parts.Go(func() { n.reloader.Run(ctx) })
		if n.core != nil {
			parts.Go(func() { n.core.run(ctx, opened) })
		}
		parts.Go(func() { service.Watchdog(ctx, n.log, n.parts()...) })
		service.Ready()
		<-ctx.Done()
		service.Stopping()
	}
	end(err)
	parts.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	n.log.Info("stopped; addresses, rules, routes, tunnel device and shield stay in place")
	return nil
}

// parts are those that answer systemd's watchdog. None of them asks the kernel or a name server, as
// reloads, comparisons and the tunnel do: what hangs there would hang again after a kill, which a
// userspace tunnel does not survive.
func (n *network) parts() []service.Part {
	parts := []service.Part{
		{Name: "addresses, rules and routes", Answers: func() { n.plumbing.Status() }},
		service.ControlPart(n.inForce().Net.Control, n.log),
	}
	if n.core != nil {
		parts = append(parts, service.Part{Name: "tunnel", Answers: func() { n.core.opened() }})
	}
	return parts
}

// partKey is the name of the tunnel's keys in Degraded, before their config key.
const partKey = "key"

// listen opens the control socket and the listener for metrics, nil if none is configured; both are
// retried in the background. It fails if another process holds the socket.
func listen(c *config.Config, degraded *service.Degraded) (socket, metrics net.Listener, err error) {
	late := service.ListenControl(c.Net.Control, degraded)
	if err := late.Err(); errors.Is(err, control.ErrSocketLive) {
		return nil, nil, errors.Join(err, late.Close())
	}
	return late, service.ListenMetrics(c.Net.Metrics, degraded), nil
}

func closeAll(listeners ...net.Listener) error {
	var errs []error
	for _, l := range listeners {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	return errors.Join(errs...)
}

// endpoint makes the control socket's HTTP endpoint.
func (n *network) endpoint() (*control.Endpoint, error) {
	registry := service.NewRegistry(n.env.Clock, gauges{n}, n.degraded, n.reloader)
	e, err := control.NewEndpoint(control.EndpointOptions{
		Gather: registry, Metrics: registry, Log: n.log,
		Ready: func(context.Context) error {
			if problem := n.status().Problem; problem != "" {
				return errors.New(problem)
			}
			return nil
		},
	})
	if err != nil {
		return nil, err
	}
	e.Handle("GET /v1/status", n.answer)
	n.shieldRoutes(e)
	return e, nil
}

// start sets everything up in order. It fails only if nothing can be done at all.
func (n *network) start(ctx context.Context) (*tunnel.Tunnel, error) {
	all := wants(n.inForce())
	if err := n.set(ctx, all); err != nil {
		return nil, err
	}
	if n.core == nil {
		return nil, nil
	}
	opened := n.core.open(ctx)
	if opened == nil {
		return nil, nil // the reason is in the status, and it is retried
	}
	if err := n.set(ctx, all); err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	return opened, nil
}

// set passes the wanted things to the plumbing.
func (n *network) set(ctx context.Context, all []plumb.Want) error {
	_, err := n.plumbing.Set(ctx, all)
	if errors.Is(err, unix.EPERM) {
		return errPrivilege
	}
	return err
}
