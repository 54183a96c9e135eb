package handoff

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"anymx/edge/delivery/smtpc"
	"anymx/edge/delivery/smtpc/smtptest"
	"anymx/edge/mail"
	"anymx/edge/queue"
	"anymx/tests/kit"
)

// network dials servers in memory by their address, and refuses those that
// are not there.
type network struct {
	mu      sync.Mutex
	servers map[string]*smtptest.Server
	dials   map[string]int
}

var errRefused = &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}

func (n *network) dial(ctx context.Context, proto, addr string) (net.Conn, error) {
	n.mu.Lock()
	n.dials[addr]++
	s := n.servers[addr]
	n.mu.Unlock()
	if s == nil {
		return nil, errRefused
	}
	return s.Dial(ctx, proto, addr)
}

func (n *network) set(addr string, s *smtptest.Server) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.servers[addr] = s
}

func (n *network) dialled(addr string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dials[addr]
}

func newNetwork() *network {
	return &network{servers: map[string]*smtptest.Server{}, dials: map[string]int{}}
}

// TestFailover goes to the second address while the first is away, asks the
// first again when its pause is over, and comes back.
func TestFailover(t *testing.T) {
	st := newStore(t)
	var tries []*queue.Attempt
	for range 20 {
		tries = append(tries, st.try(text, 1))
	}
	next := func() *queue.Attempt {
		try := tries[0]
		tries = tries[1:]
		return try
	}
	kit.Bubble(t, func(t *testing.T) {
		one, two := full(), full()
		defer one.Close()
		defer two.Close()
		n := newNetwork()
		n.set("two:25", two)
		h := newHandoff(t, Options{Addresses: []string{"one:25", "two:25"}, Dial: n.dial, IdleTimeout: time.Hour})
		mustDeliver(t, h, next())
		mustDeliver(t, h, next())
		s := h.Status()
		if s[0].Health != Down || s[1].Health != Up || s[1].Delivered != 2 || !strings.Contains(s[0].LastError, "refused") ||
			time.Until(s[0].RetryAt) != time.Second {
			t.Fatalf("%+v", s)
		}
		if n.dialled("one:25") != 1 {
			t.Fatalf("asked %d times in its pause", n.dialled("one:25"))
		}
		for range 3 { // one, two, four seconds
			time.Sleep(time.Until(h.Status()[0].RetryAt))
			mustDeliver(t, h, next())
			mustDeliver(t, h, next())
		}
		if n.dialled("one:25") != 4 || two.Accepted() != 8 {
			t.Fatalf("asked %d times, second has %d", n.dialled("one:25"), two.Accepted())
		}
		n.set("one:25", one)
		time.Sleep(time.Until(h.Status()[0].RetryAt))
		mustDeliver(t, h, next())
		mustDeliver(t, h, next())
		if s := h.Status()[0]; one.Accepted() != 2 || s.Health != Up || s.LastError != "" {
			t.Fatalf("first has %d: %+v", one.Accepted(), s)
		}
		h.Close()
	})
}

// TestDown says so when nobody answers, until somebody does. No attempt is
// made in the pause.
func TestDown(t *testing.T) {
	st := newStore(t)
	try := st.try(text, 1)
	kit.Bubble(t, func(t *testing.T) {
		n := newNetwork()
		h := newHandoff(t, Options{Addresses: []string{"one:25", "two:25"}, Dial: n.dial, BackoffMax: 10 * time.Second})
		for i, want := range []time.Duration{1, 2, 4, 8, 10, 10} {
			results, err := h.Deliver(t.Context(), try)
			var down *queue.Down
			if !errors.As(err, &down) || results != nil || !errors.Is(err, errRefused) {
				t.Fatalf("%v %v", results, err)
			}
			if wait := time.Until(down.Until); wait != want*time.Second {
				t.Errorf("%d: down for %v", i, wait)
			}
			time.Sleep(time.Until(down.Until) - 1)
			if _, err := h.Deliver(t.Context(), try); !errors.As(err, &down) {
				t.Fatal(err)
			}
			time.Sleep(time.Nanosecond)
		}
		if n.dialled("one:25") != 6 || n.dialled("two:25") != 6 {
			t.Errorf("dialled %v", n.dials)
		}
		server := full()
		defer server.Close()
		n.set("two:25", server)
		mustDeliver(t, h, try)
		h.Close()
	})
}

