// Package edge is the node: it puts the parts together, owns every goroutine, and moves through the
// phases from start to end.
//
// What happens to the data: Open builds spool, queue, courier, server and control socket from one
// config, and fails before any mail is accepted; what mail does not need, such as a certificate or
// the address for metrics, may be missing and is picked up when it appears. Run serves, unless the
// node was drained when it last ended, and sends itself a message through each listener: the node
// reports ready only after that message was stored and read back. A drain goes through its steps:
// the speaker withdraws the routes, ingress answers new sessions with 421 and lets transactions in
// flight end, and the queue hands over the spool. When Run's context ends, the same steps run
// within the grace period, then the parts are closed from the outside in, the spool last.
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

	"anymx/edge/budget"
	"anymx/edge/config"
	"anymx/edge/delivery/handoff"
	"anymx/edge/delivery/routing"
	"anymx/edge/drain"
	"anymx/edge/ingress/certificate"
	"anymx/edge/ingress/own"
	"anymx/edge/ingress/recipients"
	"anymx/edge/ingress/smtpd"
	"anymx/edge/mail"
	"anymx/edge/maillog"
	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/operate/poll"
	"anymx/edge/queue"
	"anymx/edge/rescue"
	"anymx/edge/selftest"
	"anymx/edge/service"
	"anymx/edge/spool"
	"anymx/edge/uplink/device"

	"github.com/prometheus/client_golang/prometheus"
)

// Options configures a Node.
type Options struct {
	File   string         // of the config, for reloads
	Config *config.Config // as it was loaded from File
	// Listeners are ingress sockets that were opened for us, such as by systemd. Those that
	// ingress.listen names are used, others are closed; addresses that it names without a socket
	// are opened.
	Listeners []net.Listener
	Stderr    io.Writer      // of mail log lines
	Log       *slog.Logger   // the node's own log
	Level     *slog.LevelVar // of Log; a reload sets it
	// Reload gets a value for each SIGHUP; nil disables it.
	Reload <-chan struct{}
	Clock  *service.Clock // dates mail; nil: time.Now
}

// Node is a running edge.
type Node struct {
	options  Options
	log      *slog.Logger
	started  time.Time
	drain    *drain.Drain
	own      own.Connections // to ingress
	selfTest *selftest.Tester

	reloader    *service.Reloader
	exporting   sync.Mutex // guards the export of what was set aside
	certificate *certificate.Certificate
	recipients  recipients.Lists
	degraded    *service.Degraded

	metrics   *prometheus.Registry
	maillog   *maillog.Log
	memory    *budget.Budget // of transactions
	spool     *spool.Spool
	courier   *handoff.Groups
	routes    atomic.Pointer[routing.Table] // by the config in force
	queue     *queue.Queue
	ingress   *smtpd.Server
	control   *control.Server
	tunnel    *device.Device                   // nil: core is reached directly
	speaker   *poll.Speaker                    // nil: nothing is announced
	network   *poll.Program[api.NetworkStatus] // nil: there is nothing to set up
	listeners []net.Listener
	socket    net.Listener // control
	page      net.Listener // metrics; nil: none
}

// Run opens a node and runs it until ctx ends or a part fails. While the spool is damaged there is
// no node: rescue serves in its place, and the node is opened after the spool was set aside or
// repaired.
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
		r := rescue.New(rescue.Options{File: o.File, Config: o.Config, Unsound: u, Listeners: o.Listeners, Log: o.Log, Clock: o.Clock})
		if err := r.Serve(ctx); err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// Open opens the spool and every socket. Nothing is served yet. An error says what could not be
