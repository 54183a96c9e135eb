// Package edge is the node: it puts the parts together, owns every goroutine,
// and walks through the phases from start to end.
//
// What happens to the data: Open builds spool, queue, courier, server and
// control socket from one config, and fails before anything is promised. Run
// serves. When its context ends, ingress says 421 to what is new and lets
// transactions in flight end; the queue hands over what it can within the
// grace; then the parts are closed from the outside in, the spool last.
package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"anymx/edge/config"
	"anymx/edge/control"
	"anymx/edge/handoff"
	"anymx/edge/maillog"
	"anymx/edge/queue"
	"anymx/edge/smtpd"
	"anymx/edge/spool"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Options are what a Node is made from.
type Options struct {
	File   string         // of the config, for reloads
	Config *config.Config // as it was loaded from File
	// Listeners are sockets of ingress that somebody opened for us; empty: the
	// config's addresses are listened on.
	Listeners []net.Listener
	Stderr    io.Writer      // of mail log lines
	Log       *slog.Logger   // the node's own log
	Level     *slog.LevelVar // of Log; a reload sets it
}

// Node is a running edge.
type Node struct {
	o       Options
	log     *slog.Logger
	started time.Time
	phase   phase

	config      atomic.Pointer[inForce]
	reloading   sync.Mutex
	certificate certificate

	metrics   *prometheus.Registry
	maillog   *maillog.Log
	spool     *spool.Spool
	courier   *handoff.Handoff
	queue     *queue.Queue
	ingress   *smtpd.Server
	control   *control.Server
	listeners []net.Listener
	socket    net.Listener // control
	page      net.Listener // metrics; nil: none
}

// Open opens the spool and every socket. Nothing is served yet. An error says
// what could not be opened; all that was is closed again.
func Open(o Options) (n *Node, err error) {
	n = &Node{o: o, log: o.Log, started: time.Now(), metrics: prometheus.NewRegistry()}
	n.phase.set(control.Starting, n.started)
	n.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
			n = nil
		}
	}()
	c := o.Config
	settings, err := n.load(c)
	if err != nil {
		return n, err
	}
	n.maillog = maillog.New(o.Stderr, maillog.Options{JSON: c.Log.Format == "json", Metrics: n.metrics})
	if err := n.openStore(c); err != nil {
		return n, err
	}
	n.ingress = smtpd.New(smtpd.Options{
		Hostname: c.Node.Hostname, Node: c.Node.Name, Settings: settings,
		Spool: n.spool, Accepted: n.queue.Accepted,
		MailLog: n.maillog, Log: n.log, Metrics: n.metrics,
	})
	n.control, err = control.New(control.Options{Node: n, Gather: n.metrics, Metrics: n.metrics, Log: n.log})
	if err != nil {
		return n, err
	}
	n.config.Store(&inForce{config: c, loaded: n.started})
	return n, n.listen(c)
}

// openStore opens the spool and what works on it.
func (n *Node) openStore(c *config.Config) error {
	if err := os.MkdirAll(c.Node.StateDir, 0o700); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	var err error
	n.spool, err = spool.Open(spool.Options{
		Dir:       filepath.Join(c.Node.StateDir, "spool"),
		InlineMax: int64(c.Spool.InlineMax), Memory: int64(c.Spool.Memory),
		HighWater: int64(c.Spool.HighWater), MaxMessages: int64(c.Spool.MaxMessages), DiskReserve: int64(c.Spool.DiskReserve),
		Log: n.log, Metrics: n.metrics,
	})
	if err != nil {
		return err
	}
	options := handoffOptions(c)
	options.Log, options.Metrics = n.log, n.metrics
	n.courier, err = handoff.New(options)
	if err != nil {
		return err
	}
	n.queue, err = queue.New(queue.Options{
		Spool: n.spool, Courier: n.courier, Concurrency: c.Core.MaxConnections, Schedule: schedule(&c.Queue),
		ReturnFull: int64(c.Queue.ReturnFull), Grace: max(time.Duration(c.Node.ShutdownGrace), time.Second),
		Hostname: c.Node.Hostname, Node: c.Node.Name,
		MailLog: n.maillog, Log: n.log, Metrics: n.metrics,
	})
	return err
}

// listen opens the sockets, ingress last: once it is open, mail comes.
func (n *Node) listen(c *config.Config) error {
	var err error
	if n.socket, err = control.Listen(c.Node.Control); err != nil {
		return err
	}
	if c.Node.Metrics != "" {
		if n.page, err = ListenTCP(context.Background(), c.Node.Metrics); err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
	}
	n.listeners = n.o.Listeners
	if len(n.listeners) > 0 {
		return nil
	}
	for _, address := range c.Ingress.Listen {
		l, err := ListenTCP(context.Background(), address)
		if err != nil {
			return fmt.Errorf("ingress: %w", err)
		}
		n.listeners = append(n.listeners, l)
	}
	return nil
}

