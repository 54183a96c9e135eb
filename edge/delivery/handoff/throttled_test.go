package handoff

import (
	"sync"
	"sync/atomic"
	"testing"

	"anymx/edge/delivery/smtpc/smtptest"
	"anymx/edge/queue"
	"anymx/tests/kit"
)

// TestCoreHasALimit: core takes three connections and says 421 to more. All
// messages arrive, over three.
func TestCoreHasALimit(t *testing.T) {
	var open, refused atomic.Int32
	server := full()
	release := make(chan struct{})
	server.Hook = func(step smtptest.Step) smtptest.Action {
		switch step.Verb {
		case "CONNECT":
			if open.Add(1) > 3 {
				open.Add(-1)
				refused.Add(1)
				return smtptest.Action{Reply: "421 4.7.0 too many connections", Close: true}
			}
		case "END":
			if refused.Load() == 0 {
				select {
				case <-release:
				case <-server.Done():
				}
			}
		case "QUIT":
			open.Add(-1)
		}
		return smtptest.Action{}
	}
	smtptest.Start(t, server)
	h, st := newHandoff(t, Options{MaxConnections: 8}, server), newStore(t)
	var wait sync.WaitGroup
	for range 8 {
		tries := []*queue.Attempt{st.try(text, 1), st.try(text, 1), st.try(text, 1)}
		wait.Go(func() {
			for _, try := range tries {
				results, err := h.Deliver(t.Context(), try)
				if err != nil || results[0].Failure != nil {
					t.Error(err, results)
				}
			}
		})
	}
	kit.Eventually(t, "core refuses a connection", func() bool { return refused.Load() > 0 })
	close(release)
	wait.Wait()
	if server.Accepted() != 24 || h.Status()[0].Health != Up || h.Status()[0].Limit > 6 {
		t.Errorf("%d messages, %+v", server.Accepted(), h.Status())
	}
}

// TestLimitHolds: never more messages under way than the limit says.
func TestLimitHolds(t *testing.T) {
	var now, most atomic.Int32
	server := full()
	server.Hook = func(step smtptest.Step) smtptest.Action {
		switch step.Verb {
		case "MAIL":
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
		case "END":
			now.Add(-1)
		}
		return smtptest.Action{}
	}
	smtptest.Start(t, server)
	h, st := newHandoff(t, Options{MaxConnections: 2}, server), newStore(t)
	var wait sync.WaitGroup
	for range 6 {
		tries := []*queue.Attempt{st.try(text, 1), st.try(text, 1), st.try(text, 1), st.try(text, 1)}
		wait.Go(func() {
			for _, try := range tries {
				if results, err := h.Deliver(t.Context(), try); err != nil || results[0].Failure != nil {
					t.Error(err, results)
				}
			}
		})
	}
	wait.Wait()
	if most.Load() > 2 || server.Conns() > 2 {
		t.Errorf("%d messages at once, %d connections", most.Load(), server.Conns())
	}
}
