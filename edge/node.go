// Package edge is the node: it puts the parts together, owns every goroutine,
// and walks through the phases from start to end.
//
// What happens to the data: Open builds spool, queue, courier, server and
// control socket from one config, and fails before anything is promised; what mail
// does not need, such as a certificate or the address for metrics, may be missing and
// is taken up when it comes. Run
// serves, unless the node was drained when it ended, and sends itself a message
// through each listener: before that was stored and read back nobody is told that
// the node is ready. A drain walks through its steps: the speaker withdraws the
// routes, ingress says 421 to what is new and lets transactions in flight end,
// and the queue hands the spool over. When Run's context ends the same steps are
// walked within the grace, then the parts are closed from the outside in, the
// spool last.
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
	"time"

	"anymx/edge/config"
	"anymx/edge/delivery/handoff"
	"anymx/edge/ingress/smtpd"
	"anymx/edge/maillog"
	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/queue"
	"anymx/edge/service"
	"anymx/edge/spool"
	"anymx/edge/statefile"

	"github.com/prometheus/client_golang/prometheus"
)

// Options are what a Node is made from.
type Options struct {
	File   string         // of the config, for reloads
	Config *config.Config // as it was loaded from File
	// Listeners are sockets of ingress that somebody opened for us. Those that
	// ingress.listen names are taken, others closed; what it names beyond them is
	// opened.
	Listeners []net.Listener
	Stderr    io.Writer      // of mail log lines
	Log       *slog.Logger   // the node's own log
	Level     *slog.LevelVar // of Log; a reload sets it
	// Reload gets a value for each SIGHUP; nil: there are none.
	Reload <-chan struct{}
	Clock  *service.Clock // what mail is dated by; nil: time.Now
}

// Node is a running edge.
type Node struct {
	o       Options
	log     *slog.Logger
	started time.Time
	drain   *drain
	proof   proof

	reloader    *service.Reloader
	exporting   sync.Mutex // of what was set aside
	certificate certificate
	read        inputs
	degraded    *service.Degraded

	metrics   *prometheus.Registry
	maillog   *maillog.Log
	spool     *spool.Spool
	courier   *handoff.Handoff
	queue     *queue.Queue
	ingress   *smtpd.Server
	control   *control.Server
	tunnel    *device                       // nil: core is reached directly
	speaker   *speaker                      // nil: nothing is announced
	network   *neighbour[api.NetworkStatus] // nil: nothing to be set up
	listeners []net.Listener
	socket    net.Listener // control
	page      net.Listener // metrics; nil: none
}

// Open opens the spool and every socket. Nothing is served yet. An error says
// what could not be opened; all that was is closed again.
func Open(o Options) (n *Node, err error) {
	n = &Node{o: o, log: o.Log, started: time.Now(), metrics: service.NewRegistry(o.Clock)}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
			n = nil
		}
	}()
	c := o.Config
	n.certificate.log = n.log
	n.degraded = service.NewDegraded(n.log, service.PartControl, service.PartMetrics, partCertificate, partRecipients, partDrain)
	n.reloader = n.newReloader()
	n.metrics.MustRegister(n.degraded, n.reloader, certificateMetrics{&n.certificate})
	n.warnOfRouting(c)
	settings := n.readFiles(c)
	n.maillog = maillog.New(o.Stderr, maillog.Options{JSON: c.Log.Format == "json", Now: o.Clock.Now, Metrics: n.metrics})
	if err := n.openStore(c); err != nil {
		return n, err
	}
	n.ingress = smtpd.New(smtpd.Options{
		Node: c.Node.Name, Settings: settings,
		Spool: n.spool, Accepted: n.queue.Accepted, Core: n.courier.Extensions,
		Now: o.Clock.Now, MailLog: n.maillog, Log: n.log, Metrics: n.metrics,
	})
	n.openNeighbours(c)
	n.drain = newDrain(drainOptions{
		file: newStandingFile(c.Node.StateDir), speaker: n.speaker, ingress: n.ingress.Registry(), queue: n.queue,
		limits: func() config.Drain { return n.reloader.Config().Drain }, log: n.log, degraded: n.degraded,
	})
	n.metrics.MustRegister(drainMetrics{n.drain})
	n.proof.metrics = newProofMetrics(n.metrics)
	n.control, err = control.New(control.Options{Node: n, Gather: n.metrics, Metrics: n.metrics, Log: n.log})
	if err != nil {
		return n, err
	}
	return n, n.listen(c)
}