// Addresses are those that ingress listens on.
func (n *Node) Addresses() []net.Addr {
	var list []net.Addr
	for _, l := range n.listeners {
		list = append(list, l.Addr())
	}
	return list
}

// Run serves until ctx ends or a part fails, and returns when everything is
// closed. The error is nil when it was asked to end.
func (n *Node) Run(ctx context.Context) error {
	failed, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var parts, control, queue sync.WaitGroup
	start := func(wg *sync.WaitGroup, name string, run func() error) {
		wg.Go(func() {
			if err := run(); err != nil {
				fail(fmt.Errorf("%s: %w", name, err))
			}
		})
	}
	// Control and queue outlive ctx: the end is watched, and mail is still
	// handed over, while ingress closes.
	controlCtx, stopControl := context.WithCancel(context.WithoutCancel(ctx))
	queueCtx, stopQueue := context.WithCancel(context.WithoutCancel(ctx))
	defer stopControl()
	defer stopQueue()
	start(&control, "control", func() error { return n.control.Serve(controlCtx, n.socket, n.page) })
	start(&queue, "queue", func() error { return n.queue.Run(queueCtx) })
	for _, l := range n.listeners {
		start(&parts, "ingress", func() error { return n.ingress.Serve(l) })
		n.log.Info("listening", "address", l.Addr().String())
	}
	start(&parts, "files", func() error {
		watchFiles(failed, func() []string { return filesOf(n.config.Load().config) }, n.reloadFiles)
		return nil
	})
	start(&parts, "spool", func() error {
		select {
		case <-n.spool.Failed():
			return n.spool.Probe(failed)
		case <-failed.Done():
			return nil
		}
	})
	n.ready(failed)
	<-failed.Done()

	n.end()
	parts.Wait()
	stopQueue()
	queue.Wait()
	stopControl()
	control.Wait()
	err := n.close()
	if cause := context.Cause(failed); ctx.Err() == nil {
		return errors.Join(cause, err)
	}
	return err
}

// ready tells systemd, once a message can be stored.
func (n *Node) ready(ctx context.Context) {
	n.phase.set(phaseRunning, time.Now())
	if err := n.Ready(ctx); err != nil {
		n.log.Error("not ready", "err", err)
	} else {
		n.log.Info("ready")
	}
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady) // nothing to do where there is no systemd
}

// end lets ingress and queue come to rest, within the grace.
func (n *Node) end() {
	n.phase.set(phaseStopping, time.Now())
	_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
	limit := time.Duration(n.config.Load().config.Node.ShutdownGrace)
	if n.storeFailed() {
		limit = min(limit, failedGrace)
	}
	grace, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	n.log.Info("stopping", "sessions", n.ingress.Registry().Open(), "grace", limit)
	n.ingress.Registry().SetDraining(true)
	for _, l := range n.listeners {
		_ = l.Close()
	}
	if cut := n.ingress.Registry().Close(grace); cut > 0 {
		n.log.Warn("sessions were cut, the grace is over", "sessions", cut)
	}
	if !n.storeFailed() {
		n.flush(grace)
	}
}

// failedGrace is what sessions get to hear their refusal when storage has
// failed: nothing more can be taken, and the next start recovers what was.
const failedGrace = 2 * time.Second

func (n *Node) storeFailed() bool {
	select {
	case <-n.spool.Failed():
		return true
	default:
		return false
	}
}

// flush hands over what the queue has, unless core is known not to answer.
func (n *Node) flush(grace context.Context) {
	left := n.queue.Stats()
	if left.Paused == nil {
		left, _ = n.queue.Drain(grace) // what is left is said below, whatever ended the wait
	}
	if left.Messages() > 0 {
		n.log.Info("messages stay in the spool until the next start", "messages", left.Messages(), "held", left.Held)
	}
}

// close closes what Open opened, from the outside in.
func (n *Node) close() error {
	var errs []error
	for _, l := range append([]net.Listener{n.socket, n.page}, n.listeners...) {
		if l != nil {
			if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	if n.courier != nil {
		errs = append(errs, n.courier.Close())
	}
	if n.spool != nil {
		errs = append(errs, n.spool.Close())
	}
	n.maillog.Close()
	return errors.Join(errs...)
}
