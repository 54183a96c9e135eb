package smtpc

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"anymx/edge/delivery/smtpc/smtptest"
	"anymx/edge/mail"
	"anymx/tests/kit"
)

func serverTLS() *tls.Config { return &tls.Config{Certificates: []tls.Certificate{testCert}} }

func testEnvelope(rcpts int) *mail.Envelope {
	id, _ := mail.ParseID("0123456789abcdef")
	env := &mail.Envelope{ID: id, Sender: mail.Path{Local: "a", Domain: "example.org"}}
	for i := range rcpts {
		env.Recipients = append(env.Recipients, mail.Recipient{Path: mail.Path{Local: fmt.Sprintf("r%d", i), Domain: "example.net"}})
	}
	return env
}

func pending(n int) []int {
	p := make([]int, n)
	for i := range p {
		p[i] = i
	}
	return p
}

func testMessage(rcpts int) Message {
	return Message{Envelope: testEnvelope(rcpts), Pending: pending(rcpts), Body: memory("Subject: x\r\n\r\nhello\r\n")}
}

func dialTest(t testing.TB, s *smtptest.Server, o Options) *Conn {
	t.Helper()
	o.Hello, o.Host = "edge.test", "core.test"
	c, err := Dial(t.Context(), s.Addr(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func mustDeliver(t testing.TB, c *Conn, m Message) {
	t.Helper()
	results, err := c.Send(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Failure != nil {
			t.Fatal(r.Failure)
		}
	}
}

// slowConn writes in small pieces with a pause before each.
type slowConn struct {
	net.Conn
	pause time.Duration
}

func (c slowConn) Write(p []byte) (int, error) {
	time.Sleep(c.pause)
	return c.Conn.Write(p)
}

func throttled(t testing.TB, pause time.Duration) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		return slowConn{conn, pause}, err
	}
}

// TestFaultAtEveryStep lets the server fail in every way at every step, and compares the client's
// results with the messages that the server has.
func TestFaultAtEveryStep(t *testing.T) {
	faults := map[string]smtptest.Action{
		"4xx":     {Reply: "451 4.3.0 not now"},
		"5xx":     {Reply: "550 5.7.0 never"},
		"421":     {Reply: "421 4.3.2 closing", Close: true},
		"close":   {Close: true},
		"reset":   {Reset: true},
		"garbage": {Reply: "\x16\x03\x01 garbage"},
		"half":    {Raw: "25", Close: true},
		"extra":   {Raw: "250 2.0.0 and another\r\n"},
		"lines":   {Reply: "250-2.0.0 a\r\n251 b"},
	}
	for _, lmtp := range []bool{false, true} {
		for name, extensions := range map[string][]string{
			"full":       smtptest.All(),
			"pipelining": {"PIPELINING", "XFORWARD NAME ADDR"},
			"chunking":   {"CHUNKING"},
			"none":       nil,
		} {
			for fault, action := range faults {
				name := fmt.Sprintf("lmtp=%v/%s/%s", lmtp, name, fault)
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					for n := 0; faultAt(t, lmtp, extensions, n, fault, action); n++ {
						if n > 50 {
							t.Fatal("no end of steps")
						}
					}
				})
			}
		}
	}
}

// faultAt sends one message with a fault at step n, and reports whether the session got that far.
func faultAt(t *testing.T, lmtp bool, extensions []string, n int, fault string, action smtptest.Action) bool {
	var at *smtptest.Step
	var over atomic.Bool
	s := &smtptest.Server{LMTP: lmtp, Extensions: extensions, Hook: func(step smtptest.Step) smtptest.Action {
		if step.Conn == 0 && step.N == n && !over.Load() {
			at = &step
			if action.After = 0; step.Verb == "BODY" {
				action.After = 10
				if action.Reply != "" || action.Raw != "" {
					return smtptest.Action{}
				}
			}
			return action
		}
		return smtptest.Action{}
	}}
	smtptest.Start(t, s)
	defer s.Close()
	o := Options{LMTP: lmtp, Hello: "edge.test", Host: "core.test", XForward: true}
	c, err := Dial(t.Context(), s.Addr(), o)
	if err != nil {
		var f *mail.Failure
		if !errors.As(err, &f) || f.Enhanced == (mail.Enhanced{}) || f.Permanent != (fault == "5xx") {
			t.Errorf("step %d: dial: %v", n, err)
		}
		return true
	}
	defer c.Close()
	results, err := c.Send(t.Context(), testMessage(3))
	over.Store(true)
	dead := c.Dead()
	if (err != nil) != dead {
		t.Errorf("step %d: error %v, dead %v", n, err, dead)
	}
	if !dead {
		after := testMessage(1) // only where all is in step
		after.Envelope.Recipients[0].Path.Local = "after"
		mustDeliver(t, c, after)
	}
	c.Close()
	s.Close()
	if at == nil {
		for _, r := range results {
			if r.Failure != nil {
				t.Errorf("%v without a fault", r.Failure)
			}
		}
		return false
	}
	compare(t, *at, fault, results, s.Messages())
	mayLive := fault == "4xx" || fault == "5xx" || at.Verb == "CONNECT" || at.Verb == "EHLO" || at.Verb == "BODY" && action.Reply+action.Raw != ""
	if !mayLive && !dead {
		t.Errorf("alive after %s at step %d, %s", fault, n, at.Verb)
	}
	return true
}

