package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"anymx/edge/mail"
)

// Node is what a Server shows and changes. Its methods are called from many
// goroutines; they end early, with its error, when ctx does. An error may be
// or wrap an *Error, which chooses the code that is sent.
type Node interface {
	// Status is cheap: it waits for no disk and no network. Ready stays zero.
	Status(ctx context.Context) Status
	// Ready is nil if the node can accept and store mail now, which it finds
	// out by writing to the disk. Its error is shown to people as the reason.
	Ready(ctx context.Context) error
	// Reload reads config, certificates and lists again. If anything is wrong
	// it changes nothing; a *config.Errors is sent with its problems.
	Reload(ctx context.Context) (Reloaded, error)
	// List gives one page: messages for which q.Match is true, by arrival, from
	// behind q.After on, at most q.Limit of them, which is 1 to MaxPage. It may
	// return early, with Next set, so that no request takes long.
	List(ctx context.Context, q QueueQuery) (QueuePage, error)
	// Show tells all of one message, or ErrNotFound.
	Show(ctx context.Context, id mail.ID) (QueueDetail, error)
	// Change acts on up to MaxPage messages; reason goes with Hold. What could
	// be done is done: the error is for the ids that the Outcome does not name.
	Change(ctx context.Context, a Action, ids []mail.ID, reason string) (Outcome, error)
}

// Limits of both listeners. They protect mail from its own instruments.
const (
	defaultConnections = 64
	maxHeader          = 16 << 10 // octets
	maxBody            = 64 << 10 // octets of a request; 1,000 ids need 19 KiB
)

// timeouts bound what a request may take.
type timeouts struct {
	read    time.Duration // of a whole request
	request time.Duration // of the node's part of an answer
	write   time.Duration // of both, and the answer itself
	idle    time.Duration // of a connection between two requests
	grace   time.Duration // of requests in flight at the end
}

var standardTimeouts = timeouts{
	read: 10 * time.Second, request: 30 * time.Second, write: 40 * time.Second,
	idle: time.Minute, grace: 3 * time.Second,
}

// Options is what a Server needs.
type Options struct {
	Node    Node
	Gather  prometheus.Gatherer   // served at /metrics; nil: prometheus has nothing to show
	Metrics prometheus.Registerer // for the server's own metrics; nil: none
	Log     *slog.Logger          // nil: nothing is logged
	// MaxConnections is how many connections each listener keeps open; more
	// are closed at once. 0 means 64.
	MaxConnections int
	Now            func() time.Time // of the status page; nil means time.Now
}

// Server answers on the control socket and on the metrics listener.
type Server struct {
	node     Node
	log      *slog.Logger
	now      func() time.Time
	gather   prometheus.Gatherer
	requests *prometheus.CounterVec // by route and code
	control  capped                 // without its listener until Serve
	metrics  capped
	ready    readiness
	timeouts timeouts
}

// New makes a Server. It fails only if its metrics are registered already.
func New(o Options) (*Server, error) {
	s := &Server{node: o.Node, log: o.Log, now: o.Now, gather: o.Gather, timeouts: standardTimeouts}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.gather == nil {
		s.gather = prometheus.NewRegistry()
	}
	limit := int64(o.MaxConnections)
	if limit <= 0 {
		limit = defaultConnections
	}
	s.control.limit, s.metrics.limit = limit, limit
	if err := s.register(o.Metrics); err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	s.ready.check = s.node.Ready
	s.ready.ctx, s.ready.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Serve answers on the control socket and, unless it is nil, on the TCP
// listener for metrics, until ctx ends. It closes both, lets requests in
// flight end for a moment, and returns nil then. If a listener fails the other
// one is closed too, and the error says which it was. A Server serves once.
func (s *Server) Serve(ctx context.Context, control, metrics net.Listener) error {
	defer s.ready.close()
	requests, cancelRequests := context.WithCancel(context.Background())
	defer cancelRequests()
	type ended struct {
		name string
		err  error
	}
	ends := make(chan ended, 2)
	var servers []*http.Server
	start := func(name string, l *capped, h http.Handler) {
		srv := s.httpServer(requests, name, h)
		servers = append(servers, srv)
		go func() { ends <- ended{name, srv.Serve(l)} }()
	}
	s.control.Listener = control
	start("control", &s.control, s.controlRoutes())
	if metrics != nil {
		s.metrics.Listener = metrics
		start("metrics", &s.metrics, s.metricsRoutes())
	}

	var failed error
	running := len(servers)
	select {
	case <-ctx.Done():
	case e := <-ends:
		running--
		failed = fmt.Errorf("%s listener: %w", e.name, e.err)
	}

	s.ready.close()
	s.shutdown(servers, cancelRequests)
	for ; running > 0; running-- {
		<-ends
	}
	return errors.Join(failed, s.ready.wait(s.timeouts.grace))
}

// shutdown closes the listeners and waits for the requests in flight: first
// it lets them end, then it cancels them, then it cuts their connections.
func (s *Server) shutdown(servers []*http.Server, cancelRequests func()) {
	var all sync.WaitGroup
	for _, srv := range servers {
		all.Go(func() {
			for range 2 {
				grace, cancel := context.WithTimeout(context.Background(), s.timeouts.grace)
				err := srv.Shutdown(grace)
				cancel()
				if err == nil {
					return
				}
				cancelRequests()
			}
			srv.Close() // what Close could report, Shutdown did
		})
	}
	all.Wait()
}

func (s *Server) httpServer(requests context.Context, name string, h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: s.timeouts.read,
		ReadTimeout:       s.timeouts.read,
		WriteTimeout:      s.timeouts.write,
		IdleTimeout:       s.timeouts.idle,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ConnContext:       withPeer,
		ErrorLog:          slog.NewLogLogger(s.log.With("listener", name).Handler(), slog.LevelWarn),
	}
}
