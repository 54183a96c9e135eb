package interop

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"anymx/edge/delivery/handoff"
	"anymx/edge/delivery/smtpc"
	"anymx/edge/mail"
	"anymx/edge/queue"
	"anymx/edge/spool"
)

// edge is what stands between the queue and core: a spool on disk and the
// hand-off.
type edge struct {
	t       testing.TB
	spool   *spool.Spool
	handoff *handoff.Handoff
	queue   *queue.Queue // of runQueue
}

func newEdge(t testing.TB, o handoff.Options) edge {
	t.Helper()
	s, err := spool.Open(spool.Options{Dir: t.TempDir(), Memory: 1 << 20, IDs: mail.NewIDs(uint16(os.Getpid()))})
	if err != nil {
		t.Fatal(err)
	}
	o.Hello, o.IdleTimeout = "edge.test", time.Minute
	h, err := handoff.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return edge{t: t, spool: s, handoff: h}
}

// send stores a message and hands it over, and returns the result of each
// recipient.
func (e edge) send(env *mail.Envelope, text []byte, rcpts ...string) []mail.Result {
	e.t.Helper()
	env.Arrived = time.Now()
	env.Sender = mail.Path{Local: "a", Domain: "example.org"}
	env.Client = mail.Client{
		Addr: netip.MustParseAddrPort("192.0.2.7:4711"), Helo: "client.example.org", Name: "client.example.org", Proto: "ESMTPS",
	}
	var pending []int
	for i, rcpt := range rcpts {
		path, err := mail.ParsePath(rcpt)
		if err != nil {
			e.t.Fatal(err)
		}
		env.Recipients = append(env.Recipients, mail.Recipient{Path: path})
		pending = append(pending, i)
	}
	d, err := e.spool.BeginDraft()
	if err != nil {
		e.t.Fatal(err)
	}
	if _, err := d.Write(text); err != nil {
		e.t.Fatal(err)
	}
	m, err := d.Commit(env)
	if err != nil {
		e.t.Fatal(err)
	}
	defer m.Release()
	results, err := e.handoff.Deliver(e.t.Context(), &queue.Attempt{Message: m, Pending: pending, Number: 1, Started: time.Now()})
	if err != nil {
		e.t.Fatal(err)
	}
	all := make([]mail.Result, len(rcpts))
	for _, r := range results {
		all[r.Recipient] = r
	}
	return all
}

// messages are what every core must store as it is.
var messages = []struct {
	name string
	body string
	env  mail.Envelope
}{
	{name: "plain", body: "hello\r\n"},
	{name: "empty lines", body: "\r\n\r\nhello\r\n\r\n"},
	{name: "dots", body: ".\r\n..\r\n.hidden\r\n...\r\nx.\r\n.\r\n"},
	{name: "8bit", body: "Grüße, 日本語, \xff\x80\r\n", env: mail.Envelope{Body: mail.Body8Bit}},
	{name: "long lines", body: strings.Repeat(strings.Repeat("x", 990)+"\r\n", 3)},
	{name: "5 MB", body: strings.Repeat(".0123456789 abcdefghijklmnopqrstuvwxyz 0123456789 ABCDEFGHIJKLMNOPQRSTUVWXYZ\r\n", 65000)},
}

// handOver sends all messages to rcpt and compares what is in its mailbox.
func (e edge) handOver(rcpt, maildir string) {
	t := e.t
	t.Helper()
	for _, m := range messages {
		env := m.env
		text := fmt.Sprintf("Subject: %s\r\nMIME-Version: 1.0\r\n\r\n%s", m.name, m.body)
		for _, r := range e.send(&env, []byte(text), rcpt) {
			if r.Failure != nil {
				t.Errorf("%s: %v", m.name, r.Failure)
			}
		}
	}
	if t.Failed() {
		return
	}
	got := map[string][]byte{}
	for _, m := range mailbox(t, maildir, len(messages)) {
		got[m.subject()] = m.body
	}
	for _, m := range messages {
		want := strings.ReplaceAll(m.body, "\r\n", "\n")
		if !bytes.Equal(got[m.name], []byte(want)) {
			t.Errorf("%s: %d bytes arrived as %d: %.80q", m.name, len(want), len(got[m.name]), got[m.name])
		}
	}
	if s := e.handoff.Status()[0]; s.Delivered != int64(len(messages)) || s.Health != handoff.Up || s.Connections != 1 {
		t.Errorf("%+v", s)
	}
}

