package handoff

import (
	"sync/atomic"
	"testing"
	"time"

	"anymx/edge/delivery/smtpc/smtptest"
)

func TestServed(t *testing.T) {
	c := newClock()
	var s served
	if s.other("a", c.now) {
		t.Error("nobody was served")
	}
	s.note("a", c.now)
	if s.other("a", c.now) || !s.other("b", c.now) {
		t.Error("a was served")
	}
	s.note("b", c.now)
	s.note("b", c.add(time.Second))
	if !s.other("a", c.now) || !s.other("b", c.now) {
		t.Error("both were served")
	}
	if s.other("b", c.add(servedFor-time.Second)) || !s.other("a", c.now) {
		t.Error("a was served ten seconds ago")
	}
}

// A core that calls itself busy for the recipients of one domain alone keeps its pace for the others.
func TestBusyForOneDomain(t *testing.T) {
	server := full()
	var busy atomic.Bool
	server.Hook = func(step smtptest.Step) smtptest.Action {
		if step.Verb == "RCPT" && busy.Load() {
			return smtptest.Action{Reply: "451 4.3.2 not now"}
		}
		return smtptest.Action{}
	}
	smtptest.Start(t, server)
	h, st := newHandoff(t, Options{}, server), newStore(t)
	other := st
	other.domain = "other.example"
	mustDeliver(t, h, other.try(text, 1))
	busy.Store(true)
	failure(t, h, st.try(text, 1))
	if s := h.Status()[0]; s.Limit != 16 {
		t.Errorf("limit %d after one domain was refused", s.Limit)
	}
	failure(t, h, other.try(text, 1))
	h.mu.Lock()
	h.addresses[0].served = served{}
	h.mu.Unlock()
	failure(t, h, other.try(text, 1))
	if s := h.Status()[0]; s.Limit != 8 {
		t.Errorf("limit %d after all were refused", s.Limit)
	}
}
