package handoff

import (
	"bytes"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"anymx/edge/delivery/smtpc/smtptest"
	"anymx/edge/queue"
	"anymx/tests/kit"
)

func TestNew(t *testing.T) {
	for _, o := range []Options{{}, {Hello: "x"}, {Hello: "x", Addresses: []string{"10.0.0.1"}}, {Addresses: []string{"10.0.0.1:25"}}} {
		if _, err := New(o); err == nil {
			t.Errorf("%v was taken", o)
		}
	}
}

func TestCoreSeesTheClient(t *testing.T) {
	server := smtptest.Start(t, full())
	h, st := newHandoff(t, Options{}, server), newStore(t)
	try := st.try(text, 2)
	mustDeliver(t, h, try)
	got := server.Messages()
	if len(got) != 1 || len(got[0].To) != 2 || string(got[0].Body) != text {
		t.Fatalf("%+v", got)
	}
	for _, want := range []string{"ADDR=192.0.2.7", "PORT=4711", "PROTO=ESMTPS", "HELO=client.example.org", "SOURCE=REMOTE",
		"IDENT=" + try.Message.Envelope.ID.String()} {
		if !strings.Contains(got[0].XForward, want) {
			t.Errorf("%q without %s", got[0].XForward, want)
		}
	}
	h = newHandoff(t, Options{Anonymous: true}, server)
	mustDeliver(t, h, st.try(text, 1))
	if x := server.Messages()[1].XForward; x != "" {
		t.Errorf("%q", x)
	}
}

func TestConnectionIsKept(t *testing.T) {
	server := smtptest.Start(t, full())
	h, st := newHandoff(t, Options{MessagesPerConnection: 3}, server), newStore(t)
	for i, want := range []int{0, 0, 0, 1, 1, 1, 2} {
		mustDeliver(t, h, st.try(text, 1))
		if got := server.Messages()[i].Conn; got != want {
			t.Errorf("message %d over connection %d, want %d", i, got, want)
		}
	}
	if s := h.Status()[0]; s.Health != Up || s.Connections != 1 || s.Busy != 0 || s.Limit != 16 || s.Delivered != 7 || s.LastError != "" {
		t.Errorf("%+v", s)
	}
}

func TestZeroIdleTimeoutKeepsNothing(t *testing.T) {
	server := smtptest.Start(t, full())
	h, st := newHandoff(t, Options{IdleTimeout: -1}, server), newStore(t)
	mustDeliver(t, h, st.try(text, 1))
	mustDeliver(t, h, st.try(text, 1))
	if server.Conns() != 2 || h.Status()[0].Connections != 0 {
		t.Errorf("%d connections", server.Conns())
	}
}

func TestIdleConnectionIsClosed(t *testing.T) {
	st := newStore(t)
	tries := []*queue.Attempt{st.try(text, 1), st.try(text, 1), st.try(text, 1)}
	kit.Bubble(t, func(t *testing.T) {
		var quits atomic.Int32
		server := full()
		server.Hook = func(step smtptest.Step) smtptest.Action {
			if step.Verb == "QUIT" {
				quits.Add(1)
			}
			return smtptest.Action{}
		}
		defer server.Close()
		h := newHandoff(t, Options{Addresses: []string{"core.test:25"}, Dial: server.Dial, IdleTimeout: time.Minute})
		mustDeliver(t, h, tries[0])
		time.Sleep(59 * time.Second)
		mustDeliver(t, h, tries[1]) // used again: its minute begins anew
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if quits.Load() != 0 || server.Open() != 1 {
			t.Fatal("closed too early")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if quits.Load() != 1 || server.Open() != 0 {
			t.Fatalf("%d said goodbye, %d are open", quits.Load(), server.Open())
		}
		mustDeliver(t, h, tries[2])
		h.Close()
	})
}

// TestUsedUp goes on over another connection where core takes one transaction
// for each.
func TestUsedUp(t *testing.T) {
	server := smtptest.Start(t, &smtptest.Server{Extensions: append(smtptest.All(), "LIMITS MAILMAX=1 RCPTMAX=2")})
	h, st := newHandoff(t, Options{}, server), newStore(t)
	mustDeliver(t, h, st.try(text, 5))
	if server.Accepted() != 3 || server.Conns() != 3 || h.Status()[0].Connections != 0 {
		t.Errorf("%d messages, %d connections, %d kept", server.Accepted(), server.Conns(), h.Status()[0].Connections)
	}
}

// TestLongBody is a file in the spool, sent three times.
func TestLongBody(t *testing.T) {
	server := smtptest.Start(t, &smtptest.Server{Extensions: append(smtptest.All(), "LIMITS RCPTMAX=1")})
	h, st := newHandoff(t, Options{}, server), newStore(t)
	body := "Subject: x\r\n\r\n" + strings.Repeat("0123456789\r\n", 100000)
	mustDeliver(t, h, st.try(body, 3))
	for _, m := range server.Messages() {
		if !bytes.Equal(m.Body, []byte(body)) {
			t.Errorf("%d octets of %d", len(m.Body), len(body))
		}
	}
}

func TestClosed(t *testing.T) {
	server := smtptest.Start(t, full())
	h, st := newHandoff(t, Options{}, server), newStore(t)
	h.Close()
	if _, err := h.Deliver(t.Context(), st.try(text, 1)); !errors.Is(err, errClosed) {
		t.Error(err)
	}
}
