// Package smtpd is the SMTP server of ingress: go-smtp's backend and session on
// top of wire.
//
// What happens to the data:
//
//  1. wire cuts the stream into commands; go-smtp parses each and calls the
//     session, which reads the address again, strictly, from the line itself.
//  2. Commands become facts, policy decides on them, and its reply goes out in
//     place of go-smtp's.
//  3. At DATA the trace field is written in front of a draft in the spool, and
//     the message streams after it: counted, its header read, and its bytes
//     scanned for those above ASCII on the way. What needs more than core takes
//     is refused here, or before at MAIL and RCPT.
//  4. The draft is committed: synced to stable storage. Only then the queue is
//     told, and the client gets its 250 with the spool id.
//
// The node sends itself messages in the same way, to see that all of this works.
// Such a proof is told from mail before anything is done with its connection, it
// is read back from the spool in place of going to the queue, and nothing is left
// of it when it gets its 250.
package smtpd

import (
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"anymx/edge/ingress/own"
	"anymx/edge/ingress/wire"
	"anymx/edge/judge/policy"
	"anymx/edge/mail"
	"anymx/edge/maillog"
	"anymx/edge/spool"

	"github.com/emersion/go-smtp"
	"github.com/prometheus/client_golang/prometheus"
)

// Settings may change while the server runs. Connections keep those that they
// began with.
type Settings struct {
	Wire  wire.Settings // Command, Extensions and Closed are the server's own
	Rules *policy.Rules // with the host name of banner, EHLO and Received
	// RefusedDelay is added for each refused recipient after the third of a
	// connection, up to five times it. 0: no delay.
	RefusedDelay time.Duration
	LogSessions  bool
}

// Options are what a Server is made from.
type Options struct {
	Node     string
	Settings Settings
	Spool    *spool.Spool
	// Accepted is told of each message right after its commit. It must not wait.
	Accepted func(*spool.Message)
	// Core is asked at each command what core takes, and must not wait. nil: core takes everything.
	Core func() mail.CoreExtensions
	// Own knows the connections of self-tests and probes; nil: there are none.
	Own     *own.Connections
	MailLog *maillog.Log          // nil: no lines
	Log     *slog.Logger          // nil: nothing is logged
	Metrics prometheus.Registerer // nil: nothing is registered
	Now     func() time.Time      // nil: time.Now
}

// Server takes mail.
type Server struct {
	o        Options
	registry *wire.Registry
	settings atomic.Pointer[Settings]
	smtp     *smtp.Server
	metrics  *metrics

	selfTestSMTP *smtp.Server
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
	s := &Server{o: o, metrics: newMetrics(o.Metrics)}
	s.registry = wire.NewRegistry(wire.Options{Settings: s.prepare(o.Settings), Log: o.Log, Metrics: o.Metrics})
	s.smtp, s.selfTestSMTP = s.newSMTP(s.newSession), s.newSMTP(s.newSelfTestSession)
	return s
}

// newSMTP is a go-smtp that begins its sessions by begin.
func (s *Server) newSMTP(begin smtp.BackendFunc) *smtp.Server {
	server := smtp.NewServer(begin)
	server.Domain = "localhost" // wire puts the host name of the settings in its place
	server.ErrorLog = errorLog{s.o.Log}
	server.MaxLineLength = 0 // wire's
	server.EnableSMTPUTF8 = true
	server.EnableREQUIRETLS = true
	server.EnableDSN = true
	return server
}

// prepare stores the settings and gives wire its part.
func (s *Server) prepare(set Settings) wire.Settings {
	s.settings.Store(&set)
	w := set.Wire
	rules := set.Rules
	w.Hostname = rules.Hostname
	w.Limits.MaxMessage = rules.MaxMessage
	w.Extensions = func(c *wire.Conn) []string { return extensions(rules, c.TLS() != nil) }
	w.Withheld = func() []string { return (mail.AllExtensions &^ s.o.Core().Offer()).Keywords() }
	w.Command = completePostmaster(rules.Hostname)
	w.Closed = s.closed
	w.Own = s.o.Own
	return w
}

// extensions are those that go-smtp does not know or can't tell: RFC 9422
// LIMITS, and REQUIRETLS (RFC 8689), which is offered under TLS alone.
func extensions(r *policy.Rules, tls bool) []string {
	var list []string
	if r.MaxRecipients > 0 || r.MaxMessages > 0 {
		limits := "LIMITS"
		if r.MaxMessages > 0 {
			limits += fmt.Sprintf(" MAILMAX=%d", r.MaxMessages)
		}
		if r.MaxRecipients > 0 {
			limits += fmt.Sprintf(" RCPTMAX=%d", r.MaxRecipients)
		}
		list = append(list, limits)
	}
	if tls {
		list = append(list, "REQUIRETLS")
	}
	return list
}

// Configure changes the settings for connections to come.
func (s *Server) Configure(set Settings) { s.registry.Configure(s.prepare(set)) }

// Registry is the server's connections: how many, draining, closing.
func (s *Server) Registry() *wire.Registry { return s.registry }

// Serve takes connections from l, which should be plain TCP, until l is closed.
// It returns nil then.
func (s *Server) Serve(l net.Listener) error {
	d := newDoor(l, s.o.Own)
	defer s.serveAside(d)()
	err := s.smtp.Serve(s.registry.Listen(d))
	if closed(err) {
		return nil
	}
	return fmt.Errorf("ingress %s: %w", l.Addr(), err)
}

// errorLog turns go-smtp's logger round: it speaks up for panics and for
// errors of accept.
type errorLog struct{ log *slog.Logger }

func (l errorLog) Printf(format string, v ...any) {
	l.log.Error("smtp", "err", fmt.Sprintf(format, v...))
}

func (l errorLog) Println(v ...any) { l.log.Error("smtp", "err", fmt.Sprint(v...)) }