// openNeighbours readies the questions to the programs beside this one.
func (n *Node) openNeighbours(c *config.Config) {
	if c.BGP != nil {
		n.speaker = newSpeaker(c.BGP.Control, n.log)
	}
	if c.Tunnel != nil || len(c.Anycast.Addresses) > 0 || len(c.Egress.Sources) > 0 {
		n.network = newNetwork(c.Net.Control, n.log)
	}
}

// spoolDir is where the spool lies.
func spoolDir(c *config.Config) string { return filepath.Join(c.Node.StateDir, "spool") }

// openStore opens the spool and what works on it.
func (n *Node) openStore(c *config.Config) error {
	if err := os.MkdirAll(c.Node.StateDir, 0o700); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	var err error
	n.spool, err = spool.Open(spool.Options{
		Dir:       spoolDir(c),
		InlineMax: int64(c.Spool.InlineMax), Memory: int64(c.Spool.Memory),
		HighWater: int64(c.Spool.HighWater), MaxMessages: int64(c.Spool.MaxMessages), DiskReserve: int64(c.Spool.DiskReserve),
		OrphansKeep: time.Duration(c.Spool.OrphansKeep), OrphansMax: int64(c.Spool.OrphansMax),
		Now: n.o.Clock.Now, Log: n.log, Metrics: n.metrics,
	})
	if err != nil {
		return err
	}
	if c.Tunnel != nil {
		n.tunnel = &device{name: c.Tunnel.Interface, log: n.log, back: n.tunnelBack}
	}
	options := handoffOptions(c, n.tunnel)
	options.Log, options.Metrics = n.log, n.metrics
	options.Learned = statefile.File(filepath.Join(c.Node.StateDir, "core-extensions.json"))
	n.courier, err = handoff.New(options)
	if err != nil {
		return err
	}
	n.queue, err = queue.New(queue.Options{
		Spool: n.spool, Courier: n.courier, Concurrency: c.Core.MaxConnections, Schedule: schedule(&c.Queue),
		ReturnFull: int64(c.Queue.ReturnFull), Grace: func() time.Duration {
			return max(time.Duration(n.reloader.Config().Node.ShutdownGrace), time.Second)
		},
		Hostname: func() string { return n.reloader.Config().Node.Hostname }, Node: c.Node.Name,
		Now: n.o.Clock.Now, MailLog: n.maillog, Log: n.log, Metrics: n.metrics,
	})
	return err
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
	if n.speaker != nil {
		control.Go(func() { n.speaker.run(controlCtx) })
	}
	if n.network != nil {
		control.Go(func() { n.network.run(controlCtx) })
	}
	if n.tunnel != nil {
		control.Go(func() { n.tunnel.watch(controlCtx) })
		parts.Go(func() { n.probeCore(failed) })
	}
	control.Go(func() { service.Watchdog(controlCtx, n.log, n.parts()...) })
	parts.Go(func() { n.courier.Learn(failed) })
	n.drain.start()
	start(&control, "control", func() error { return n.control.Serve(controlCtx, n.socket, n.page) })
	start(&queue, "queue", func() error { return n.queue.Run(queueCtx) })
	for _, l := range n.listeners {
		start(&parts, "ingress", func() error { return n.ingress.Serve(l) })
		n.log.Info("listening", "address", l.Addr().String())
	}
	parts.Go(func() { n.reloader.Run(failed) })
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

	n.end(ctx.Err() != nil)
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

// ready tells systemd, once the node has proven that it takes and stores mail.
func (n *Node) ready(ctx context.Context) {
	if !n.proveAtStart(ctx) {
		return
	}
	phase, _ := n.drain.place()
	service.Status(string(phase))
	if phase != api.Running {
		n.log.Warn("out of service", "phase", phase)
	} else if err := n.Ready(ctx); err != nil {
		n.log.Error("not ready", "err", err)
	} else {
		n.log.Info("ready")
	}
	service.Ready()
}

// end takes the node out of service, within the grace. Where that was not asked
// for, but a part has failed, routers are not kept waiting.
func (n *Node) end(asked bool) {
	service.Stopping()
	limit := time.Duration(n.reloader.Config().Node.ShutdownGrace)
	failed := n.storeFailed()
	if failed {
		limit = min(limit, failedGrace)
	}
	n.log.Info("stopping", "sessions", n.ingress.Registry().Open(), "grace", limit)
	n.drain.end(limit, failed || !asked, func() {
		for _, l := range n.listeners {
			_ = l.Close()
		}
	})
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

// tunnelBack has all mail tried now: what waited for the tunnel, and what was
// on its way when that went.
func (n *Node) tunnelBack() {
	n.courier.Retry()
	n.queue.FlushAll()
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
