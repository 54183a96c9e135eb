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
)

// Limits of both listeners. They protect mail from its own instruments.
const (
	defaultConnections = 64
	maxHeader          = 16 << 10 // octets
	maxBody            = 64 << 10 // octets of a request; 1,000 ids need 19 KiB
)

// timeouts bound what a request may take.
type timeouts struct {
	read    time.Duration // of a whole request
	request time.Duration // of the program's part of an answer
	write   time.Duration // of both, and the answer itself
	idle    time.Duration // of a connection between two requests
	grace   time.Duration // of requests in flight at the end
}

var standardTimeouts = timeouts{
	read: 10 * time.Second, request: 30 * time.Second, write: 40 * time.Second,
	idle: time.Minute, grace: 3 * time.Second,
}

// EndpointOptions is what an Endpoint needs.
type EndpointOptions struct {
	Gather  prometheus.Gatherer   // served at /metrics; nil: prometheus has nothing to show
	Metrics prometheus.Registerer // for the endpoint's own metrics; nil: none
	Log     *slog.Logger          // nil: nothing is logged
	// MaxConnections is how many connections each listener keeps open; more
	// are closed at once. 0 means 64.
	MaxConnections int
	// Ready is what /readyz asks, once for all that ask within 100 ms; nil means
	// always ready. Its error is shown to people as the reason. It has 2 s.
	Ready func(context.Context) error
}

// Endpoint answers HTTP and JSON on the control socket of a program of the
// node, and what is for reading on a listener for metrics. What it answers
// beside /metrics, /healthz and /readyz, which are on both, is added by Handle
// and HandlePage before Serve.
type Endpoint struct {
	log      *slog.Logger
	gather   prometheus.Gatherer
	requests *prometheus.CounterVec // by route and code
	control  capped                 // without its listener until Serve
	metrics  capped
	socket   *http.ServeMux // what control offers
	pages    *http.ServeMux // what metrics offers
	ready    readiness
	timeouts timeouts
}

// NewEndpoint makes an Endpoint. It fails only if its metrics are registered
// already.
func NewEndpoint(o EndpointOptions) (*Endpoint, error) {
	e := &Endpoint{
		log: o.Log, gather: o.Gather, timeouts: standardTimeouts,
		socket: http.NewServeMux(), pages: http.NewServeMux(),
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	if e.gather == nil {
		e.gather = prometheus.NewRegistry()
	}
	limit := int64(o.MaxConnections)
	if limit <= 0 {
		limit = defaultConnections
	}
	e.control.limit, e.metrics.limit = limit, limit
	if err := e.register(o.Metrics); err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	e.ready.check = o.Ready
	if e.ready.check == nil {
		e.ready.check = func(context.Context) error { return nil }
	}
	e.ready.ctx, e.ready.cancel = context.WithCancel(context.Background())
	e.observe(e.socket)
	e.observe(e.pages)
	e.Handle("/", noRoute)
	return e, nil
}

// Serve answers on the control socket and, unless it is nil, on the TCP
// listener for metrics, until ctx ends. It closes both, lets requests in
// flight end for a moment, and returns nil then. If a listener fails the other
// one is closed too, and the error says which it was. An Endpoint serves once.
func (e *Endpoint) Serve(ctx context.Context, socket, metrics net.Listener) error {
	defer e.ready.close()
	requests, cancelRequests := context.WithCancel(context.Background())
	defer cancelRequests()
	type ended struct {
		name string
		err  error
	}
	ends := make(chan ended, 2)
	var servers []*http.Server
	start := func(name string, l *capped, h http.Handler) {
		srv := e.httpServer(requests, name, h)
		servers = append(servers, srv)
		go func() { ends <- ended{name, srv.Serve(l)} }()
	}
	e.control.Listener = socket
	start("control", &e.control, e.socket)
	if metrics != nil {
		e.metrics.Listener = metrics
		start("metrics", &e.metrics, e.pages)
	}

	var failed error
	running := len(servers)
	select {
	case <-ctx.Done():
	case end := <-ends:
		running--
		failed = fmt.Errorf("%s listener: %w", end.name, end.err)
	}

	e.ready.close()
	e.shutdown(servers, cancelRequests)
	for ; running > 0; running-- {
		<-ends
	}
	return errors.Join(failed, e.ready.wait(e.timeouts.grace))
}

// shutdown closes the listeners and waits for the requests in flight: first
// it lets them end, then it cancels them, then it cuts their connections.
func (e *Endpoint) shutdown(servers []*http.Server, cancelRequests func()) {
	var all sync.WaitGroup
	for _, srv := range servers {
		all.Go(func() {
			for range 2 {
				grace, cancel := context.WithTimeout(context.Background(), e.timeouts.grace)
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

func (e *Endpoint) httpServer(requests context.Context, name string, h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: e.timeouts.read,
		ReadTimeout:       e.timeouts.read,
		WriteTimeout:      e.timeouts.write,
		IdleTimeout:       e.timeouts.idle,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ConnContext:       withPeer,
		ErrorLog:          slog.NewLogLogger(e.log.With("listener", name).Handler(), slog.LevelWarn),
	}
}
