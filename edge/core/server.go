package core

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"anymx/edge/mail"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/emersion/go-smtp"
)

// Options are the options of New.
type Options struct {
	Hostname       string
	Dir            string        // has the Maildirs in mail/ and the ledger in ledger/
	FS             vfs.FS        // nil: the system's
	MaxMessage     int64         // bytes; 0: no limit
	MaxRecipients  int           // of one message; 0: 1000
	MaxConnections int           // open at once, of all listeners; 0: 500
	DiskReserve    int64         // bytes of the disk that stay free; 0: 64 MiB
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

// Server accepts mail from edges.
type Server struct {
	options Options
	store   *store
	conns   *conns
	ids     *mail.IDs // for messages without an identity

	mu      sync.Mutex
	serving []*smtp.Server
	inner   []net.Listener
	closed  bool
}

// New opens the store. Close closes it.
func New(o Options) (*Server, error) {
	o.setDefaults()
	store, err := openStore(o.FS, o.Dir, o.DiskReserve, o.Log, o.Now)
	if err != nil {
		return nil, err
	}
	return &Server{options: o, store: store, conns: newConns(o.MaxConnections), ids: mail.NewIDs(uint16(rand.Uint32()))}, nil
}

// Dir returns the directory of the Maildirs, which are <domain>/<local part> in it.
func (s *Server) Dir() string { return s.store.boxes.dir }

// Serve serves sessions on l until Close, as LMTP (RFC 2033) or SMTP. After Close it returns nil.
// It always closes l.
func (s *Server) Serve(l net.Listener, lmtp bool) error {
	defer l.Close()
	server := smtp.NewServer(smtp.BackendFunc(s.newSession))
	server.Domain = s.options.Hostname
	server.LMTP = lmtp
	server.MaxLineLength = 0 // conn has its own limit
	server.MaxRecipients = s.options.MaxRecipients
	server.EnableSMTPUTF8 = true
	// DSN is not offered: core writes no notifications, so the edge has to.
	server.EnableREQUIRETLS = true
	server.ErrorLog = errorLog{s.options.Log}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.serving, s.inner = append(s.serving, server), append(s.inner, l)
	s.mu.Unlock()

	if err := server.Serve(listener{l, s}); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("core %s: %w", l.Addr(), err)
	}
	return nil
}

// Run removes old entries from the ledger, once an hour, until ctx ends. It returns an error if the
// store fails and has to be restarted; from then on all mail is refused temporarily.
func (s *Server) Run(ctx context.Context) error {
	began, days := time.Now(), int((s.options.Remember+oneDay-1)/oneDay)
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if err := s.store.ledger.forget(s.options.Now(), time.Since(began), days); err != nil {
			s.options.Log.Error("ledger: old entries could not be removed", "err", err)
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

// endGrace is how long Close waits for sessions that were cut: they may be in a sync.
const endGrace = 5 * time.Second

// Close accepts no more sessions, lets transactions finish until ctx ends, and closes the store.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	for _, l := range s.inner {
		_ = l.Close() // it may have failed before
	}
	s.mu.Unlock()
	if cut := s.conns.close(ctx); cut > 0 {
		s.options.Log.Warn("sessions cut", "count", cut)
	}
	grace, cancel := context.WithTimeout(context.Background(), endGrace)
	defer cancel()
	for _, server := range s.serving {
		if err := server.Shutdown(grace); errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("core: sessions are still open: %w", err) // and so is the store
		}
	}
	return s.store.close()
}

func reply(code, class, subject, detail int, text string) mail.Reply {
	return mail.Reply{Code: code, Enhanced: mail.Enhanced{class, subject, detail}, Text: text}
}

// errorLog writes go-smtp's log lines to slog.
type errorLog struct{ log *slog.Logger }

func (l errorLog) Printf(format string, v ...any) {
	l.log.Error("smtp", "err", fmt.Sprintf(format, v...))
}

func (l errorLog) Println(v ...any) { l.log.Error("smtp", "err", fmt.Sprint(v...)) }
