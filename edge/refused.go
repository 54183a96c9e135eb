package edge

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
	"anymx/edge/mail"
	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/refusal"
	"anymx/edge/service"
	"anymx/edge/spool"
)

// Run opens a node and runs it until ctx ends or a part fails. While the spool is damaged there is
// no node: only the control socket and the metrics are served, clients get a temporary error, and
// the node is opened after the spool was set aside or repaired.
//
// The process stays up instead of ending with an error: systemd would restart it forever, an
// appliance would take it for a bad version and boot the previous one, and there would be no
// process to ask for the reason. It is never ready, so the speaker announces nothing.
func Run(ctx context.Context, o Options) error {
	for {
		n, err := Open(o)
		var u *spool.Unsound
		switch {
		case err == nil:
			return n.Run(ctx)
		case !errors.As(err, &u):
			return err
		}
		if err := newRefused(o, u).run(ctx); err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// lookAgain is how often we check a damaged spool: somebody may have moved it by hand.
const lookAgain = 5 * time.Second

// refused replaces a node whose spool is damaged.
type refused struct {
	o       Options
	config  *config.Config
	log     *slog.Logger
	unsound *spool.Unsound
	started time.Time
	metrics *prometheus.Registry
	// degraded lists sockets that can't be opened yet.
	degraded *service.Degraded

	working sync.Mutex    // one check or move at a time: they lock the spool
	aside   chan struct{} // one slot: the spool was moved
}

func newRefused(o Options, u *spool.Unsound) *refused {
	r := &refused{o: o, config: o.Config, log: o.Log, unsound: u, started: time.Now(), metrics: service.NewRegistry(o.Clock), aside: make(chan struct{}, 1)}
	gauge := func(name, help string, v float64) {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
		g.Set(v)
		r.metrics.MustRegister(g)
	}
	gauge("anymx_spool_refused_to_open", "1 while the spool is damaged and is not opened.", 1)
	gauge("anymx_spool_accepting", "1 while messages are taken.", 0)
	r.degraded = service.NewDegraded(r.log, service.PartControl, service.PartMetrics)
	r.metrics.MustRegister(r.degraded)
	return r
}

// run serves until ctx ends, or the spool was set aside.
func (r *refused) run(ctx context.Context) error {
	r.log.Error("not ready, and nothing is announced", "err", r.unsound)
	service.Status("not ready: " + r.unsound.Error())
	server, err := control.New(control.Options{Node: r, Gather: r.metrics, Metrics: r.metrics, Log: r.log})
	if err != nil {
		return err
	}
	socket := service.ListenControl(r.config.Node.Control, r.degraded)
	page := service.ListenMetrics(r.config.Node.Metrics, r.degraded)
	serving, stop := context.WithCancel(ctx)
	var parts sync.WaitGroup
	var failed error
	parts.Go(func() {
		defer stop()
		failed = server.Serve(serving, socket, page)
	})
	parts.Go(func() { service.Watchdog(serving, r.log, service.ControlPart(r.config.Node.Control, r.log)) })
	for _, l := range r.o.Listeners {
		parts.Go(func() { r.turnAway(serving, l) })
	}
	parts.Go(func() {
		defer stop()
		r.await(serving)
	})
	parts.Wait()
	stop()
	return failed
}

// await returns when the spool is no longer the refused one, or when ctx ends.
func (r *refused) await(ctx context.Context) {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.aside:
			return
		case <-tick.C:
			if _, err := os.Stat(r.unsound.Dir); errors.Is(err, os.ErrNotExist) {
				r.log.Info("the damaged spool is gone: a new one is opened")
				return
			}
		}
	}
}

// maxTurnedAway bounds the connections that are turned away at the same time.
const maxTurnedAway = 64

// turnAway answers clients of a socket that systemd holds with a temporary error, since nothing
// else would answer them. It stops with ctx, and leaves the socket open for the node.
func (r *refused) turnAway(ctx context.Context, l net.Listener) {
	deadline, ok := l.(interface{ SetDeadline(time.Time) error })
	if !ok {
		return
	}
	end := context.AfterFunc(ctx, func() { _ = deadline.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		end()
		_ = deadline.SetDeadline(time.Time{})
	}()
	text := "421 4.3.0 " + r.config.Node.Hostname + " mail system storage failure, try again later\r\n"
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

// Refused requests say why.
var _ control.Node = (*refused)(nil)

func (r *refused) no() error {
	return refusal.Unavailable.Wrap(r.unsound)
}

// Status describes a node that is stuck in its start.
func (r *refused) Status(context.Context) api.Status {
	c := r.config
	return api.Status{
		Name: c.Node.Name, Region: c.Node.Region, Hostname: c.Node.Hostname, PID: os.Getpid(),
		Phase: api.Starting, Since: r.started, Started: r.started,
		Spool:  api.SpoolStatus{Reason: "damaged", Problem: r.unsound.Error()},
		Config: &api.ConfigStatus{File: r.o.File, Loaded: r.started}, Clock: r.o.Clock.Status(), Degraded: r.degraded.List(),
	}
}

// Ready returns the reason.
func (r *refused) Ready(context.Context) error { return r.unsound }

// Reload changes nothing: the config is read when the spool is opened.
func (r *refused) Reload(context.Context) (api.Reloaded, error) {
	return api.Reloaded{}, r.no()
}

// List refuses.
func (r *refused) List(context.Context, api.QueueQuery) (api.QueuePage, error) {
	return api.QueuePage{}, r.no()
}

// Show refuses.
func (r *refused) Show(context.Context, mail.ID) (api.QueueDetail, error) {
	return api.QueueDetail{}, r.no()
}

// Change refuses.
func (r *refused) Change(context.Context, api.Action, []mail.ID, string) (api.Outcome, error) {
	return api.Outcome{}, r.no()
}

// Drain refuses: nothing is in service, and nothing can be handed over.
func (r *refused) Drain(context.Context, api.DrainRequest) error { return r.no() }

// Resume refuses.
func (r *refused) Resume(context.Context) error { return r.no() }

// SelfTest fails.
func (r *refused) SelfTest(context.Context) (api.SelfTest, error) { return api.SelfTest{}, r.no() }

// CheckSpool checks the damaged spool.
func (r *refused) CheckSpool(context.Context) (api.SpoolReport, error) {
	if !r.working.TryLock() {
		return api.SpoolReport{}, errExporting
	}
	defer r.working.Unlock()
	report, err := spool.Check(r.unsound.Dir)
	if err == nil && report.Sound() {
		report.Problems = append(report.Problems, r.unsound.Problems...)
	}
	return api.SpoolReport(report), err
}

// SetSpoolAside moves the damaged spool away, and triggers the opening of a new one.
func (r *refused) SetSpoolAside(context.Context) (string, error) {
	if !r.working.TryLock() {
		return "", errExporting
	}
	defer r.working.Unlock()
	to, err := spool.SetAside(r.unsound.Dir, time.Now())
	if err != nil {
		return "", err
	}
	r.log.Warn("the damaged spool was set aside", "to", to)
	select {
	case r.aside <- struct{}{}:
	default:
	}
	return to, nil
}

// ExportSpool writes the damaged spool, and what was set aside before, to folders beside it.
func (r *refused) ExportSpool(_ context.Context, each func(api.SpoolMessage)) (api.SpoolExport, error) {
	if !r.working.TryLock() {
		return api.SpoolExport{}, errExporting
	}
	defer r.working.Unlock()
	return exportSpool(r.unsound.Dir, true, int64(r.config.Spool.DiskReserve), each)
}
