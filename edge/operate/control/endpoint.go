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

// Limits of both listeners. They protect mail from excessive monitoring.
const (
	defaultConnections = 64
	maxHeader          = 16 << 10 // bytes
	maxBody            = 64 << 10 // bytes of a request; 1,000 ids need 19 KiB
)

// timeouts bounds the parts of a request.
type timeouts struct {
	read    time.Duration // of a whole request
	request time.Duration // the program's part of an answer
	write   time.Duration // the program's part and the answer itself
	idle    time.Duration // of a connection between two requests
	grace   time.Duration // of requests in flight at the end
}

var standardTimeouts = timeouts{
	read: 10 * time.Second, request: 30 * time.Second, write: 40 * time.Second,
	idle: time.Minute, grace: 3 * time.Second,
}

// EndpointOptions configures an Endpoint.
type EndpointOptions struct {
	Gather  prometheus.Gatherer   // served at /metrics; nil: no metrics
	Metrics prometheus.Registerer // registers the endpoint's own metrics; nil: they are not exported
	Log     *slog.Logger          // nil: nothing is logged
	// MaxConnections limits the open connections of each listener; more are closed at once. 0 means
	// 64.
	MaxConnections int
	// Ready decides /readyz; one call serves all requests within 100 ms. Nil means always ready.
	// Its error is shown to people as the reason. It has 2 s.
	Ready func(context.Context) error
}

// Endpoint answers HTTP and JSON on the control socket of one of the node's programs, and serves
// read-only pages on a listener for metrics. Both have /metrics, /healthz and /readyz; Handle and
// HandlePage add others before Serve.
type Endpoint struct {
	log      *slog.Logger
	gather   prometheus.Gatherer
	requests *prometheus.CounterVec // by route and code
	control  capped                 // has no listener until Serve
	metrics  capped
	socket   *http.ServeMux // endpoints of the control socket
	pages    *http.ServeMux // endpoints of the metrics listener
	ready    readiness
	timeouts timeouts
}

// NewEndpoint returns an Endpoint. It fails only if its metrics are registered already.
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

// Serve answers on the control socket and, unless it is nil, on the TCP listener for metrics, until
// ctx ends. Then it closes both, gives requests in flight a moment to end, and returns nil. If one
// listener fails the other is closed too, and the error says which failed. An Endpoint serves once.
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

// shutdown closes the listeners and waits for the requests in flight: first it lets them end, then
// it cancels them, then it closes their connections.
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
			srv.Close() // Shutdown has reported any error
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
