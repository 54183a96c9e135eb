package control

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// How the readiness check is made.
const (
	readyTimeout = 2 * time.Second        // longer than this is "not ready"
	readyFresh   = 100 * time.Millisecond // an answer is given again for this long
)

// readiness makes the node's check on demand. The check writes to the disk, so
// all that ask in one moment share one; and a disk that hangs holds up one
// check, not one for each that asks.
type readiness struct {
	check func(context.Context) error

	mu      sync.Mutex
	ctx     context.Context // of the checks
	cancel  context.CancelFunc
	done    sync.WaitGroup // the check in flight; begun under mu
	running chan struct{}  // closed when the check in flight ends; nil: none
	began   time.Time      // of the check in flight
	ended   time.Time      // of the last; zero: none yet
	last    error
}

// ask returns nil if the node is ready, else why it is not. It takes readyTimeout
// at most.
func (r *readiness) ask(ctx context.Context) error {
	r.mu.Lock()
	if !r.ended.IsZero() && time.Since(r.ended) < readyFresh {
		defer r.mu.Unlock()
		return r.last
	}
	if r.ctx.Err() != nil { // nobody waits for a check begun now
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

// forget has the next that asks make a check anew, unless one is in flight.
func (r *readiness) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = time.Time{}
}

// close begins no more checks.
func (r *readiness) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cancel()
}

// wait waits, after close, for a check in flight, but not for a disk that hangs
// for ever.
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
