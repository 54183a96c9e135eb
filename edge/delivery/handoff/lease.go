package handoff

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"anymx/edge/delivery/smtpc"
	"anymx/edge/mail"
	"anymx/edge/queue"
)

// probeWait is what Down.Until names while another message is the probe.
const probeWait = time.Second

// lease is a session with room for one message.
type lease struct {
	a     *address
	k     *kept
	label string // of the address, as it was when the lease began
	alone bool   // the session is for one message, and closed after it
}

// lease waits for room at the first address that works and takes what want
// needs, and opens a session there if none is kept, or fresh asks for it.
func (h *Handoff) lease(ctx context.Context, fresh bool, want *want) (*lease, error) {
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		c := h.claim(time.Now(), fresh, want)
		closeAll(c.stale)
		switch {
		case c.err != nil:
			return nil, c.err
		case c.a == nil:
			select {
			case <-ctx.Done():
			case <-c.changed:
			}
			h.mu.Lock()
			h.waiting--
			h.mu.Unlock()
			continue
		case c.k != nil:
			return &lease{a: c.a, k: c.k, label: c.label}, nil
		}
		k, err := h.open(ctx, c.a, c.settings)
		if err == nil {
			return &lease{a: c.a, k: k, label: c.label}, nil
		}
		fresh = false // what is kept is as good as it gets
	}
}

// claim is room at an address, or what stands in its way.
type claim struct {
	a        *address
	label    string
	k        *kept     // nil: to be opened
	settings *settings // to open it with
	changed  <-chan struct{}
	err      error
	stale    []*kept // to be closed
}

// claim takes room at the first address that may be used. An address that lacks
// what want needs is passed over while another may have it.
func (h *Handoff) claim(now time.Time, fresh bool, want *want) (c claim) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.err = errClosed; h.closed {
		return c
	}
	c.err, c.settings = nil, h.settings
	choose, passed := h.another(want), false
	for _, a := range h.addresses {
		if choose && !want.fits(a) {
			passed = passed || a.health.state == Up || a.health.state == Unused
			continue
		}
		if !a.health.usable(now) {
			continue
		}
		if a.health.state != Probing && a.busy >= a.limit.now() {
			return h.waits(c)
		}
		if !fresh {
			c.k = a.take(h.settings, want.needs, &c.stale)
		}
		if c.k == nil && a.doubt && a.dialling > 0 {
			return h.waits(c) // for what the others find
		}
		if c.k == nil {
			a.dialling++
		}
		a.busy++
		h.wait.Add(1)
		c.a, c.label = a, a.label
		return c
	}
	if passed {
		// Core works, and other mail goes there: only this message has to wait.
		c.err = &mail.Failure{
			Enhanced: mail.Enhanced{4, 4, 1}, Command: "CONNECT",
			Cause: fmt.Errorf("no address of core that takes %s can be reached", want.needs),
		}
		return c
	}
	c.err = h.down(now)
	return c
}

// waits makes c one that has to look again. h.mu is held.
func (h *Handoff) waits(c claim) claim {
	h.waiting++
	c.changed = h.changed
	return c
}

// down is the error while no address may be used. h.mu is held.
func (h *Handoff) down(now time.Time) error {
	d := &queue.Down{}
	var causes []error
	for _, a := range h.addresses {
		at := a.health.retryAt
		if a.health.state == Probing {
			at = now.Add(probeWait)
		}
		if d.Until.IsZero() || at.Before(d.Until) {
			d.Until = at
		}
		causes = append(causes, a.cause)
	}
	if d.Cause = causes[0]; len(causes) > 1 {
		d.Cause = fmt.Errorf("%w; and %d more", causes[0], len(causes)-1)
	}
	return d
}

