package handoff

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"anymx/edge/delivery/smtpc/smtptest"
	"anymx/edge/queue"
	"anymx/tests/kit"
)

// Sixty messages at whose end core closes the connection stand in front of a hundred good ones: core has the
// good ones within seconds, and the address never counts as down for long.
func TestPoisonInFront(t *testing.T) {
	server := full()
	var mu sync.Mutex
	bad, tries := map[int]bool{}, 0 // connections whose message is poison
	server.Hook = func(step smtptest.Step) smtptest.Action {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case step.Verb == "MAIL":
			bad[step.Conn] = strings.Contains(step.Line, "poison")
		case step.Verb == "END" && bad[step.Conn]:
			tries++
			return smtptest.Action{Close: true}
		}
		return smtptest.Action{}
	}
	smtptest.Start(t, server)
	st := newStore(t)
	h := newHandoff(t, Options{}, server)
	q, err := queue.New(queue.Options{Spool: st.s, Courier: h, Hostname: func() string { return "edge.test" }, Concurrency: 16})
	if err != nil {
		t.Fatal(err)
	}
	poison := st
	poison.sender = "poison"
	for range 60 {
		q.Accepted(poison.try(text, 1).Message)
	}
	for range 100 {
		q.Accepted(st.try(text, 1).Message)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- q.Run(ctx) }()
	kit.EventuallyIn(t, 10*time.Second, "core has the good mail", func() bool { return server.Accepted() == 100 })
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if tries < 60 {
		t.Errorf("%d attempts for 60 messages", tries)
	}
}

// A message that broke two connections has one of its own from the third time on, and no other message goes
// over that one.
func TestPoisonTravelsAlone(t *testing.T) {
	server := full()
	var mu sync.Mutex
	seen := map[int]int{} // messages by connection
	server.Hook = func(step smtptest.Step) smtptest.Action {
		mu.Lock()
		defer mu.Unlock()
		if step.Verb == "MAIL" {
			seen[step.Conn]++
		}
		return smtptest.Action{Close: step.Verb == "END" && step.Conn < 2}
	}
	smtptest.Start(t, server)
	h, st := newHandoff(t, Options{}, server), newStore(t)
	poison := st.try(text, 1)
	failure(t, h, poison)              // over connection 0
	failure(t, h, poison)              // 1
	mustDeliver(t, h, st.try(text, 1)) // 2, which is kept
	mustDeliver(t, h, poison)          // 3
	mustDeliver(t, h, st.try(text, 1)) // 2
	mu.Lock()
	defer mu.Unlock()
	if seen[2] != 2 || seen[3] != 1 || server.Conns() != 4 {
		t.Errorf("messages by connection: %v", seen)
	}
}

// An address that accepts recipients and then breaks the connection is up, and rests a second after twenty
// messages in a row.
func TestPoisoned(t *testing.T) {
	c := newClock()
	h := health{state: Up}
	ids := newStore(t)
	for n := 1; n < restAfter; n++ {
		if h.poisoned(ids.try(text, 1).Message.Envelope.ID, c.now) {
			t.Fatalf("rests after %d", n)
		}
	}
	if !h.poisoned(ids.try(text, 1).Message.Envelope.ID, c.now) || h.usable(c.add(restFor-1)) || !h.usable(c.add(1)) {
		t.Error("no rest after twenty")
	}
	h.opened(c.now)
	h.worked(c.now)
	if h.poison != 0 {
		t.Error("a message that was answered counts")
	}
}
