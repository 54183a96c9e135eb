package handoff

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"anymx/edge/delivery/smtpc/smtptest"
	"anymx/edge/mail"
	"anymx/edge/queue"
	"anymx/edge/statefile"
	"anymx/tests/kit"
)

// plainServer knows RFC 821 and nothing more: EHLO is a command that it does not know. It refuses an
// address or a MAIL that it could not understand, and keeps the messages that it took.
type plainServer struct {
	net.Listener
	mu    sync.Mutex
	taken []string // commands and text
}

func startPlain(t *testing.T) *plainServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &plainServer{Listener: l}
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wait.Go(func() {
				defer conn.Close()
				s.serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wait.Wait()
	})
	return s
}

func (s *plainServer) serve(conn net.Conn) {
	r := bufio.NewReader(conn)
	say := func(reply string) { _, _ = io.WriteString(conn, reply+"\r\n") }
	say("220 plain.test")
	transaction := ""
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		path := strings.HasSuffix(line, ">")
		for i := range len(line) {
			path = path && line[i] < 0x80
		}
		switch {
		case verb == "HELO" || verb == "RSET" || verb == "NOOP":
			transaction = ""
			say("250 plain.test")
		case (verb == "MAIL" || verb == "RCPT") && path:
			transaction += line + "\n"
			say("250 ok")
		case verb == "MAIL" || verb == "RCPT":
			say("501 syntax error in parameters or arguments")
		case verb == "DATA":
			say("354 go ahead")
			for {
				text, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if text == ".\r\n" {
					break
				}
				transaction += text
			}
			s.mu.Lock()
			s.taken = append(s.taken, transaction)
			s.mu.Unlock()
			say("250 ok")
		case verb == "QUIT":
			say("221 bye")
			return
		default:
			say("500 command unrecognized")
		}
	}
}

func (s *plainServer) messages() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.taken...)
}

// tryEnvelope is a try of a message whose envelope was changed before it was committed.
func (s store) tryEnvelope(body string, rcpts []string, change func(*mail.Envelope)) *queue.Attempt {
	s.t.Helper()
	d, err := s.s.BeginDraft()
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := io.WriteString(d, body); err != nil {
		s.t.Fatal(err)
	}
	var scan mail.ContentScan
	_, _ = scan.Write([]byte(body))
	env := &mail.Envelope{Sender: mail.Path{Local: "a", Domain: "bücher.example"}, SMTPUTF8: true, Body: mail.Body8Bit, Content: scan.Content()}
	try := &queue.Attempt{Number: 1}
	for i, rcpt := range rcpts {
		p, err := mail.ParsePath(rcpt)
		if err != nil {
			s.t.Fatal(err)
		}
		env.Recipients = append(env.Recipients, mail.Recipient{Path: p})
		try.Pending = append(try.Pending, i)
	}
	if change != nil {
		change(env)
	}
	if try.Message, err = d.Commit(env); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(try.Message.Release)
	return try
}

// codes are the results of a try by recipient: "ok" or an enhanced status.
func codes(t *testing.T, h *Handoff, try *queue.Attempt) string {
	t.Helper()
	list := make([]string, len(try.Pending))
	for _, r := range deliver(t, h, try) {
		list[r.Recipient] = "ok"
		if r.Failure != nil {
			list[r.Recipient] = r.Failure.Enhanced.String()
		}
	}
	return strings.Join(list, " ")
}

// A server that knows no extension gets all mail that needs none, whatever was declared for it.
func TestPlainServer(t *testing.T) {
	for _, test := range []struct {
		name, body string
		rcpts      []string
		change     func(*mail.Envelope)
		want       string
		taken      string // after it, the body; "": nothing
	}{
		{name: "ASCII", body: text, rcpts: []string{"b@example.net"}, want: "ok",
			taken: "MAIL FROM:<a@xn--bcher-kva.example>\nRCPT TO:<b@example.net>\n"},
		{name: "ASCII, of an older program", body: text, rcpts: []string{"b@example.net"}, want: "ok",
			change: func(env *mail.Envelope) { env.Content = 0 },
			taken:  "MAIL FROM:<a@xn--bcher-kva.example>\nRCPT TO:<b@example.net>\n"},
		{name: "some recipients", body: text, rcpts: []string{"jörg@example.net", "b@bücher.example"}, want: "5.6.7 ok",
			taken: "MAIL FROM:<a@xn--bcher-kva.example>\nRCPT TO:<b@xn--bcher-kva.example>\n"},
		{name: "8-bit, not declared", body: "Subject: ü\r\n\r\nä\r\n", rcpts: []string{"b@example.net"}, want: "ok",
			change: func(env *mail.Envelope) { env.SMTPUTF8, env.Body = false, mail.Body7Bit },
			taken:  "MAIL FROM:<a@xn--bcher-kva.example>\nRCPT TO:<b@example.net>\n"},
		{name: "UTF-8 header", body: "Subject: ü\r\n\r\nx\r\n", rcpts: []string{"b@example.net"}, want: "5.6.7"},
		{name: "UTF-8 header, of an older program", body: "Subject: ü\r\n\r\nx\r\n", rcpts: []string{"b@example.net"}, want: "5.6.7",
			change: func(env *mail.Envelope) { env.Content = 0 }},
		{name: "8-bit text", body: "Subject: x\r\n\r\nü\r\n", rcpts: []string{"b@example.net", "c@example.net"}, want: "5.6.3 5.6.3"},
		{name: "sender", body: text, rcpts: []string{"b@example.net"}, want: "5.6.7",
			change: func(env *mail.Envelope) { env.Sender.Local = "jörg" }},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := startPlain(t)
			h := newHandoff(t, Options{Addresses: []string{s.Addr().String()}})
			if got := h.Extensions(); got != mail.CoreUnknown {
				t.Errorf("known before anything was said: %b", got)
			}
			if got := codes(t, h, newStore(t).tryEnvelope(test.body, test.rcpts, test.change)); got != test.want {
				t.Errorf("results %s, want %s", got, test.want)
			}
			want := "[]"
			if test.taken != "" {
				want = fmt.Sprintf("%q", []string{test.taken + test.body})
			}
			if got := fmt.Sprintf("%q", s.messages()); got != want {
				t.Errorf("the server took %s, want %s", got, want)
			}
			if got := h.Extensions(); got != mail.CoreUnknown.Add(0) {
				t.Errorf("known of it: %b", got)
			}
		})
	}
}

