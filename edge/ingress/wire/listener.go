package wire

import (
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Options are what a Listener is made from.
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

// Listener is the net.Listener that go-smtp serves. One Server of go-smtp is to
// serve it.
type Listener struct {
	net.Listener
	registry *Registry
	dialect  atomic.Pointer[dialect] // nil until it is learned

	start  sync.Once
	ready  chan *Conn // those that want go-smtp
	faults chan error // of the inner listener, that pass
	end    sync.Once
	ended  chan struct{}
	err    error         // why, once ended is closed
	gone   chan struct{} // closed when run has returned
}

// Listen puts the registry's rules in front of inner, which should be plain
// TCP (no MPTCP: the shield hands connections to it).
func (r *Registry) Listen(inner net.Listener) *Listener {
	return &Listener{
		Listener: inner, registry: r,
		ready: make(chan *Conn), faults: make(chan error),
		ended: make(chan struct{}), gone: make(chan struct{}),
	}
}

// Accept returns a *Conn that is within the caps and has something to say to
// go-smtp.
func (l *Listener) Accept() (net.Conn, error) {
	l.start.Do(func() { go l.run() })
	select {
	case c := <-l.ready:
		return c, nil
	case err := <-l.faults:
		return nil, err
	case <-l.ended:
		<-l.gone
		return nil, l.err
	}
}

// Close closes the inner listener too. Clients that are in the lobby are told
// 421 at their next command but those that it can answer.
func (l *Listener) Close() error {
	l.stop(net.ErrClosed)
	return l.Listener.Close()
}

func (l *Listener) stop(err error) {
	l.end.Do(func() {
		l.err = err
		close(l.ended)
	})
}

// run accepts from the inner listener until that is closed. It writes a 421 to
// clients that are over a cap, and never waits for a client.
func (l *Listener) run() {
	defer close(l.gone)
	for {
		sock, err := l.Listener.Accept()
		if err != nil {
			//lint:ignore SA1019 it tells too many open files from the end, as go-smtp does
			if ne, ok := err.(net.Error); !ok || !ne.Temporary() {
				l.stop(err)
				return
			}
			select {
			case l.faults <- err: // go-smtp waits a little before it calls again
			case <-l.ended:
			}
			continue
		}
		c := l.registry.admit(sock, l)
		if c == nil {
			continue
		}
		if d := l.dialect.Load(); d != nil {
			go c.lobby(d) // owned by the registry, which waits for c
		} else if !l.enter(c) {
			_ = c.Close()
		}
	}
}

// enter hands c to go-smtp, unless the listener has ended.
func (l *Listener) enter(c *Conn) bool {
	select {
	case l.ready <- c:
		return true
	case <-l.ended:
		return false
	}
}

// learn keeps what go-smtp says to a greeting.
func (l *Listener) learn(keywords string, lmtp bool) {
	if l.dialect.Load() == nil {
		l.dialect.Store(&dialect{keywords, lmtp})
	}
}

// admit makes a Conn of sock, or refuses it.
func (r *Registry) admit(sock net.Conn, l *Listener) *Conn {
	settings := r.settings.Load()
	r.metrics.accepted.Inc()
	if !r.caps.enter(settings.Limits.MaxConnections) {
		r.refuse(sock, settings, "connections", "too many connections, try later")
		return nil
	}
	c := newConn(sock, settings, r, l)
	if settings.Limits.proxied(c.client.Addr()) {
		c.proxied = true
	} else if !c.join() {
		r.caps.leave(c.prefix, false)
		r.refuse(sock, settings, "prefix", "too many connections from your network, try later")
		return nil
	}
	r.add(c)
	r.metrics.open.Inc()
	return c
}

// refuse answers without a Conn: a fresh socket's buffer takes the line, and
// nothing waits.
func (r *Registry) refuse(sock net.Conn, s *Settings, reason, text string) {
	r.metrics.refused.WithLabelValues(reason).Inc()
	_ = sock.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = io.WriteString(sock, "421 4.7.0 "+s.Hostname+" "+text+"\r\n")
	_ = sock.Close()
}
