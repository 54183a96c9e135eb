// Package poll asks the node's other programs for their status, and sends the speaker the node's
// desired state of its routes.
//
// It polls in the background, so that a hanging program delays no reader: readers get the last
// answer, or wait for a newer one.
package poll

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
)

// How often a program is polled, and how long its answer may take. It is polled more often while a
// caller waits for a change.
const (
	Every   = time.Second
	hurried = 100 * time.Millisecond
	timeout = 2 * time.Second
)

// Program polls one program of the node. Run is its only goroutine.
type Program[T any] struct {
	name  string // for the log
	ask   func(context.Context) (T, error)
	close func() // called when Run ends
	log   *slog.Logger

	mu      sync.Mutex
	last    api.Neighbour[T]
	changed chan struct{} // closed when last is replaced
	hurries int           // callers that wait
	poke    chan struct{} // one slot: ask now
}

func newProgram[T any](name string, log *slog.Logger, ask func(context.Context) (T, error), close func()) *Program[T] {
	return &Program[T]{
		name: name, log: log, ask: ask, close: close,
		changed: make(chan struct{}), poke: make(chan struct{}, 1),
	}
}

// NewNetwork returns a Program that polls anymx-net at its control socket.
func NewNetwork(socket string, log *slog.Logger) *Program[api.NetworkStatus] {
	client := control.NewNetworkClient(socket)
	return newProgram("anymx-net", log, client.Status, client.Close)
}

// Run polls until ctx ends.
func (p *Program[T]) Run(ctx context.Context) {
	defer p.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-p.poke:
		}
		asking, cancel := context.WithTimeout(ctx, timeout)
		status, err := p.ask(asking)
		if err != nil && asking.Err() != nil {
			err = fmt.Errorf("%s has not answered within %s", p.name, timeout)
		}
		cancel()
		if ctx.Err() != nil {
			return
		}
		timer.Reset(p.record(status, err, time.Now()))
	}
}

// record stores an answer and returns how long to wait before the next poll.
func (p *Program[T]) record(status T, err error, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.last.Problem
	p.last.Asked, p.last.Problem = now, ""
	switch {
	case err == nil:
		p.last.Status = &status
		if before != "" {
			p.log.Info(p.name + " answers again")
		}
	default:
		if p.last.Problem = err.Error(); before == "" {
			p.log.Warn(p.name+" does not answer", "err", err)
		}
	}
	close(p.changed)
	p.changed = make(chan struct{})
	if p.hurries > 0 {
		return hurried
	}
	return Every
}

// Last returns the last answer. It returns nil for a nil Program, one that is not configured.
func (p *Program[T]) Last() *api.Neighbour[T] {
	if p == nil {
		return nil
	}
	last, _ := p.Watch()
	return &last
}

// Watch returns the last answer, and a channel that is closed when a newer one arrives.
func (p *Program[T]) Watch() (api.Neighbour[T], <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last, p.changed
}

// Hurry polls more often until the returned function is called.
func (p *Program[T]) Hurry() (done func()) {
	add := func(d int) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.hurries += d
	}
	add(1)
	p.askNow()
	return func() { add(-1) }
}

func (p *Program[T]) askNow() {
	select {
	case p.poke <- struct{}{}:
	default:
	}
}