// opened; everything opened before it is closed again.
func Open(o Options) (n *Node, err error) {
	n = &Node{options: o, log: o.Log, started: time.Now(), metrics: service.NewRegistry(o.Clock)}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
			n = nil
		}
	}()
	c := o.Config
	n.certificate = certificate.New(n.log)
	n.degraded = service.NewDegraded(n.log, service.PartControl, service.PartMetrics, partCertificate, partRecipients, partDrain)
	n.reloader = n.newReloader()
	n.metrics.MustRegister(n.degraded, n.reloader, n.certificate)
	n.warnOfRouting(c)
	settings := n.readFiles(c)
	n.maillog = maillog.New(o.Stderr, maillog.Options{JSON: c.Log.Format == "json", Now: o.Clock.Now, Metrics: n.metrics})
	if err := n.openStore(c); err != nil {
		return n, err
	}
	n.ingress = smtpd.New(smtpd.Options{
		Node: c.Node.Name, Settings: settings,
		Spool: n.spool, Accepted: n.queue.Accepted, Core: n.courier.Extensions, Own: &n.own, Budget: n.memory,
		Now: o.Clock.Now, MailLog: n.maillog, Log: n.log, Metrics: n.metrics,
	})
	n.openNeighbours(c)
	n.openDrain(c)
	n.selfTest = selftest.New(selftest.Options{
		Hostname: func() string { return n.reloader.Config().Node.Hostname }, Listeners: func() []net.Listener { return n.listeners },
		Own: &n.own, Full: n.spool.Accepting, Log: n.log, Metrics: n.metrics,
	})
	n.control, err = control.New(control.Options{Node: n, Gather: n.metrics, Metrics: n.metrics, Log: n.log})
	if err != nil {
		return n, err
	}
	return n, n.listen(c)
}

// listen opens the sockets, ingress last because mail arrives as soon as it is open. Control socket
// and metrics are opened later if they can't be opened now: mail needs neither.
func (n *Node) listen(c *config.Config) (err error) {
	n.socket = service.ListenControl(c.Node.Control, n.degraded)
	n.page = service.ListenMetrics(c.Node.Metrics, n.degraded)
	if n.listeners, err = service.ListenIngress(n.options.Listeners, c.Ingress.Listen, n.log); err != nil {
		return fmt.Errorf("ingress: %w", err)
	}
	return nil
}

// Addresses returns the addresses that ingress listens on.
func (n *Node) Addresses() []net.Addr {
	var list []net.Addr
	for _, l := range n.listeners {
		list = append(list, l.Addr())
	}
	return list
}

// openNeighbours creates the clients of the programs beside this one.
func (n *Node) openNeighbours(c *config.Config) {
	if c.BGP != nil {
		n.speaker = poll.NewSpeaker(c.BGP.Control, n.log)
	}
	if c.Tunnel != nil || len(c.Anycast.Addresses) > 0 || len(c.Egress.Sources) > 0 {
		n.network = poll.NewNetwork(c.Net.Control, n.log)
	}
}

// openDrain creates the drain, which takes the node out of service and back.
func (n *Node) openDrain(c *config.Config) {
	o := drain.Options{
		StateDir: c.Node.StateDir, Ingress: n.ingress.Registry(), Queue: n.queue, Log: n.log,
		Limits: func() config.Drain { return n.reloader.Config().Drain },
		Report: func(file string, err error) { n.degraded.Report(partDrain, file, err) },
	}
	if n.speaker != nil {
		o.Speaker = n.speaker
	}
	n.drain = drain.New(o)
	n.metrics.MustRegister(n.drain)
}

// spoolDir returns the folder of the spool.
func spoolDir(c *config.Config) string { return filepath.Join(c.Node.StateDir, "spool") }

