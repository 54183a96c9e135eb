package handoff

import (
	"context"
	"time"
)

// Reach implements queue.Courier: it opens a session of the first address that may be used, or takes the
// one that is kept, has it answer NOOP, and keeps it for the mail that comes. No message is involved. The
// error is a *queue.Down if no address answers.
func (h *Handoff) Reach(ctx context.Context, _ string) error {
	for {
		l, err := h.lease(ctx, false, &want{})
		if err != nil {
			return err
		}
		if h.greet(ctx, l) {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// greet has the session of l answer NOOP, and gives l back. It reports whether it did.
func (h *Handoff) greet(ctx context.Context, l *lease) bool {
	err := l.k.conn.Noop(ctx)
	now := time.Now()
	h.mu.Lock()
	a := l.a
	a.busy--
	var stale []*kept
	if err == nil {
		a.health.opened(now)
	}
	if err == nil && l.k.settings == h.settings && !h.closed {
		l.k.since = now
		a.idle = append(a.idle, l.k)
		h.arm(h.settings.idle)
	} else {
		a.open--
		stale = append(stale, l.k)
		if err != nil && ctx.Err() == nil {
			a.cause = err
			stale = append(stale, h.fail(a, now, now)...)
		}
	}
	h.wake()
	h.mu.Unlock()
	closeAll(stale)
	h.wait.Done()
	return err == nil
}
