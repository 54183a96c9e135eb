package wire

import (
	"context"
	"maps"
	"sync"
	"time"
)

// SetDraining turns draining on and off: while it is on, each client's next
// command, and each new client's banner, is 421. Off, clients that come are
// served again, also after Drain; those that Drain found still have to go. After
// Close there is no off.
func (r *Registry) SetDraining(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if on {
		r.draining.Store(true)
		return
	}
	if r.closed {
		return
	}
	r.draining.Store(false)
	if isClosed(r.leave) {
		r.leave = make(chan struct{})
	}
}

// Drain turns draining on, sends silent clients 421, and waits until all that were connected have gone, or
// until ctx ends. It returns how many are left. Clients that still come get 421 and are not waited for. The
// listeners stay open: after SetDraining(false) clients are served again.
func (r *Registry) Drain(ctx context.Context) (left int) {
	w := r.hurry()
	defer r.forget(w)
	select {
	case <-w.over:
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(w.left)
}

// cutGrace is how long Cut waits for sessions whose socket it has closed: they
// may be within a commit.
const cutGrace = 5 * time.Second

// Cut closes the sockets of those that Drain has told and that are still
// there. It returns how many, once they have ended.
func (r *Registry) Cut() int {
	r.mu.Lock()
	w := &wait{left: make(map[*Conn]struct{}), over: make(chan struct{})}
	for c := range r.conns {
		if c.isHurried() {
			w.left[c] = struct{}{}
			_ = c.sock.Close() // its own goroutine sees it, and ends it
			c.cutting.end()
		}
	}
	cut := len(w.left)
	r.join(w)
	r.mu.Unlock()
	defer r.forget(w)
	timer := time.NewTimer(cutGrace)
	defer timer.Stop()
	select {
	case <-w.over:
	case <-timer.C:
	}
	return cut
}

// Close ends the service: draining goes on, silent clients get 421, transactions in flight have until ctx
// ends, and then all connections are cut. It returns how many were cut, once they have ended too. Clients
// that still come get 421 at once, until the listeners are closed.
func (r *Registry) Close(ctx context.Context) (cut int) {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	for {
		if r.Drain(ctx) > 0 {
			cut += r.Cut()
		}
		r.mu.Lock()
		left := len(r.conns) // those that came meanwhile
		r.mu.Unlock()
		if left == 0 || ctx.Err() != nil {
			return cut
		}
	}
}

// wait is for some connections to end. Its Registry's mu is held for all of it.
type wait struct {
	left map[*Conn]struct{}
	over chan struct{} // closed when none is left
}

func (w *wait) gone(c *Conn) {
	if _, ok := w.left[c]; !ok {
		return
	}
	if delete(w.left, c); len(w.left) == 0 {
		close(w.over)
	}
}

// join adds w to those that hear of connections that end. r.mu is held.
func (r *Registry) join(w *wait) {
	if len(w.left) == 0 {
		close(w.over)
	}
	r.waits[w] = struct{}{}
}

func (r *Registry) forget(w *wait) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waits, w)
}

// hurry turns draining on and asks all connected clients to come to an end.
func (r *Registry) hurry() *wait {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.draining.Store(true)
	if !isClosed(r.leave) {
		close(r.leave)
	}
	w := &wait{left: maps.Clone(r.conns), over: make(chan struct{})}
	for c := range w.left {
		c.hurry()
	}
	r.join(w)
	return w
}

// leaving is closed when silent clients are told to go.
func (r *Registry) leaving() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.leave
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// cutting is the context of what a connection waits for beside its client. It is made when it is first
// asked for: most connections wait for nothing else.
type cutting struct {
	mu     sync.Mutex
	over   bool
	ctx    context.Context
	cancel context.CancelFunc
}

// Context returns a context that ends when the connection is closed, or cut from outside.
func (c *Conn) Context() context.Context {
	t := &c.cutting
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx == nil {
		t.ctx, t.cancel = context.WithCancel(context.Background())
		if t.over {
			t.cancel()
		}
	}
	return t.ctx
}

func (t *cutting) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over = true; t.cancel != nil {
		t.cancel()
	}
}