// open opens a session for a claim, or gives the claim back.
func (h *Handoff) open(ctx context.Context, a *address, s *settings) (*kept, error) {
	began := time.Now()
	conn, err := smtpc.Dial(ctx, a.name, s.client)
	now := time.Now()
	h.mu.Lock()
	a.dialling--
	if err == nil {
		a.open++
		a.doubt = false
		h.learned(a, conn.Extensions(), now)
		if a.health.opened(now) {
			a.limit.restart()
			h.log.Info("core is back", "address", a.name)
		}
		h.metrics.dialled(a.label, nil)
		h.wake()
		h.mu.Unlock()
		return &kept{conn: conn, settings: s}, nil
	}
	a.busy--
	var stale []*kept
	if ctx.Err() != nil {
		a.health.forgo(now)
	} else {
		stale = h.unreachable(a, began, now, err)
	}
	h.wake()
	h.mu.Unlock()
	closeAll(stale)
	h.wait.Done()
	return nil, err
}

// unreachable notes that a session could not be opened: core has a limit of
// its own where others work, and is down where none do. h.mu is held.
func (h *Handoff) unreachable(a *address, began, now time.Time, err error) (stale []*kept) {
	var f *mail.Failure
	errors.As(err, &f)
	h.metrics.dialled(a.label, f)
	a.cause = err
	stale = a.prune()
	switch {
	case a.open > 0 && a.health.state != Probing:
		if a.limit.refused(now, a.open+a.dialling) {
			h.log.Warn("core refuses more connections", "address", a.name, "limit", a.limit.now(), "err", err)
		}
		return stale
	case a.dialling > 0:
		a.doubt = true
		return stale
	}
	a.doubt = false
	return append(stale, h.fail(a, began, now)...)
}

// fail takes an address out of use, if it is not yet. h.mu is held.
func (h *Handoff) fail(a *address, began, now time.Time) (stale []*kept) {
	if !a.health.failed(began, now, h.settings.backoffMax, h.rand()) {
		return nil
	}
	h.log.Warn("core does not answer", "address", a.name, "retry_at", a.health.retryAt, "err", a.cause)
	return a.drop()
}

// shortBody is the longest message whose time says how core does.
const shortBody = 64 << 10

// send sends m over l and gives l back. The failure is the connection's, nil
// while it lives.
func (h *Handoff) send(ctx context.Context, l *lease, m *smtpc.Message) ([]mail.Result, *mail.Failure) {
	began := time.Now()
	results, err := l.k.conn.Send(ctx, *m)
	now := time.Now()
	took := now.Sub(began)
	dead, _ := err.(*mail.Failure)
	h.metrics.sent(l.label, results, dead, took)
	if m.Body.Size() > shortBody {
		took = 0
	}
	stale := h.giveBack(ctx, l, m, results, dead, now, took)
	closeAll(stale)
	h.wait.Done()
	return results, dead
}

// giveBack learns from a message and keeps its session, where it can be used
// again. It returns what is to be closed.
func (h *Handoff) giveBack(ctx context.Context, l *lease, m *smtpc.Message, results []mail.Result, dead *mail.Failure, now time.Time, took time.Duration) (stale []*kept) {
	h.mu.Lock()
	defer h.mu.Unlock()
	a, k, id := l.a, l.k, m.Envelope.ID
	k.messages++
	switch {
	case dead == nil:
		h.poison.remove(id)
		h.answered(a, domainOf(m), results, now, took)
	case ctx.Err() == nil:
		stale = h.broken(a, k, dead, id, now)
	}
	if slices.ContainsFunc(results, func(r mail.Result) bool { return r.Failure == nil }) {
		a.delivered++
	}
	a.busy--
	s := h.settings
	switch {
	case dead != nil || l.alone || k.conn.UsedUp() || k.messages >= s.messages || k.settings != s || s.idle <= 0 ||
		h.closed || a.health.state == Down || a.open > a.limit.now():
		a.open--
		stale = append(stale, k)
	default:
		k.since = now
		a.idle = append(a.idle, k)
		h.arm(s.idle)
	}
	h.wake()
	return stale
}

