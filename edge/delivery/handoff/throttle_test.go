package handoff

import (
	"testing"
	"time"
)

// clock is a time that a test moves by hand.
type clock struct{ now time.Time }

func (c *clock) add(d time.Duration) time.Time {
	c.now = c.now.Add(d)
	return c.now
}

func newClock() *clock { return &clock{time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)} }

func TestThrottleHalvesOncePerSecond(t *testing.T) {
	c, th := newClock(), newThrottle(16)
	if !th.overload(c.now) || th.now() != 8 {
		t.Fatalf("limit %d", th.now())
	}
	for range 15 { // the others that were under way
		if th.overload(c.add(10 * time.Millisecond)) {
			t.Fatal("cut again by the same trouble")
		}
	}
	if th.overload(c.add(time.Second)); th.now() != 4 {
		t.Errorf("limit %d", th.now())
	}
	for range 10 {
		th.overload(c.add(time.Second))
	}
	if th.now() != 1 {
		t.Errorf("limit %d, want 1 and never less", th.now())
	}
}

func TestThrottleGrowsByOneEachRound(t *testing.T) {
	c, th := newClock(), newThrottle(16)
	th.refused(c.now, 4)
	for round := range 20 {
		before := th.now()
		for range before {
			th.answered(c.add(time.Millisecond), 0, before)
		}
		if grown := th.now() - before; grown > 1 {
			t.Errorf("round %d: from %d to %d", round, before, th.now())
		}
	}
	if th.now() != 16 {
		t.Errorf("limit %d after 20 rounds", th.now())
	}
	for range 1000 {
		th.answered(c.now, 0, 16)
	}
	if th.now() != 16 {
		t.Errorf("limit %d is above the most", th.now())
	}
}

func TestThrottleIdleDoesNotGrow(t *testing.T) {
	c, th := newClock(), newThrottle(16)
	th.refused(c.now, 8)
	for range 1000 {
		th.answered(c.add(time.Second), 0, 1)
	}
	if th.now() != 8 {
		t.Errorf("limit %d, though nobody needed it", th.now())
	}
}

func TestThrottleRestartDoubles(t *testing.T) {
	c, th := newClock(), newThrottle(32)
	th.restart()
	var seen []int
	for range 6 {
		n := th.now()
		seen = append(seen, n)
		for range n {
			th.answered(c.now, 0, n)
		}
	}
	for i, want := range []int{1, 2, 4, 8, 16, 16} {
		if seen[i] != want {
			t.Fatalf("limits %v", seen)
		}
	}
}

// TestThrottleFindsSlowCore plays a core that answers in 20 ms to eight
// messages at a time and is slowed down by more: each beyond makes all wait.
func TestThrottleFindsSlowCore(t *testing.T) {
	c, th := newClock(), newThrottle(64)
	took := func(n int) time.Duration {
		return 20*time.Millisecond + time.Duration(max(0, n-8))*40*time.Millisecond
	}
	run := func(d time.Duration) (most int) {
		for end := c.now.Add(d); c.now.Before(end); {
			n := th.now()
			most = max(most, n)
			for range n {
				th.answered(c.now, took(n), n)
			}
			c.add(took(n))
		}
		return most
	}
	for range latencyMin { // with one message at a time core shows its best
		th.answered(c.add(200*time.Millisecond), took(1), 1)
	}
	run(20 * time.Second)
	if most := run(time.Minute); most > 48 || th.now() < 16 {
		t.Errorf("limit %d, %d at most", th.now(), most)
	}
}

// TestThrottleBearsEvenlySlowCore: where every message takes two seconds,
// however many there are, they have to go together.
func TestThrottleBearsEvenlySlowCore(t *testing.T) {
	c, th := newClock(), newThrottle(16)
	for range 1000 {
		th.answered(c.add(2*time.Second/16), 2*time.Second, 16)
	}
	if th.now() != 16 {
		t.Errorf("limit %d", th.now())
	}
	// It was fast once and is slow for good: the limit comes back.
	th = newThrottle(16)
	for range 100 {
		th.answered(c.add(time.Second/16), 5*time.Millisecond, 16)
	}
	low := 16
	for range 3000 {
		n := th.now()
		low = min(low, n)
		th.answered(c.add(2*time.Second/time.Duration(n)), 2*time.Second, n)
	}
	if low < 4 || low == 16 || th.now() != 16 {
		t.Errorf("limit %d, %d at least", th.now(), low)
	}
}

func TestThrottleSetMost(t *testing.T) {
	c, th := newClock(), newThrottle(16)
	if th.setMost(8); th.now() != 8 {
		t.Errorf("limit %d", th.now())
	}
	if th.setMost(32); th.now() != 32 {
		t.Errorf("limit %d", th.now())
	}
	th.overload(c.now)
	if th.setMost(64); th.now() != 16 {
		t.Errorf("limit %d: what was learned is lost", th.now())
	}
}
