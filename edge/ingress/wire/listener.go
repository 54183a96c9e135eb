package wire

import (
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"anymx/edge/mail"
)

// Options are what a Registry is made from.
type Options struct {
	Settings Settings
	Log      *slog.Logger          // nil: nothing is logged
	Metrics  prometheus.Registerer // nil: nothing is registered
}

// Registry is the connections of one service: its listeners share the caps,
// the settings and the drain.
type Registry struct {
	settings atomic.Pointer[Settings]
	draining atomic.Bool
	caps     caps
	metrics  *metrics
	log      *slog.Logger

	mu     sync.Mutex
	conns  map[*Conn]struct{}
	waits  map[*wait]struct{} // for connections to end
	leave  chan struct{}      // closed when silent clients are told to go
	closed bool

	evicted time.Time // when connections were evicted last
}

// NewRegistry makes the registry of a service.
func NewRegistry(o Options) *Registry {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	r := &Registry{
		log: o.Log, metrics: newMetrics(o.Metrics),
		conns: make(map[*Conn]struct{}), waits: make(map[*wait]struct{}), leave: make(chan struct{}),
	}
	r.Configure(o.Settings)
	return r
}

// Configure changes the settings for connections to come.
func (r *Registry) Configure(s Settings) {
	r.settings.Store(&s)
	r.metrics.limit.Set(float64(s.Limits.MaxConnections))
}

// Open is the number of open connections.
func (r *Registry) Open() int { return r.caps.open() }

func (r *Registry) add(c *Conn) {
	r.mu.Lock()
	r.conns[c] = struct{}{}
	r.mu.Unlock()
}

func (r *Registry) remove(c *Conn) {
	r.mu.Lock()
	delete(r.conns, c)
	for w := range r.waits {
		w.gone(c)
	}
	r.mu.Unlock()
}

// Serve gives each connection of l to handle, in a goroutine of its own, until l is closed. It returns
// l's error then, at once: Close waits for the connections. l should be plain TCP (no MPTCP: the shield
// hands connections to it).
//
// Serve answers clients that are over a cap itself, and never waits for a client.
func (r *Registry) Serve(l net.Listener, handle func(*Conn)) error {
	for delay := time.Duration(0); ; {
		sock, err := l.Accept()
		if err != nil {
			//lint:ignore SA1019 it tells too many open files from the end
			if ne, ok := err.(net.Error); !ok || !ne.Temporary() {
				return err
			}
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			r.log.Error("accepting a connection failed", "err", err, "retry", delay)
			time.Sleep(delay)
			continue
		}
		delay = 0
		if c := r.admit(sock); c != nil {
			go handle(c)
		}
	}
}

// admit makes a Conn of sock, or refuses it.
func (r *Registry) admit(sock net.Conn) *Conn {
	settings := r.settings.Load()
	r.metrics.accepted.Inc()
	limits := &settings.Limits
	c := newConn(sock, settings, r)
	from := c.peer.client.Addr()
	c.peer.proxied = limits.proxied(from)
	switch {
	case c.isProbe():
		r.caps.enterOwn(limits)
	case !r.caps.enter(limits, !c.peer.proxied && from.IsValid() && r.caps.isKnown(from, c.began)):
		r.evict(limits)
		r.refuse(sock, "connections", settings.Full)
		return nil
	}
	if !c.peer.proxied {
		if full := c.join(); full != 0 {
			r.caps.leave(from, false, limits)
			r.refuse(sock, reasonFull(full), settings.NetworkFull)
			return nil
		}
	}
	r.evict(limits)
	r.add(c)
	r.metrics.open.Inc()
	return c
}

// refuse answers without a Conn: a fresh socket's buffer takes the line, and
// nothing waits.
func (r *Registry) refuse(sock net.Conn, reason string, reply mail.Reply) {
	r.metrics.refused.WithLabelValues(reason).Inc()
	_ = sock.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = sock.Write(appendReply(nil, reply))
	_ = sock.Close()
}