// TestGreetingRefused: a 5xx to the connection says nothing about a message.
func TestGreetingRefused(t *testing.T) {
	for _, verb := range []string{"CONNECT", "EHLO"} {
		server := smtptest.Start(t, &smtptest.Server{Hook: func(step smtptest.Step) smtptest.Action {
			if step.Verb == verb {
				return smtptest.Action{Reply: "554 5.3.2 no"}
			}
			return smtptest.Action{}
		}})
		h, st := newHandoff(t, Options{}, server), newStore(t)
		_, err := h.Deliver(t.Context(), st.try(text, 1))
		var down *queue.Down
		if !errors.As(err, &down) {
			t.Errorf("%s: %v", verb, err)
		}
	}
}

// TestKeptConnectionsClosed: core restarts between two messages, which costs
// no attempt.
func TestKeptConnectionsClosed(t *testing.T) {
	server := smtptest.Start(t, full())
	h, st := newHandoff(t, Options{}, server), newStore(t)
	for range 3 {
		mustDeliver(t, h, st.try(text, 1))
		server.Kick()
	}
	if server.Conns() != 3 || server.Accepted() != 3 {
		t.Errorf("%d connections, %d messages", server.Conns(), server.Accepted())
	}
}

// TestSilentCore answers EHLO and nothing more: after three messages it is
// left alone.
func TestSilentCore(t *testing.T) {
	st := newStore(t)
	tries := []*queue.Attempt{st.try(text, 1), st.try(text, 1), st.try(text, 1), st.try(text, 1)}
	kit.Bubble(t, func(t *testing.T) {
		server := full()
		server.Hook = func(step smtptest.Step) smtptest.Action {
			if step.Verb == "MAIL" {
				<-server.Done()
			}
			return smtptest.Action{}
		}
		n := newNetwork()
		n.set("one:25", server)
		h := newHandoff(t, Options{Addresses: []string{"one:25"}, Dial: n.dial, CommandTimeout: time.Minute})
		for i := range 3 {
			if s := h.Status()[0]; s.Health == Down || s.Limit != 16>>i {
				t.Fatalf("%d: %+v", i, s)
			}
			if f := failure(t, h, tries[i]); !smtpc.IsTimeout(f) {
				t.Fatal(f)
			}
		}
		var down *queue.Down
		if _, err := h.Deliver(t.Context(), tries[3]); !errors.As(err, &down) || !smtpc.IsTimeout(errors.Unwrap(down).(*mail.Failure)) {
			t.Fatal(err)
		}
		server.Close()
		server = full()
		defer server.Close()
		n.set("one:25", server)
		time.Sleep(time.Until(down.Until))
		mustDeliver(t, h, tries[3])
		if s := h.Status()[0]; s.Health != Up || s.Limit > 2 {
			t.Errorf("%+v", s)
		}
		h.Close()
	})
}

// TestReload: another first address, and the connections of before are closed.
func TestReload(t *testing.T) {
	one, two := smtptest.Start(t, full()), smtptest.Start(t, full())
	h, st := newHandoff(t, Options{}, one), newStore(t)
	mustDeliver(t, h, st.try(text, 1))
	if err := h.Reload(Options{Hello: "x"}); err == nil {
		t.Error("no addresses were taken")
	}
	err := h.Reload(Options{Hello: "other.test", Addresses: []string{two.Addr(), one.Addr()}, IdleTimeout: time.Minute, MaxConnections: 4})
	if err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "the first core has no connection", func() bool { return one.Open() == 0 })
	mustDeliver(t, h, st.try(text, 1))
	s := h.Status()
	if one.Accepted() != 1 || two.Accepted() != 1 || s[0].Address != two.Addr() || s[1].Delivered != 1 || s[1].Limit != 4 {
		t.Errorf("%d %d %+v", one.Accepted(), two.Accepted(), s)
	}
}
