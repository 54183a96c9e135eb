package handoff

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"anymx/edge/delivery/smtpc/smtptest"
	"anymx/edge/queue"
)

// TestBrokenOff counts how often a message is sent when core breaks off at
// each step of the first connection.
func TestBrokenOff(t *testing.T) {
	for _, test := range []struct {
		verb   string
		action smtptest.Action
		tried  int // connections
		fails  bool
	}{
		{"XFORWARD", smtptest.Action{Close: true}, 2, false},
		{"XFORWARD", smtptest.Action{Reset: true}, 2, false},
		{"MAIL", smtptest.Action{Close: true}, 1, true}, // it may have read all, and said no more
		{"MAIL", smtptest.Action{Reply: "421 4.3.2 closing", Close: true}, 2, false},
		{"RCPT", smtptest.Action{Reply: "421 4.3.2 closing", Close: true}, 2, false},
		{"END", smtptest.Action{Reply: "421 4.3.2 closing", Close: true}, 2, false},
		{"END", smtptest.Action{Close: true}, 1, true},
		{"END", smtptest.Action{Reply: "garbage"}, 1, true},
		{"END", smtptest.Action{Reply: "451 4.3.0 no"}, 1, true},
		{"BODY", smtptest.Action{Close: true, After: 10}, 1, true}, // all of it was on its way
	} {
		t.Run(test.verb+" "+test.action.Reply, func(t *testing.T) {
			server := full()
			server.Hook = func(step smtptest.Step) smtptest.Action {
				if step.Conn == 0 && step.Verb == test.verb {
					return test.action
				}
				return smtptest.Action{}
			}
			smtptest.Start(t, server)
			h, st := newHandoff(t, Options{}, server), newStore(t)
			r := deliver(t, h, st.try(text, 1))[0]
			if (r.Failure != nil) != test.fails || server.Conns() != test.tried || r.Failure != nil && r.Failure.Permanent {
				t.Errorf("%v after %d connections", r.Failure, server.Conns())
			}
		})
	}
}

// TestBrokenTwice gives up until the queue comes again.
func TestBrokenTwice(t *testing.T) {
	server := full()
	server.Hook = func(step smtptest.Step) smtptest.Action {
		return smtptest.Action{Close: step.Verb == "XFORWARD"}
	}
	smtptest.Start(t, server)
	h, st := newHandoff(t, Options{}, server), newStore(t)
	if f := failure(t, h, st.try(text, 1)); f.Permanent || server.Conns() != 2 {
		t.Errorf("%v after %d connections", f, server.Conns())
	}
}

// TestPoison: one message that kills each connection does not take the others
// with it.
func TestPoison(t *testing.T) {
	server := full()
	server.Hook = func(step smtptest.Step) smtptest.Action {
		return smtptest.Action{Close: step.Verb == "MAIL" && strings.Contains(step.Line, "poison")}
	}
	smtptest.Start(t, server)
	h, st := newHandoff(t, Options{}, server), newStore(t)
	bad := st.try(text, 1)
	bad.Message.Envelope.Sender.Local = "poison"
	for range 5 {
		failure(t, h, bad)
	}
	if s := h.Status()[0]; s.Health != Up {
		t.Errorf("%+v", s)
	}
	mustDeliver(t, h, st.try(text, 1))
}

// TestCancel: a message whose time is over while it waits, or is under way,
// had no try.
func TestCancel(t *testing.T) {
	reached := make(chan struct{}, 1)
	server := full()
	server.Hook = func(step smtptest.Step) smtptest.Action {
		if step.Verb == "MAIL" {
			reached <- struct{}{}
			<-server.Done()
		}
		return smtptest.Action{}
	}
	smtptest.Start(t, server)
	h, st := newHandoff(t, Options{MaxConnections: 1}, server), newStore(t)
	why := errors.New("the node stops")
	ctx, cancel := context.WithCancelCause(t.Context())
	var wait sync.WaitGroup
	for range 3 {
		try := st.try(text, 1)
		wait.Go(func() {
			if results, err := h.Deliver(ctx, try); !errors.Is(err, why) || results != nil {
				t.Error(results, err)
			}
		})
	}
	<-reached
	cancel(why)
	wait.Wait()
	if s := h.Status()[0]; s.Health != Up || s.Limit != 1 {
		t.Errorf("%+v", s)
	}
}