// A message that needs an extension goes to an address that takes it, and no other mail waits for that.
func TestAddressThatTakesIt(t *testing.T) {
	st, n := newStore(t), newNetwork()
	plain := &smtptest.Server{Extensions: []string{"PIPELINING", "8BITMIME"}}
	able := full()
	n.set("plain.test:25", plain)
	n.set("able.test:25", able)
	h := newHandoff(t, Options{Addresses: []string{"plain.test:25", "able.test:25"}, Dial: n.dial})
	rcpts := []string{"b@example.net", "jörg@example.net"}
	if got := codes(t, h, st.tryEnvelope(text, rcpts, nil)); got != "ok ok" {
		t.Errorf("results %s", got)
	}
	if got := codes(t, h, st.tryEnvelope("Subject: ü\r\n\r\nx\r\n", []string{"b@example.net"}, nil)); got != "ok" {
		t.Errorf("UTF-8 header: %s", got)
	}
	if p, a := len(plain.Messages()), len(able.Messages()); p != 1 || a != 2 {
		t.Errorf("%d messages went to the plain address, %d to the able one", p, a)
	}
	core := h.Extensions()
	if core.Offer() != mail.EightBitMIME || !core.Supports(mail.AllExtensions) {
		t.Errorf("offers %s, supports all: %v", core.Offer(), core.Supports(mail.AllExtensions))
	}
	// The able one goes away: what needs it waits, and the rest does not.
	n.set("able.test:25", nil)
	able.Close()
	try := st.tryEnvelope(text, rcpts, nil)
	if got := codes(t, h, try); got != "ok 4.4.1" {
		t.Errorf("results %s", got)
	}
}

// What was learned outlives a restart, and is forgotten with a file that can't be read.
func TestLearned(t *testing.T) {
	server := &smtptest.Server{Extensions: []string{"8BITMIME"}}
	smtptest.Start(t, server)
	file := statefile.File(filepath.Join(t.TempDir(), "core.json"))
	h := newHandoff(t, Options{Learned: file}, server)
	mustDeliver(t, h, newStore(t).try(text, 1))
	h.Close()
	known := mail.CoreUnknown.Add(mail.EightBitMIME)
	if got := newHandoff(t, Options{Learned: file}, server).Extensions(); got != known {
		t.Errorf("after a restart: %b, want %b", got, known)
	}
	if got := newHandoff(t, Options{Learned: file, Addresses: []string{"192.0.2.1:25"}}).Extensions(); got != mail.CoreUnknown {
		t.Errorf("of another address: %b", got)
	}
	if err := os.WriteFile(string(file), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := newHandoff(t, Options{Learned: file}, server).Extensions(); got != mail.CoreUnknown {
		t.Errorf("with a file that is cut short: %b", got)
	}
}

// Learn asks an address that no mail goes to, and hears of a core that was restarted with other
// extensions.
func TestLearn(t *testing.T) {
	first, second := smtptest.Start(t, &smtptest.Server{Extensions: []string{"8BITMIME"}}), smtptest.Start(t, full())
	h := newHandoff(t, Options{EHLOInterval: time.Millisecond}, first, second)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		h.Learn(ctx)
		close(done)
	}()
	defer func() {
		cancel()
		<-done
	}()
	kit.Eventually(t, "the probe reports the extensions", func() bool {
		return h.Extensions() == mail.CoreUnknown.Add(mail.EightBitMIME).Add(mail.AllExtensions)
	})
	addr := first.Addr()
	first.Close()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	again := full()
	again.Serve(l)
	defer again.Close()
	kit.Eventually(t, "the probe reports the extensions", func() bool { return h.Extensions() == mail.CoreUnknown.Add(mail.AllExtensions) })
}
