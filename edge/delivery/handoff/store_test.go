package handoff

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"anymx/edge/delivery/smtpc/smtptest"
	"anymx/edge/mail"
	"anymx/edge/queue"
	"anymx/edge/spool"
)

// store commits messages to a spool in memory.
type store struct {
	t      testing.TB
	s      *spool.Spool
	sender string // local part; "": a
	domain string // of the recipients; "": example.net
}

func newStore(t testing.TB) store {
	t.Helper()
	s, err := spool.Open(spool.Options{Dir: "spool", FS: vfs.NewMem(), Memory: 1 << 20, IDs: mail.NewIDs(7)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return store{t: t, s: s}
}

// try is a first try of a new message for rcpts recipients.
func (s store) try(body string, rcpts int) *queue.Attempt {
	s.t.Helper()
	d, err := s.s.BeginDraft()
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := io.WriteString(d, body); err != nil {
		s.t.Fatal(err)
	}
	env := &mail.Envelope{
		Arrived: time.Now(), Sender: mail.Path{Local: cmp.Or(s.sender, "a"), Domain: "example.org"},
		Client: mail.Client{Addr: netip.MustParseAddrPort("192.0.2.7:4711"), Helo: "client.example.org", Proto: "ESMTPS"},
	}
	pending := make([]int, rcpts)
	for i := range rcpts {
		pending[i] = i
		env.Recipients = append(env.Recipients, mail.Recipient{Path: mail.Path{Local: fmt.Sprintf("r%d", i), Domain: cmp.Or(s.domain, "example.net")}})
	}
	m, err := d.Commit(env)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(m.Release)
	return &queue.Attempt{Message: m, Pending: pending, Number: 1, Started: time.Now()}
}

const text = "Subject: x\r\n\r\nhello\r\n"

func newHandoff(t testing.TB, o Options, servers ...*smtptest.Server) *Handoff {
	t.Helper()
	for _, s := range servers {
		o.Addresses = append(o.Addresses, s.Addr())
	}
	if o.Hello == "" {
		o.Hello = "edge.test"
	}
	if o.IdleTimeout == 0 {
		o.IdleTimeout = time.Minute
	}
	o.Rand = func() float64 { return 0.5 }
	h, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.Close()
		for _, a := range h.addresses {
			if a.busy != 0 || a.open != 0 || len(a.idle) != 0 {
				t.Errorf("%s: %d busy, %d open, %d idle after the end", a.name, a.busy, a.open, len(a.idle))
			}
		}
		if h.waiting != 0 {
			t.Errorf("%d waiting after the end", h.waiting)
		}
	})
	return h
}

func full() *smtptest.Server { return &smtptest.Server{Extensions: smtptest.All()} }

func deliver(t testing.TB, h *Handoff, try *queue.Attempt) []mail.Result {
	t.Helper()
	results, err := h.Deliver(t.Context(), try)
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != len(try.Pending) {
		t.Fatalf("%d results for %d recipients", len(results), len(try.Pending))
	}
	return results
}

func mustDeliver(t testing.TB, h *Handoff, try *queue.Attempt) {
	t.Helper()
	for _, r := range deliver(t, h, try) {
		if r.Failure != nil {
			t.Fatal(r.Failure)
		}
	}
}

// failure is the one failure of a try for one recipient.
func failure(t testing.TB, h *Handoff, try *queue.Attempt) *mail.Failure {
	t.Helper()
	f := deliver(t, h, try)[0].Failure
	if f == nil {
		t.Fatal("delivered")
	}
	return f
}
