package queue

import (
	"sync"
	"testing"
	"time"

	"anymx/tests/kit"
)

// Each bug that is put in on purpose is found.
func TestSimulationFinds(t *testing.T) {
	for _, bug := range []string{
		"a lost wake-up", "a leg forgotten at a crash", "an expiry checked only on attempt",
		"a result of the wrong recipient", "an attempt not recorded before it is made",
	} {
		t.Run(bug, func(t *testing.T) {
			for seed := range uint64(200) {
				var found []string
				kit.Bubble(t, func(t *testing.T) { found = simulate(t, seed, bug).problems })
				if len(found) > 0 {
					t.Logf("found by seed %d: %s", seed, found[0])
					return
				}
			}
			t.Error("not found")
		})
	}
}

// sabotage puts the bug in. The caller must call stop.
func (s *simulation) sabotage(n *node, life int) (stop func()) {
	q := n.queue
	ended := make(chan struct{})
	var wait sync.WaitGroup
	each := func(every time.Duration, spoil func()) {
		wait.Go(func() {
			for {
				select {
				case <-ended:
					return
				case <-time.After(every):
				}
				q.mu.Lock()
				spoil()
				q.mu.Unlock()
			}
		})
	}
	switch s.bug {
	case "a leg forgotten at a crash":
		q.mu.Lock()
		if e := q.index.first(); e != nil && life > 0 {
			q.forget(e)
		}
		q.mu.Unlock()
	case "a lost wake-up":
		each(2*time.Second, func() {
			if l, ok := q.wakes.top(); ok {
				q.wakes.remove(l)
			}
		})
	case "an expiry checked only on attempt":
		each(200*time.Millisecond, func() {
			for _, e := range q.index.after(legID{}, 1<<20, nil) {
				q.expiry.remove(e)
			}
		})
	case "an attempt not recorded before it is made":
		each(200*time.Millisecond, func() {
			for _, e := range q.index.after(legID{}, 1<<20, nil) {
				if e.state == waiting {
					e.attempts = 0
				}
			}
		})
	}
	return func() { close(ended); wait.Wait() }
}