// compare checks the two promises: a recipient reported as delivered has the message, and one
// reported as failed doesn't, unless the failure says that this is unknown.
func compare(t *testing.T, at smtptest.Step, fault string, results []mail.Result, messages []smtptest.Message) {
	t.Helper()
	has := map[string]bool{}
	for _, m := range messages {
		for _, to := range m.To {
			has[strings.Fields(to)[0]] = true
		}
	}
	for i, r := range results {
		rcpt := fmt.Sprintf("<r%d@example.net>", i)
		switch f := r.Failure; {
		case f == nil && !has[rcpt]:
			t.Errorf("%s at %s: %s has no message", fault, at.Verb, rcpt)
		case f != nil && f.Command != DataEnd && has[rcpt]:
			t.Errorf("%s at %s: %s has a message, and %v", fault, at.Verb, rcpt, f)
		case f != nil && f.Permanent != (f.Reply.Code >= 500):
			t.Errorf("%s at %s: %v", fault, at.Verb, f)
		}
	}
}

// TestCancel checks that a Send ends at once, at whatever step it waits for the server.
func TestCancel(t *testing.T) {
	for _, verb := range []string{"MAIL", "RCPT", "BODY", "END"} {
		t.Run(verb, func(t *testing.T) {
			reached := make(chan struct{}, 1)
			var s *smtptest.Server
			s = &smtptest.Server{Extensions: smtptest.All(), Hook: func(step smtptest.Step) smtptest.Action {
				if step.Verb == verb {
					reached <- struct{}{}
					<-s.Done()
				}
				return smtptest.Action{}
			}}
			smtptest.Start(t, s)
			c := dialTest(t, s, Options{TLSMode: TLSNever})
			ctx, cancel := context.WithCancelCause(t.Context())
			why := errors.New("the node stops")
			go func() {
				<-reached
				cancel(why)
			}()
			m := testMessage(1)
			m.Body = stored{memory(testBody(20 << 20))}
			results, err := c.Send(ctx, m)
			if !errors.Is(err, why) || !errors.Is(results[0].Failure, why) || !c.Dead() {
				t.Errorf("%v, result %v", err, results[0].Failure)
			}
			// A context that ended before the call leaves the connection alive.
			s2 := smtptest.Start(t, &smtptest.Server{Extensions: smtptest.All()})
			c = dialTest(t, s2, Options{TLSMode: TLSNever})
			if results, err := c.Send(ctx, m); err != nil || results[0].Failure == nil {
				t.Errorf("%v %v", results, err)
			}
			mustDeliver(t, c, testMessage(1))
		})
	}
}

