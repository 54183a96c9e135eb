package control

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Limits of the readiness check.
const (
	readyTimeout = 2 * time.Second        // a slower check is "not ready"
	readyFresh   = 100 * time.Millisecond // an answer is reused for this long
)

// readiness runs the node's check on demand. The check writes to the disk, so requests at the same
// time share one; a hanging disk then blocks a single check instead of one for each request.
type readiness struct {
	check func(context.Context) error

	mu      sync.Mutex
	ctx     context.Context // of the checks
	cancel  context.CancelFunc
	done    sync.WaitGroup // the check in flight; Add is called under mu
	running chan struct{}  // closed when the check in flight ends; nil: none
	began   time.Time      // of the check in flight
	ended   time.Time      // of the last; zero: none yet
	last    error
}

// ask returns nil if the node is ready, and the reason if not. It takes readyTimeout at most.
func (r *readiness) ask(ctx context.Context) error {
	r.mu.Lock()
	if !r.ended.IsZero() && time.Since(r.ended) < readyFresh {
		defer r.mu.Unlock()
		return r.last
	}
	if r.ctx.Err() != nil { // the server closes: do not begin another check
		r.mu.Unlock()
		return errors.New("the node is stopping")
	}
	if r.running == nil {
		r.running, r.began = make(chan struct{}), time.Now()
		r.done.Add(1)
		go r.run(r.running)
	}
	running, left := r.running, readyTimeout-time.Since(r.began)
	r.mu.Unlock()

	timeout := time.NewTimer(left)
	defer timeout.Stop()
	select {
	case <-running:
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.last
	case <-timeout.C:
		return fmt.Errorf("the check has not ended after %s: does the disk hang?", readyTimeout)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *readiness) run(running chan struct{}) {
	defer r.done.Done()
	ctx, cancel := context.WithTimeout(r.ctx, readyTimeout)
	defer cancel()
	err := r.check(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last, r.ended, r.running = err, time.Now(), nil
	close(running)
}

// forget drops the last result: the next request runs the check again, unless one is in flight.
func (r *readiness) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = time.Time{}
}

// close prevents further checks.
func (r *readiness) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cancel()
}

// wait waits, after close, for a check in flight, but not forever if the disk hangs.
func (r *readiness) wait(most time.Duration) error {
	done := make(chan struct{})
	go func() { r.done.Wait(); close(done) }()
	timeout := time.NewTimer(most)
	defer timeout.Stop()
	select {
	case <-done:
		return nil
	case <-timeout.C:
		return errors.New("control: a readiness check did not end: does the disk hang?")
	}
}