// TestPartOfAMessage: what core said of some recipients stays, when the
// connection is lost over the others.
func TestPartOfAMessage(t *testing.T) {
	server := &smtptest.Server{LMTP: true, Extensions: smtptest.All()}
	server.Hook = func(step smtptest.Step) smtptest.Action {
		switch {
		case step.Verb == "RCPT" && strings.Contains(step.Line, "r0@"):
			return smtptest.Action{Reply: "550 5.1.1 no"}
		case step.Verb == "END" && step.Rcpt == 1:
			return smtptest.Action{Reply: "421 4.3.2 closing", Close: step.Conn == 0}
		}
		return smtptest.Action{}
	}
	smtptest.Start(t, server)
	h, st := newHandoff(t, Options{LMTP: true}, server), newStore(t)
	results := deliver(t, h, st.try(text, 3))
	got := map[int]string{}
	for _, r := range results {
		if got[r.Recipient] = r.Reply.String(); r.Failure != nil {
			got[r.Recipient] = r.Failure.Reply.String()
		}
	}
	// r1 is the first to be answered, r2 meets the 421 and goes again alone.
	if got[0] != "550 5.1.1 no" || !strings.HasPrefix(got[1], "250 2.0.0 <r1") || !strings.HasPrefix(got[2], "250 2.0.0 <r2") {
		t.Errorf("%v", got)
	}
	if server.Accepted() != 2 {
		t.Errorf("%d messages", server.Accepted())
	}
}

// TestUnderFaults sends many messages at once to a core that breaks off, falls
// over and refuses at random, each as often as the queue would. Every message
// arrives, and none that did is reported as failed for good.
func TestUnderFaults(t *testing.T) {
	var steps atomic.Int64
	server := full()
	server.Hook = func(step smtptest.Step) smtptest.Action {
		switch n := steps.Add(1); {
		case n%97 == 0:
			return smtptest.Action{Reset: true}
		case n%61 == 0:
			return smtptest.Action{Close: true}
		case n%53 == 0 && step.Verb != "BODY":
			return smtptest.Action{Reply: "421 4.3.2 busy", Close: true}
		case n%41 == 0 && step.Verb != "BODY" && step.Verb != "CONNECT":
			return smtptest.Action{Reply: "451 4.3.0 not now"}
		case n%401 == 0:
			server.Kick()
		}
		return smtptest.Action{}
	}
	smtptest.Start(t, server)
	h, st := newHandoff(t, Options{MaxConnections: 8, BackoffMax: time.Millisecond}, server), newStore(t)
	const workers, each = 8, 40
	var wait sync.WaitGroup
	for worker := range workers {
		var tries []*queue.Attempt
		for i := range each {
			tries = append(tries, st.try(fmt.Sprintf("%sX: %d\r\n\r\n", text[:12], worker*each+i), 1))
		}
		wait.Go(func() {
			for _, try := range tries {
				if err := untilDelivered(t.Context(), h, try); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wait.Wait()
	arrived := map[string]int{}
	for _, m := range server.Messages() {
		arrived[string(m.Body)]++
	}
	if len(arrived) != workers*each {
		t.Errorf("%d of %d messages arrived", len(arrived), workers*each)
	}
	if n := server.Accepted() - len(arrived); n > 0 {
		t.Logf("%d arrived twice, for the answer to them was lost", n)
	}
}

func untilDelivered(ctx context.Context, h *Handoff, try *queue.Attempt) error {
	for range 200 {
		results, err := h.Deliver(ctx, try)
		var down *queue.Down
		switch {
		case errors.As(err, &down):
			time.Sleep(time.Until(down.Until))
		case err != nil:
			return err
		case results[0].Failure == nil:
			return nil
		case results[0].Failure.Permanent:
			return results[0].Failure
		}
	}
	return errors.New("not delivered in 200 tries")
}