func TestDialCancel(t *testing.T) {
	reached := make(chan struct{}, 1)
	var s *smtptest.Server
	s = &smtptest.Server{Hook: func(smtptest.Step) smtptest.Action {
		reached <- struct{}{}
		<-s.Done()
		return smtptest.Action{}
	}}
	smtptest.Start(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-reached
		cancel()
	}()
	if _, err := Dial(ctx, s.Addr(), Options{Hello: "edge.test"}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	_, err = Dial(t.Context(), l.Addr().String(), Options{Hello: "edge.test"})
	var f *mail.Failure
	if !errors.As(err, &f) || f.Enhanced != (mail.Enhanced{4, 4, 1}) || f.Permanent || f.Command != "CONNECT" {
		t.Errorf("%#v", err)
	}
}

// TestKeptConnectionClosed checks that Send detects a closed connection before it sends a message.
func TestKeptConnectionClosed(t *testing.T) {
	s := smtptest.Start(t, &smtptest.Server{Extensions: smtptest.All()})
	c := dialTest(t, s, Options{TLSMode: TLSNever})
	mustDeliver(t, c, testMessage(1))
	s.Kick()
	kit.Eventually(t, "the connection is seen to be closed", func() bool { _, err := c.pulse.check(); return err != nil })
	results, err := c.Send(t.Context(), testMessage(1))
	if f := results[0].Failure; err == nil || f == nil || f.Command != "" || f.Permanent {
		t.Errorf("%v", f)
	}
}

// TestUnaskedWhileIdle checks that an unexpected reply is detected, which would shift the others.
func TestUnaskedWhileIdle(t *testing.T) {
	client, server := socketPair(t)
	greeted := make(chan error, 1)
	go func() {
		_, err := io.WriteString(server, "220 x\r\n")
		if err == nil {
			_, err = bufio.NewReader(server).ReadString('\n') // EHLO
		}
		if err == nil {
			_, err = io.WriteString(server, "250 x\r\n")
		}
		greeted <- err
	}()
	c, err := Dial(t.Context(), "core.test:25", Options{Hello: "edge.test",
		Dial: func(context.Context, string, string) (net.Conn, error) { return client, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := <-greeted; err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(server, "250 x\r\n"); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "data waits on the connection", func() bool { waiting, _ := c.pulse.check(); return waiting })
	if _, err := c.Send(t.Context(), testMessage(1)); !errors.Is(err, ErrProtocol) || !c.Dead() {
		t.Error(err)
	}
	c.Close()
	if rest, _ := io.ReadAll(server); len(rest) > 0 {
		t.Errorf("client sent %q", rest)
	}
}

func socketPair(t testing.TB) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// TestManyRecipients sends to more recipients than fit into a group or a transaction.
func TestManyRecipients(t *testing.T) {
	for _, extensions := range [][]string{smtptest.All(), append(smtptest.All(), "LIMITS RCPTMAX=1000"), {"PIPELINING"}, nil} {
		s := smtptest.Start(t, &smtptest.Server{Extensions: extensions, Hook: func(step smtptest.Step) smtptest.Action {
			if step.Verb == "RCPT" && strings.Contains(step.Line, "7@") {
				return smtptest.Action{Reply: "550 5.1.1 no"}
			}
			return smtptest.Action{}
		}})
		c := dialTest(t, s, Options{TLSMode: TLSNever})
		m := testMessage(950)
		m.Pending = m.Pending[5:]
		results, err := c.Send(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range results {
			if r.Recipient != i+5 || (r.Failure != nil) != (r.Recipient%10 == 7) {
				t.Fatalf("%v: %d %v", extensions, i, r)
			}
		}
		got := 0
		for _, m := range s.Messages() {
			got += len(m.To)
		}
		if want := 945 - 95; got != want {
			t.Errorf("%v: %d recipients, want %d", extensions, got, want)
		}
		if want := map[bool]int{true: 1, false: 10}[len(extensions) == 9]; s.Accepted() != want {
			t.Errorf("%v: %d transactions", extensions, s.Accepted())
		}
	}
}

// TestQuitIsBounded checks that Close returns although the server doesn't reply.
func TestQuitIsBounded(t *testing.T) {
	var s *smtptest.Server
	s = &smtptest.Server{Hook: func(step smtptest.Step) smtptest.Action {
		if step.Verb == "QUIT" {
			<-s.Done()
		}
		return smtptest.Action{}
	}}
	smtptest.Start(t, s)
	c := dialTest(t, s, Options{Timeouts: Timeouts{Quit: 50 * time.Millisecond}})
	began := time.Now()
	c.Close()
	c.Close()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	results, err := c.Send(t.Context(), testMessage(1))
	if !errors.Is(err, ErrClosed) || !errors.Is(results[0].Failure, ErrClosed) {
		t.Errorf("%v", results)
	}
}

// TestInMemory uses a net.Conn that is not a socket.
func TestInMemory(t *testing.T) {
	s := &smtptest.Server{Extensions: smtptest.All()}
	defer s.Close()
	c, err := Dial(t.Context(), "core.test:25", Options{Hello: "edge.test", Dial: s.Dial})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	mustDeliver(t, c, testMessage(2))
	mustDeliver(t, c, Message{Envelope: testEnvelope(1), Pending: []int{0}, Body: stored{memory(testBody(300000))}})
	if !c.Has("CHUNKING") || c.Params("SIZE") != "0" || c.Remote() != "core.test:25" {
		t.Errorf("%q %q", c.Params("SIZE"), c.Remote())
	}
}