// openStore opens the spool and the parts that work on it.
func (n *Node) openStore(c *config.Config) error {
	if err := os.MkdirAll(c.Node.StateDir, 0o700); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	var err error
	n.memory = memoryBudget(c)
	n.routes.Store(routes(c))
	all, network := inFlight(c)
	n.spool, err = spool.Open(spool.Options{
		Budget: n.memory, InFlight: all, NetworkInFlight: network,
		Dir:       spoolDir(c),
		InlineMax: int64(c.Spool.InlineMax), Memory: int64(c.Spool.Memory),
		HighWater: int64(c.Spool.HighWater), MaxMessages: int64(c.Spool.MaxMessages), DiskReserve: int64(c.Spool.DiskReserve),
		OrphansKeep: time.Duration(c.Spool.OrphansKeep), OrphansMax: int64(c.Spool.OrphansMax),
		Route: func(env *mail.Envelope) []mail.Leg { return n.routes.Load().Legs(env) },
		Now:   n.options.Clock.Now, Log: n.log, Metrics: n.metrics,
	})
	if err != nil {
		return err
	}
	if c.Tunnel != nil {
		n.tunnel = device.New(c.Tunnel.Interface, n.log, n.tunnelBack)
	}
	n.courier, err = handoff.NewGroups(n.coreOptions(c), func(domain string) string { return n.routes.Load().Destination(domain) })
	if err != nil {
		return err
	}
	n.queue, err = queue.New(queue.Options{
		Spool: n.spool, Courier: n.courier, Concurrency: attempts(c), Lane: n.lane, Schedule: schedule(&c.Queue),
		ReturnFull: int64(c.Queue.ReturnFull), Grace: func() time.Duration {
			return max(time.Duration(n.reloader.Config().Node.ShutdownGrace), time.Second)
		},
		Hostname: func() string { return n.reloader.Config().Node.Hostname }, Node: c.Node.Name,
		Now: n.options.Clock.Now, MailLog: n.maillog, Log: n.log, Metrics: n.metrics,
	})
	return err
}

// Run serves until ctx ends or a part fails, and returns when everything is closed. The error is
// nil if ctx ended.
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
	// Control and queue outlive ctx: operators can watch the shutdown, and mail is still handed
	// over while ingress closes.
	controlCtx, stopControl := context.WithCancel(context.WithoutCancel(ctx))
	queueCtx, stopQueue := context.WithCancel(context.WithoutCancel(ctx))
	defer stopControl()
	defer stopQueue()
	if n.speaker != nil {
		control.Go(func() { n.speaker.Run(controlCtx) })
	}
	if n.network != nil {
		control.Go(func() { n.network.Run(controlCtx) })
	}
	if n.tunnel != nil {
		control.Go(func() { n.tunnel.Watch(controlCtx) })
		parts.Go(func() { n.probeCore(failed) })
	}
	control.Go(func() { service.Watchdog(controlCtx, n.log, n.parts()...) })
	parts.Go(func() { n.courier.Learn(failed) })
	n.drain.Start()
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

// ready notifies systemd once the self-test has shown that the node accepts and stores mail.
func (n *Node) ready(ctx context.Context) {
	if !n.selfTest.RunUntilPassed(ctx) {
		return
	}
	phase, _ := n.drain.Phase()
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

// end takes the node out of service, within the grace period. After a failure, as opposed to a
// requested stop, the routes are withdrawn at once.
func (n *Node) end(asked bool) {
	service.Stopping()
	limit := time.Duration(n.reloader.Config().Node.ShutdownGrace)
	failed := n.storeFailed()
	if failed {
		limit = min(limit, failedGrace)
	}
	n.log.Info("stopping", "sessions", n.ingress.Registry().Open(), "grace", limit)
	n.drain.Stop(limit, failed || !asked, func() {
		for _, l := range n.listeners {
			_ = l.Close()
		}
	})
}

// failedGrace is the time that sessions get to receive their refusal when storage has failed: the
// node accepts nothing more, and the next start recovers what it has accepted.
const failedGrace = 2 * time.Second

func (n *Node) storeFailed() bool {
	select {
	case <-n.spool.Failed():
		return true
	default:
		return false
	}
}

// tunnelBack has all mail attempted now: what waited for the tunnel, and what was in flight when it
// went down.
func (n *Node) tunnelBack() {
	n.courier.Retry()
	n.queue.FlushAll()
}

// close closes everything that Open opened, from the outside in.
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