func TestPostfixAsCore(t *testing.T) {
	t.Parallel()
	p := &postfix{users: []string{"b@example.net", "c@example.net", "ü@example.net"}}
	p.start(t)
	e := newEdge(t, handoff.Options{Addresses: []string{p.addr}, TLSMode: smtpc.TLSNever})
	e.handOver("b@example.net", p.mailbox("b@example.net"))

	t.Run("several recipients, one of them unknown", func(t *testing.T) {
		e.t = t
		env := &mail.Envelope{}
		r := e.send(env, []byte("Subject: several\r\n\r\nx\r\n"), "c@example.net", "nobody@example.net", "b@example.net")
		if r[0].Failure != nil || r[2].Failure != nil || !strings.Contains(r[0].Reply.Text, "queued as") {
			t.Errorf("%v %v", r[0], r[2])
		}
		if f := r[1].Failure; f == nil || !f.Permanent || f.Enhanced != (mail.Enhanced{5, 1, 1}) || f.Command != "RCPT" {
			t.Errorf("%v", f)
		}
		if got := mailbox(t, p.mailbox("c@example.net"), 1)[0]; string(got.body) != "x\n" {
			t.Errorf("%q", got.body)
		}
		p.logged(t, "smtpd", "orig_queue_id="+env.ID.String(), "orig_client=client.example.org[192.0.2.7]")
	})
	t.Run("UTF-8 address", func(t *testing.T) {
		e.t = t
		r := e.send(&mail.Envelope{SMTPUTF8: true}, []byte("Subject: ü\r\n\r\nx\r\n"), "ü@example.net")
		if r[0].Failure != nil {
			t.Fatal(r[0].Failure)
		}
		mailbox(t, p.mailbox("ü@example.net"), 1)
	})
	t.Run("too long", func(t *testing.T) {
		e.t = t
		r := e.send(&mail.Envelope{}, bytes.Repeat([]byte("0123456789abcdef\r\n"), 3<<20), "b@example.net")
		if f := r[0].Failure; f == nil || !f.Permanent || f.Enhanced != (mail.Enhanced{5, 3, 4}) {
			t.Errorf("%v", f)
		}
	})
}

// TestPostfixOverTLS hands over with STARTTLS, verified.
func TestPostfixOverTLS(t *testing.T) {
	t.Parallel()
	needServer(t, "postconf", "postfix")
	c := newCertificate(t, "127.0.0.1")
	p := &postfix{users: []string{"b@example.net"}, cert: c.cert, key: c.key}
	p.start(t)
	e := newEdge(t, handoff.Options{Addresses: []string{p.addr}, TLSMode: smtpc.TLSRequire, TLS: &tls.Config{RootCAs: c.roots}})
	e.handOver("b@example.net", p.mailbox("b@example.net"))
	p.logged(t, "TLS connection established", "TLSv1.3")
}

// TestPostfixWithoutExtensions makes the client wait for each reply, and stuff
// its dots.
func TestPostfixWithoutExtensions(t *testing.T) {
	t.Parallel()
	p := &postfix{
		users:    []string{"b@example.net"},
		settings: map[string]string{"smtpd_discard_ehlo_keywords": "pipelining, chunking, xforward, dsn, size"},
	}
	p.start(t)
	e := newEdge(t, handoff.Options{Addresses: []string{p.addr}, TLSMode: smtpc.TLSNever})
	e.handOver("b@example.net", p.mailbox("b@example.net"))
}

