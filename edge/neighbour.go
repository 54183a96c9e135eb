package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
)

// How often another program of the node is asked how it does, and how long its
// answer may take. It is asked more often while somebody waits for what it says.
const (
	askEvery   = time.Second
	askHastily = 100 * time.Millisecond
	askTimeout = 2 * time.Second
)

// neighbour asks another program of the node how it does, in the background, so
// that a program that hangs makes nobody wait. One goroutine, run, asks.
type neighbour[T any] struct {
	program string // for the log
	ask     func(context.Context) (T, error)
	close   func() // called when run ends
	log     *slog.Logger

	mu      sync.Mutex
	last    api.Neighbour[T]
	changed chan struct{} // closed when last is replaced
	haste   int           // those who wait
	poke    chan struct{} // one slot: ask now
}

func newNeighbour[T any](program string, log *slog.Logger, ask func(context.Context) (T, error), close func()) *neighbour[T] {
	return &neighbour[T]{
		program: program, log: log, ask: ask, close: close,
		changed: make(chan struct{}), poke: make(chan struct{}, 1),
	}
}

// newNetwork is what asks anymx-net.
func newNetwork(socket string, log *slog.Logger) *neighbour[api.NetworkStatus] {
	client := control.NewNetworkClient(socket)
	return newNeighbour("anymx-net", log, client.Status, client.Close)
}

// run asks until ctx ends.
func (n *neighbour[T]) run(ctx context.Context) {
	defer n.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-n.poke:
		}
		asking, cancel := context.WithTimeout(ctx, askTimeout)
		status, err := n.ask(asking)
		if err != nil && asking.Err() != nil {
			err = fmt.Errorf("%s has not answered within %s", n.program, askTimeout)
		}
		cancel()
		if ctx.Err() != nil {
			return
		}
		timer.Reset(n.note(status, err, time.Now()))
	}
}

// note takes an answer and says when the next is asked for.
func (n *neighbour[T]) note(status T, err error, now time.Time) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	before := n.last.Problem
	n.last.Asked, n.last.Problem = now, ""
	switch {
	case err == nil:
		n.last.Status = &status
		if before != "" {
			n.log.Info(n.program + " answers again")
		}
	default:
		if n.last.Problem = err.Error(); before == "" {
			n.log.Warn(n.program+" does not answer", "err", err)
		}
	}
	close(n.changed)
	n.changed = make(chan struct{})
	if n.haste > 0 {
		return askHastily
	}
	return askEvery
}

// view is the last answer. A nil neighbour, one that is not configured, has
// none.
func (n *neighbour[T]) view() *api.Neighbour[T] {
	if n == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	last := n.last
	return &last
}

// hurry has answers come more often, until the returned function is called.
func (n *neighbour[T]) hurry() (done func()) {
	add := func(d int) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.haste += d
	}
	add(1)
	n.askNow()
	return func() { add(-1) }
}

func (n *neighbour[T]) askNow() {
	select {
	case n.poke <- struct{}{}:
	default:
	}
}

// await returns the first answer for which ok is true, or the last one before
// ctx ended.
func (n *neighbour[T]) await(ctx context.Context, ok func(*api.Neighbour[T]) bool) api.Neighbour[T] {
	defer n.hurry()()
	for {
		n.mu.Lock()
		last, changed := n.last, n.changed
		n.mu.Unlock()
		if ok(&last) {
			return last
		}
		select {
		case <-ctx.Done():
			return last
		case <-changed:
		}
	}
}

// speaker is the BGP speaker as the node orders it: the order that is wanted is
// given again until the speaker has it, and whenever it turns out to have
// another.
type speaker struct {
	*neighbour[api.SpeakerStatus]
	client    *control.SpeakerClient
	announced func() // called when an order to announce was taken

	wanting sync.Mutex
	wanted  *api.Order // nil: none of the node's
	heard   bool       // the speaker has taken it
}

func newSpeaker(socket string, log *slog.Logger) *speaker {
	s := &speaker{client: control.NewSpeakerClient(socket)}
	s.neighbour = newNeighbour("anymx-bgp", log, s.askOrOrder, s.client.Close)
	return s
}

// order makes o what is wanted, from now on unless it says since when.
func (s *speaker) order(o api.Order) {
	if o.Given.IsZero() {
		o.Given = time.Now()
	}
	s.wanting.Lock()
	s.wanted, s.heard = &o, false
	s.wanting.Unlock()
	s.askNow()
}

// want is the order that is wanted, and whether the speaker has it.
func (s *speaker) want() (o *api.Order, heard bool) {
	s.wanting.Lock()
	defer s.wanting.Unlock()
	return s.wanted, s.heard
}

// took notes that the speaker has o. An order to announce is over with that:
// what the speaker is told by others later is between it and them.
func (s *speaker) took(o *api.Order) {
	s.wanting.Lock()
	if s.wanted != o {
		s.wanting.Unlock()
		return // another one is wanted by now
	}
	s.heard = true
	over := o.Routes == api.Announced
	if over {
		s.wanted = nil
	}
	s.wanting.Unlock()
	if over {
		s.announced()
	}
}

// overtaken notes that the speaker has a later order than o, which somebody gave
// it while this node was away. An old wish to be announced ends there; what keeps
// routes back is given anew, because that is how the node stands now.
func (s *speaker) overtaken(o *api.Order) {
	s.log.Warn("anymx-bgp has a later order", "routes", o.Routes, "given", o.Given)
	if o.Routes == api.Announced {
		s.took(o)
		return
	}
	s.wanting.Lock()
	defer s.wanting.Unlock()
	if s.wanted == o {
		again := *o
		again.Given = time.Now()
		s.wanted, s.heard = &again, false
	}
}

// askOrOrder gives the order that the speaker does not have, else asks.
func (s *speaker) askOrOrder(ctx context.Context) (api.SpeakerStatus, error) {
	o, heard := s.want()
	if o == nil || heard {
		status, err := s.client.Status(ctx)
		if err != nil || o == nil || obeys(&status, o) {
			return status, err
		}
	}
	status, err := s.client.Order(ctx, *o)
	if errors.Is(err, &api.Error{Code: api.Overtaken}) {
		s.overtaken(o)
		return s.client.Status(ctx)
	}
	if err != nil {
		return status, fmt.Errorf("the order %q is not taken: %w", o.Routes, err)
	}
	s.took(o)
	return status, nil
}