// domainOf returns the domain of a message's first recipient.
func domainOf(m *smtpc.Message) string {
	if len(m.Pending) == 0 || m.Pending[0] >= len(m.Envelope.Recipients) {
		return ""
	}
	return m.Envelope.Recipients[m.Pending[0]].Path.Domain
}

// answered takes a message to domain whose every command was answered. h.mu is held.
func (h *Handoff) answered(a *address, domain string, results []mail.Result, now time.Time, took time.Duration) {
	if a.health.worked(now); a.health.state == Up {
		a.cause = nil
	}
	busy := slices.ContainsFunc(results, func(r mail.Result) bool { return saysBusy(r.Failure) })
	switch alone := a.served.other(domain, now); {
	case busy && alone:
		// Core serves others: it is the domain that is busy, and the others need not be slower for it.
	case busy:
		h.overload(a, now, "core says that it is busy")
	default:
		a.served.note(domain, now)
	}
	if busy {
		return
	}
	if a.limit.answered(now, took, a.busy) {
		h.log.Info("core got slow", "address", a.name, "limit", a.limit.now())
	}
}

// saysBusy says whether a refusal is one of load (RFC 3463: X.3.2, X.4.5).
func saysBusy(f *mail.Failure) bool {
	if f == nil || f.Reply.Code == 0 || f.Permanent {
		return false
	}
	e := f.Enhanced
	return e[1] == 3 && e[2] == 2 || e[1] == 4 && e[2] == 5
}

// broken takes a message whose connection died. h.mu is held.
func (h *Handoff) broken(a *address, k *kept, dead *mail.Failure, id mail.ID, now time.Time) []*kept {
	switch {
	case errors.Is(dead, smtpc.ErrContent), dead.Command == "" && dead.Reply.Code == 0:
		return nil // not core's doing, or a kept connection that it closed
	case dead.Reply.Code == 421 && dead.Command == "":
		return nil // the same, with a word of goodbye
	case dead.Reply.Code == 421:
		h.overload(a, now, "core closes connections")
		return nil
	case smtpc.IsTimeout(dead):
		h.overload(a, now, "core does not answer in time")
	}
	a.cause = dead
	if k.conn.TookRecipient() {
		h.poison.add(id)
		if a.health.poisoned(id, now) {
			h.log.Warn("core breaks the connection within each message", "address", a.name, "messages", a.health.poison, "retry_at", a.health.retryAt, "err", dead)
			return a.drop()
		}
		return nil
	}
	if a.health.broken(id) {
		return h.fail(a, now, now)
	}
	return nil
}

func (h *Handoff) overload(a *address, now time.Time, why string) {
	if a.limit.overload(now) {
		h.log.Warn(why, "address", a.name, "limit", a.limit.now())
	}
}

// wake lets leases that wait look again. h.mu is held.
func (h *Handoff) wake() {
	if h.waiting > 0 {
		close(h.changed)
		h.changed = make(chan struct{})
	}
}

// arm makes sure that the reaper comes when the first idle session is due.
// h.mu is held.
func (h *Handoff) arm(in time.Duration) {
	if h.armed || h.closed {
		return
	}
	h.armed = true
	if h.reaper == nil {
		h.reaper = time.AfterFunc(in, h.reap)
	} else {
		h.reaper.Reset(in)
	}
}

// reap closes sessions that were idle for too long, and comes again for the
// next one.
func (h *Handoff) reap() {
	h.mu.Lock()
	if h.armed = false; h.closed {
		h.mu.Unlock()
		return
	}
	h.wait.Add(1)
	defer h.wait.Done()
	now := time.Now()
	var old []*kept
	var next time.Time
	for _, a := range h.addresses {
		old = append(old, a.expired(now.Add(-h.settings.idle))...)
		if len(a.idle) > 0 && (next.IsZero() || a.idle[0].since.Before(next)) {
			next = a.idle[0].since
		}
	}
	if !next.IsZero() {
		h.arm(next.Add(h.settings.idle).Sub(now))
	}
	h.mu.Unlock()
	closeAll(old)
}