// TestPostfixClosesIdle: Postfix gives a kept connection up with a 421, and the
// next message goes out all the same.
func TestPostfixClosesIdle(t *testing.T) {
	t.Parallel()
	p := &postfix{users: []string{"b@example.net"}, settings: map[string]string{"smtpd_timeout": "1s"}}
	p.start(t)
	e := newEdge(t, handoff.Options{Addresses: []string{p.addr}, TLSMode: smtpc.TLSNever})
	send := func(subject string) {
		t.Helper()
		if r := e.send(&mail.Envelope{}, []byte("Subject: "+subject+"\r\n\r\nx\r\n"), "b@example.net"); r[0].Failure != nil {
			t.Fatal(r[0].Failure)
		}
	}
	send("first")
	p.logged(t, "smtpd", "timeout after")
	send("second")
	mailbox(t, p.mailbox("b@example.net"), 2)
	if s := e.handoff.Status()[0]; s.Health != handoff.Up || s.Limit != 16 {
		t.Errorf("%+v", s)
	}
}

func TestDovecotAsCore(t *testing.T) {
	t.Parallel()
	d := &dovecot{users: []string{"b@example.net", "c@example.net"}}
	d.start(t)
	e := newEdge(t, handoff.Options{LMTP: true, Addresses: []string{d.addr}, TLSMode: smtpc.TLSNever})
	e.handOver("b@example.net", d.mailbox("b@example.net"))

	t.Run("a result for each recipient", func(t *testing.T) {
		e.t = t
		r := e.send(&mail.Envelope{}, []byte("Subject: several\r\n\r\nx\r\n"), "c@example.net", "nobody@example.net", "b@example.net")
		for _, i := range []int{0, 2} {
			if r[i].Failure != nil || !strings.Contains(r[i].Reply.Text, "Saved") {
				t.Errorf("%d: %v", i, r[i])
			}
		}
		if r[0].Reply.Text == r[2].Reply.Text {
			t.Errorf("one reply for two recipients: %q", r[0].Reply.Text)
		}
		if f := r[1].Failure; f == nil || !f.Permanent || f.Enhanced != (mail.Enhanced{5, 1, 1}) || f.Command != "RCPT" {
			t.Errorf("%v", f)
		}
		got := mailbox(t, d.mailbox("c@example.net"), 1)[0]
		if string(got.body) != "x\n" || !bytes.Contains(got.header, []byte("192.0.2.7")) {
			t.Errorf("core does not know the client:\n%s", got.header)
		}
	})
	t.Run("nobody there", func(t *testing.T) {
		e.t = t
		for range 2 { // the second finds the session in step
			r := e.send(&mail.Envelope{}, []byte("Subject: x\r\n\r\nx\r\n"), "nobody@example.net")
			if f := r[0].Failure; f == nil || !f.Permanent {
				t.Errorf("%v", f)
			}
		}
	})
	t.Run("UTF-8 address", func(t *testing.T) {
		e.t = t
		r := e.send(&mail.Envelope{SMTPUTF8: true}, []byte("Subject: x\r\n\r\nx\r\n"), "ü@example.net")
		if f := r[0].Failure; f != nil && f.Enhanced != (mail.Enhanced{5, 6, 7}) && f.Enhanced != (mail.Enhanced{5, 1, 1}) {
			t.Errorf("%v", f)
		}
	})
}

// TestDovecotCannotStore: Dovecot takes the recipient, and fails when it has the
// message. Nothing is lost: the message stays with us.
func TestDovecotCannotStore(t *testing.T) {
	t.Parallel()
	d := &dovecot{users: []string{"b@example.net", "c@example.net"}}
	d.start(t)
	if err := os.Mkdir(filepath.Join(d.dir, "mail", "b@example.net"), 0o700); err != nil { // of root
		t.Fatal(err)
	}
	e := newEdge(t, handoff.Options{LMTP: true, Addresses: []string{d.addr}, TLSMode: smtpc.TLSNever})
	r := e.send(&mail.Envelope{}, []byte("Subject: x\r\n\r\nx\r\n"), "b@example.net", "c@example.net")
	if f := r[0].Failure; f == nil || f.Permanent || f.Reply.Code == 0 {
		t.Errorf("%v", f)
	}
	if r[1].Failure != nil {
		t.Error(r[1].Failure)
	}
	mailbox(t, d.mailbox("c@example.net"), 1)
}
