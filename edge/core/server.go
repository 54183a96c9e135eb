package core

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"anymx/edge/ingress/wire"
	"anymx/edge/mail"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/emersion/go-smtp"
)

// Options of New.
type Options struct {
	Hostname       string
	Dir            string        // mail/ in it holds the Maildirs, ledger/ what was stored
	FS             vfs.FS        // nil: the system's
	MaxMessage     int64         // octets; 0: no limit
	MaxRecipients  int           // of one message; 0: 1000
	MaxConnections int           // open at once, of all listeners; 0: 500
	DiskReserve    int64         // octets of the disk that stay free; 0: 64 MiB
	Remember       time.Duration // how long the ledger knows a message; 0: 30 days
	Log            *slog.Logger  // nil: nothing is logged
	Now            func() time.Time
}

func (o *Options) setDefaults() {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.MaxRecipients <= 0 {
		o.MaxRecipients = 1000
	}
	if o.MaxConnections <= 0 {
		o.MaxConnections = 500
	}
	if o.DiskReserve <= 0 {
		o.DiskReserve = 64 << 20
	}
	if o.Remember <= 0 {
		o.Remember = 30 * 24 * time.Hour
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// Server takes mail from edges.
type Server struct {
	o        Options
	store    *store
	registry *wire.Registry
	ids      *mail.IDs // of messages that come without one

	mu      sync.Mutex
	serving []*smtp.Server
	inner   []net.Listener
	closed  bool
}

// New opens the store. Close ends it.
func New(o Options) (*Server, error) {
	o.setDefaults()
	store, err := openStore(o.FS, o.Dir, o.DiskReserve, o.Log, o.Now)
	if err != nil {
		return nil, err
	}
	s := &Server{o: o, store: store, ids: mail.NewIDs(uint16(rand.Uint32()))}
	s.registry = wire.NewRegistry(wire.Options{Log: o.Log, Settings: wire.Settings{
		Hostname:   o.Hostname,
		Limits:     wire.Limits{MaxConnections: o.MaxConnections, MaxMessage: o.MaxMessage, MaxLine: 4096},
		Extensions: func(*wire.Conn) []string { return []string{xforwardKeyword} },
		Command:    s.command,
	}})
	return s, nil
}

// Dir is where the Maildirs are, <domain>/<local part> each.
func (s *Server) Dir() string { return s.store.boxes.dir }

// Serve takes sessions from l until Close, as LMTP (RFC 2033) or SMTP. It
// returns nil then, and closes l in any case.
func (s *Server) Serve(l net.Listener, lmtp bool) error {
	defer l.Close()
	server := smtp.NewServer(smtp.BackendFunc(s.newSession))
	server.Domain = s.o.Hostname
	server.LMTP = lmtp
	server.MaxLineLength = 0 // wire's
	server.MaxRecipients = s.o.MaxRecipients
	server.EnableSMTPUTF8 = true
	// DSN is not offered: core writes no notifications, so the edge has to.
	server.EnableREQUIRETLS = true
	server.ErrorLog = errorLog{s.o.Log}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.serving, s.inner = append(s.serving, server), append(s.inner, l)
	s.mu.Unlock()

	var clean net.Listener = s.registry.Listen(l)
	if lmtp {
		clean = lmtpListener{clean}
	}
	if err := server.Serve(clean); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("core %s: %w", l.Addr(), err)
	}
	return nil
}

// Run forgets, once an hour, what the ledger need not remember, until ctx ends.
// It returns an error if the store fails so that only a new start can mend it;
// all mail is refused for now from then on.
func (s *Server) Run(ctx context.Context) error {
	began, days := time.Now(), int((s.o.Remember+oneDay-1)/oneDay)
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if err := s.store.ledger.forget(s.o.Now(), time.Since(began), days); err != nil {
			s.o.Log.Error("ledger forgets nothing", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.store.ledger.failed:
			return s.store.ledger.err()
		case <-tick.C:
		}
	}
}

// endGrace is how long Close waits for sessions that were cut: they may be
// within a sync.
const endGrace = 5 * time.Second

// Close takes no more sessions, lets transactions end until ctx does, and closes
// the store.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	for _, l := range s.inner {
		_ = l.Close() // it may have failed before
	}
	s.mu.Unlock()
	if cut := s.registry.Close(ctx); cut > 0 {
		s.o.Log.Warn("sessions cut", "count", cut)
	}
	grace, cancel := context.WithTimeout(context.Background(), endGrace)
	defer cancel()
	for _, server := range s.serving {
		if err := server.Shutdown(grace); errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("core: sessions still open: %w", err) // and so is the store
		}
	}
	return s.store.close()
}

// command takes what go-smtp does not know: XFORWARD, and a postmaster without a
// domain (RFC 5321 section 4.5.1).
func (s *Server) command(c *wire.Conn, cmd wire.Command) wire.Answer {
	switch cmd.Verb {
	case "XFORWARD":
		return xforwardAnswer(c, string(cmd.Arg))
	case "RCPT":
		if bytes.IndexByte(cmd.Arg, '@') >= 0 {
			break
		}
		if p, rest, err := cutPath(cmd.Arg, "TO:"); err == nil && p.IsPostmaster() {
			return wire.Answer{Line: "RCPT TO:<" + p.Local + "@" + s.o.Hostname + ">" + rest}
		}
	}
	return wire.Answer{}
}

func xforwardAnswer(c *wire.Conn, arg string) wire.Answer {
	sess, ok := c.Attached().(*session)
	switch {
	case !ok:
		return wire.Answer{Reply: reply(503, 5, 5, 1, "EHLO first")}
	case sess.open:
		return wire.Answer{Reply: reply(503, 5, 5, 1, "not within a transaction")}
	case sess.forward.set(arg) != nil:
		return wire.Answer{Reply: reply(501, 5, 5, 4, "bad XFORWARD attributes")}
	}
	return wire.Answer{Reply: reply(250, 2, 0, 0, "noted")}
}

func reply(code, class, subject, detail int, text string) mail.Reply {
	return mail.Reply{Code: code, Enhanced: mail.Enhanced{class, subject, detail}, Text: text}
}

// errorLog turns go-smtp's logger round.
type errorLog struct{ log *slog.Logger }

func (l errorLog) Printf(format string, v ...any) {
	l.log.Error("smtp", "err", fmt.Sprintf(format, v...))
}

func (l errorLog) Println(v ...any) { l.log.Error("smtp", "err", fmt.Sprint(v...)) }
