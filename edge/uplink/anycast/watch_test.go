package anycast

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// subject is a check whose outcome a test controls.
type subject struct {
	takes   atomic.Int64 // nanoseconds until it answers
	answers atomic.Int64 // an outcome
	running atomic.Int64
	most    atomic.Int64 // highest number of concurrent runs
	asked   atomic.Int64
}

func (s *subject) check(name string) check {
	return check{name, func(ctx context.Context) (answer, error) {
		s.asked.Add(1)
		if n := s.running.Add(1); n > s.most.Load() {
			s.most.Store(n)
		}
		defer s.running.Add(-1)
		select {
		case <-ctx.Done():
			return answer{outcome: bad}, errors.New("timeout")
		case <-time.After(time.Duration(s.takes.Load())):
		}
		if o := outcome(s.answers.Load()); o != good {
			return answer{outcome: o}, errors.New("it says so")
		}
		return answer{}, nil
	}}
}

// observed records the results of a watch: the outcomes of rounds, and their times.
type observed struct {
	mu    sync.Mutex
	text  string
	times []time.Duration
}

// since returns the outcomes after the first n, and their times.
func (o *observed) since(n int) (string, []time.Duration) {
	synctest.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(strings.Fields(o.text)[n:], " "), slices.Clone(o.times[n:])
}

// observe runs a watch of checks, 400 ms between rounds and 2 s for each check.
func observe(t *testing.T, hurry bool, checks ...check) (*watch, *observed) {
	o, began := new(observed), time.Now()
	w := newWatch(func(checked) {}, func(v verdict) bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.text += v.outcome.String() + " "
		o.times = append(o.times, time.Since(began))
		return hurry && v.outcome == bad
	})
	w.assign(assignment{checks, 400 * time.Millisecond, 2 * time.Second})
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() { defer close(over); w.run(ctx) }()
	t.Cleanup(func() { cancel(); <-over })
	return w, o
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a, b subject
		_, seen := observe(t, true, a.check("a"), b.check("b"))
		time.Sleep(time.Second)
		if got, _ := seen.since(0); got != "good good good" {
			t.Errorf("rounds at 0, 400 and 800 ms: %s", got)
		}
		// One fails: the next round comes early, the later ones at the normal interval.
		a.answers.Store(int64(bad))
		time.Sleep(500 * time.Millisecond) // rounds at 1200 and 1400 ms
		a.answers.Store(int64(good))
		time.Sleep(600 * time.Millisecond) // at 1600 and 2000 ms
		got, times := seen.since(3)
		want := []time.Duration{1200 * time.Millisecond, 1400 * time.Millisecond, 1600 * time.Millisecond, 2 * time.Second}
		if got != "bad bad good good" || !slices.Equal(times, want) {
			t.Errorf("%s at %s, want them at %s", got, times, want)
		}
	})
}

// A hanging check is bad when its time is over, does not pile up, and does not delay the others.
func TestWatchOfACheckThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a, b subject
		a.takes.Store(int64(time.Hour))
		_, seen := observe(t, false, a.check("a"), b.check("b"))
		time.Sleep(1900 * time.Millisecond)
		if got, _ := seen.since(0); got != "open open open open" {
			t.Errorf("before its time is over: %s", got)
		}
		time.Sleep(200 * time.Millisecond)
		if got, _ := seen.since(4); got != "bad open" && got != "open bad" && got != "bad" {
			t.Errorf("when its time is over: %s", got)
		}
		_, before := seen.since(0)
		b.answers.Store(int64(bad))
		time.Sleep(400 * time.Millisecond)
		if got, _ := seen.since(len(before)); got != "bad" {
			t.Errorf("the other one: %s", got)
		}
		if a.most.Load() != 1 || a.asked.Load() != 2 {
			t.Errorf("asked %d times, %d at once", a.asked.Load(), a.most.Load())
		}
	})
}

// A slow check is not bad.
func TestWatchOfASlowCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a, b subject
		a.takes.Store(int64(500 * time.Millisecond))
		_, seen := observe(t, false, a.check("a"), b.check("b"))
		time.Sleep(3 * time.Second)
		if got, times := seen.since(0); got != "open good open good open good open good" {
			t.Errorf("%s at %s", got, times)
		}
	})
}

// A new assignment begins at once, and running checks are cancelled.
func TestWatchChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a, b subject
		a.takes.Store(int64(time.Hour))
		w, seen := observe(t, false, a.check("a"))
		time.Sleep(time.Millisecond)
		w.assign(assignment{[]check{a.check("a")}, time.Second, time.Second})
		w.assign(assignment{[]check{b.check("b")}, time.Second, time.Second})
		time.Sleep(1500 * time.Millisecond)
		if got, _ := seen.since(0); got != "good good" || a.running.Load() != 0 {
			t.Errorf("%s, %d still run", got, a.running.Load())
		}
	})
}
