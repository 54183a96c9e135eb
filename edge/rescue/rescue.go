// Package rescue keeps a program reachable while its spool is damaged: it serves in place of the node
// until the spool was set aside or is gone.
//
// What happens to the data: the control socket and the metrics are served, and each request is refused
// with the damage as the reason, except the status and those that check the spool, export it or set
// it aside. Clients that connect to ingress get a temporary error, so that senders keep their mail.
// Nothing is accepted, and nothing is deleted. Serve returns when there is no damaged spool any more;
// whoever called it then opens the node.
//
// The process stays up instead of ending with an error: systemd would restart it forever, an
// appliance would take it for a bad version and boot the previous one, and there would be no
// process to ask for the reason. It is never ready, so the speaker announces nothing.
package rescue

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"anymx/edge/config"
	"anymx/edge/operate/control"
	"anymx/edge/service"
	"anymx/edge/spool"
)

// lookAgain is how often we check a damaged spool: somebody may have moved it by hand.
const lookAgain = 5 * time.Second

// Options configures a Server.
type Options struct {
	File      string         // of the config, for the status
	Config    *config.Config // as it was loaded from File
	Unsound   *spool.Unsound // what is wrong with the spool
	Listeners []net.Listener // of ingress, such as systemd's: their clients are turned away, and they stay open
	Log       *slog.Logger
	Clock     *service.Clock // nil: time.Now
}

// Server replaces a node whose spool is damaged.
type Server struct {
	options Options
	log     *slog.Logger
	started time.Time
	metrics *prometheus.Registry
	// degraded lists sockets that can't be opened yet.
	degraded *service.Degraded

	working sync.Mutex    // one check, move or export at a time: they lock the spool
	aside   chan struct{} // one slot: the spool was moved
}

// New returns a Server. Nothing is served yet.
func New(o Options) *Server {
	s := &Server{options: o, log: o.Log, started: time.Now(), metrics: service.NewRegistry(o.Clock), aside: make(chan struct{}, 1)}
	gauge := func(name, help string, v float64) {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
		g.Set(v)
		s.metrics.MustRegister(g)
	}
	gauge("anymx_spool_refused_to_open", "1 while the spool is damaged and is not opened.", 1)
	gauge("anymx_spool_accepting", "1 while messages are taken.", 0)
	s.degraded = service.NewDegraded(s.log, service.PartControl, service.PartMetrics)
	s.metrics.MustRegister(s.degraded)
	return s
}

// Serve serves until ctx ends, or there is no damaged spool any more.
func (s *Server) Serve(ctx context.Context) error {
	s.log.Error("not ready, and nothing is announced", "err", s.options.Unsound)
	service.Status("not ready: " + s.options.Unsound.Error())
	server, err := control.New(control.Options{Node: s, Gather: s.metrics, Metrics: s.metrics, Log: s.log})
	if err != nil {
		return err
	}
	c := &s.options.Config.Node
	socket := service.ListenControl(c.Control, s.degraded)
	page := service.ListenMetrics(c.Metrics, s.degraded)
	serving, stop := context.WithCancel(ctx)
	var parts sync.WaitGroup
	var failed error
	parts.Go(func() {
		defer stop()
		failed = server.Serve(serving, socket, page)
	})
	parts.Go(func() { service.Watchdog(serving, s.log, service.ControlPart(c.Control, s.log)) })
	for _, l := range s.options.Listeners {
		parts.Go(func() { turnAway(serving, l, c.Hostname) })
	}
	parts.Go(func() {
		defer stop()
		s.awaitRepair(serving)
	})
	parts.Wait()
	stop()
	return failed
}

// awaitRepair returns when the spool is no longer the damaged one, or when ctx ends.
func (s *Server) awaitRepair(ctx context.Context) {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.aside:
			return
		case <-tick.C:
			if _, err := os.Stat(s.options.Unsound.Dir); errors.Is(err, os.ErrNotExist) {
				s.log.Info("the damaged spool is gone: a new one is opened")
				return
			}
		}
	}
}

// maxTurnedAway bounds the connections that are turned away at the same time.
const maxTurnedAway = 64

// turnAway answers clients of a socket that systemd holds with a temporary error, since nothing
// else would answer them. It stops with ctx, and leaves the socket open for the node.
func turnAway(ctx context.Context, l net.Listener, hostname string) {
	deadline, ok := l.(interface{ SetDeadline(time.Time) error })
	if !ok {
		return
	}
	end := context.AfterFunc(ctx, func() { _ = deadline.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		end()
		_ = deadline.SetDeadline(time.Time{})
	}()
	text := "421 4.3.0 " + hostname + " mail system storage failure, try again later\r\n"
	places := make(chan struct{}, maxTurnedAway)
	var wait sync.WaitGroup
	defer wait.Wait()
	for ctx.Err() == nil {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() == nil && !service.Sleep(ctx, 100*time.Millisecond) {
				return
			}
			continue
		}
		select {
		case places <- struct{}{}:
			wait.Go(func() {
				defer func() { <-places }()
				_ = c.SetDeadline(time.Now().Add(2 * time.Second))
				_, _ = c.Write([]byte(text))
				_ = c.Close()
			})
		default:
			_ = c.Close()
		}
	}
}
