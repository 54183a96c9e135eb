// Package smtpd is the SMTP server of ingress: the dialogue with a client, on top of wire.
//
// What happens to the data:
//
//  1. wire cuts the stream into commands. The loop of a session (loop.go) reads one after the other,
//     and calls what answers it.
//  2. Commands become facts, on which policy and the checks of each stage decide: at connect, EHLO,
//     MAIL, RCPT, after the header, and after the body. Every reply is a row of package replies.
//  3. At DATA or BDAT the message streams into a draft in the spool, byte by byte as the client sent
//     it: counted, its header indexed, and its bytes scanned for those above ASCII on the way. Our
//     trace field and what the checks add are the envelope's front. What needs more than core takes is
//     refused here, or before at MAIL and RCPT.
//  4. The draft is committed: synced to stable storage. Only then the queue gets it, and the client its
//     250 with the spool id.
//
// The node sends itself messages in the same way, to see that all of this works. Such a self-test is
// recognised before anything is done with its connection. It is read back from the spool instead of
// going to the queue, and nothing is left of it when it gets its 250.
package smtpd

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"anymx/edge/budget"
	"anymx/edge/ingress/own"
	"anymx/edge/ingress/wire"
	"anymx/edge/judge/policy"
	"anymx/edge/judge/replies"
	"anymx/edge/mail"
	"anymx/edge/maillog"
	"anymx/edge/spool"

	"github.com/prometheus/client_golang/prometheus"
)

// Settings may change while the server runs. A connection keeps those that it began with, but for
// RefusedDelay and LogSessions.
type Settings struct {
	Wire        wire.Settings // the server sets Own, Full, NetworkFull and Limits.MaxMessage
	Rules       *policy.Rules // with the host name of banner, EHLO and Received
	MaxCommands int           // in one connection, then 421; 0: no limit
	MaxErrors   int           // replies of 5xx in one connection, then 421; 0: no limit
	// RefusedDelay is added for each refused recipient after the third of a
	// connection, up to five times it. 0: no delay.
	RefusedDelay time.Duration
	NoChunking   bool // BDAT is not offered, and refused
	LogSessions  bool
	MaxEnvelope  int64         // bytes of memory for the addresses of a transaction, then 452; 0: no limit
	Checks       policy.Checks // asked after the rules, at each stage
}

// Options are what a Server is made from.
type Options struct {
	Node     string
	Settings Settings
	Spool    *spool.Spool
	// Accepted gets each message right after its commit. It must not wait.
	Accepted func(*spool.Message)
	// Core is asked at each command what core takes, and must not wait. nil: core takes everything.
	Core func() mail.CoreExtensions
	// Budget is the memory for envelopes and headers, which may be the spool's too; nil: no limit.
	Budget *budget.Budget
	// Own knows the connections of self-tests and probes; nil: there are none.
	Own     *own.Connections
	MailLog *maillog.Log          // nil: no lines
	Log     *slog.Logger          // nil: nothing is logged
	Metrics prometheus.Registerer // nil: nothing is registered
	Now     func() time.Time      // nil: time.Now
}

// Server takes mail.
type Server struct {
	options  Options
	registry *wire.Registry
	settings atomic.Pointer[Settings]
	metrics  *metrics
}

// New makes a server that listens nowhere yet.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Own == nil {
		o.Own = new(own.Connections)
	}
	if o.Core == nil {
		o.Core = func() mail.CoreExtensions { return 0 }
	}
	s := &Server{options: o, metrics: newMetrics(o.Metrics, o.Budget)}
	s.registry = wire.NewRegistry(wire.Options{Settings: s.prepare(o.Settings), Log: o.Log, Metrics: o.Metrics})
	return s
}

// prepare stores the settings and gives wire its part.
func (s *Server) prepare(set Settings) wire.Settings {
	s.settings.Store(&set)
	w := set.Wire
	rules := set.Rules
	w.Full = replies.TooManyConnections.With(rules.Hostname)
	w.NetworkFull = replies.NetworkFull.With(rules.Hostname)
	w.Limits.MaxMessage = rules.MaxMessage
	w.Own = s.options.Own
	return w
}

// Configure changes the settings for connections to come.
func (s *Server) Configure(set Settings) { s.registry.Configure(s.prepare(set)) }

// Registry is the server's connections: how many, draining, closing.
func (s *Server) Registry() *wire.Registry { return s.registry }

// Serve takes connections from l, which should be plain TCP, until l is closed.
// It returns nil then.
func (s *Server) Serve(l net.Listener) error {
	d := newClientListener(l, s.options.Own)
	defer s.serveAside(d)()
	err := s.registry.Serve(d, func(c *wire.Conn) { s.newSession(c).serve() })
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return fmt.Errorf("ingress %s: %w", l.Addr(), err)
}
