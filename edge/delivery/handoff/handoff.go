package handoff

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"anymx/edge/delivery/smtpc"
	"anymx/edge/mail"
	"anymx/edge/queue"
	"anymx/edge/statefile"
)

// Handoff is the courier to core. It is safe for use by many goroutines.
type Handoff struct {
	log     *slog.Logger
	rand    func() float64
	metrics *metrics
	file    statefile.File // of what was learned; "": none
	takes   atomic.Uint32  // mail.CoreExtensions

	mu        sync.Mutex
	settings  *settings
	addresses []*address
	waiting   int           // leases that wait for room
	changed   chan struct{} // closed when they should look again
	reaper    *time.Timer   // closes idle connections; nil until there is one
	armed     bool          // reaper is
	closed    bool
	unsaved   bool // of what was learned, something is not in the file
	poison    poison
	wait      sync.WaitGroup // leases and the reaper at work
}

var _ queue.Courier = (*Handoff)(nil)

// New makes a courier. It connects when there is something to deliver.
func New(o Options) (*Handoff, error) {
	s, err := o.settings()
	if err != nil {
		return nil, err
	}
	h := &Handoff{log: o.Log, rand: o.random(), changed: make(chan struct{})}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	h.file = o.Learned
	h.use(s, o.Addresses)
	h.recall()
	h.metrics, err = newMetrics(h, o.Metrics)
	return h, err
}

// Reload puts other options in force; Dial and TLS are among them, Rand, Log
// and Metrics are not. An address that stays keeps its health and limit.
// Connections opened before carry the message that they have, and no other.
func (h *Handoff) Reload(o Options) error {
	s, err := o.settings()
	if err != nil {
		return err
	}
	h.mu.Lock()
	old := h.addresses
	h.use(s, o.Addresses)
	var stale []*kept
	for _, a := range old {
		stale = append(stale, a.drop()...)
	}
	h.wake()
	h.mu.Unlock()
	closeAll(stale)
	return nil
}

// use takes settings and addresses. h.mu is held, or nobody else is there yet.
func (h *Handoff) use(s *settings, names []string) {
	known := make(map[string]*address)
	for _, a := range h.addresses {
		known[a.name] = a
	}
	h.settings, h.addresses = s, nil
	for i, name := range names {
		a := known[name]
		if a == nil {
			a = &address{name: name, health: health{state: Unused}, limit: newThrottle(s.connections)}
		}
		delete(known, name) // a name that comes twice is two addresses
		a.label = strconv.Itoa(i)
		a.limit.setMost(s.connections)
		a.asked = time.Time{} // what is known may be of another protocol
		h.addresses = append(h.addresses, a)
	}
	h.publish()
}

// Retry ends the pauses of addresses that are down: the way to them has changed.
func (h *Handoff) Retry() {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	for _, a := range h.addresses {
		a.health.hasten(now)
	}
}

// Close closes all connections and waits for what is under way, which ends by
// its context. Later deliveries fail.
func (h *Handoff) Close() error {
	h.mu.Lock()
	h.closed = true
	if h.reaper != nil {
		h.reaper.Stop()
	}
	var idle []*kept
	for _, a := range h.addresses {
		idle = append(idle, a.drop()...)
	}
	h.wake()
	h.mu.Unlock()
	closeAll(idle)
	h.wait.Wait()
	h.save()
	h.metrics.unregister()
	return nil
}

// closeAll says goodbye to all at once, so that a core that does not answer
// costs the time of one.
func closeAll(list []*kept) {
	if len(list) == 1 {
		_ = list[0].conn.Close()
		return
	}
	var wait sync.WaitGroup
	for _, k := range list {
		wait.Go(func() { _ = k.conn.Close() })
	}
	wait.Wait()
}

// errClosed is what Deliver says after Close.
var errClosed = errors.New("hand-off is closed")

// Deliver implements queue.Courier. Its error is *queue.Down where no address
// can be reached, the cause of ctx where that ended, and that of the spool
// where the message can't be read.
func (h *Handoff) Deliver(ctx context.Context, t *queue.Attempt) ([]mail.Result, error) {
	body, err := openBody(t.Message)
	if err != nil {
		return nil, err
	}
	defer body.close()
	env, err := scanned(t.Message)
	if err != nil {
		return nil, err
	}
	m := smtpc.Message{Envelope: env, Pending: t.Pending, Body: body}
	needs := env.Needs()
	plain, special := h.divide(env, needs, t.Pending)
	if len(special) == 0 {
		return h.deliver(ctx, m, needs)
	}
	var results []mail.Result
	if len(plain) > 0 {
		m.Pending = plain
		if results, err = h.deliver(ctx, m, needs); err != nil {
			return nil, err
		}
	}
	m.Pending = special
	more, err := h.deliver(ctx, m, needs|mail.SMTPUTF8)
	if err != nil && len(results) > 0 {
		return append(results, unreached(special, err)...), nil
	}
	return append(results, more...), err
}

// deliver is Deliver for recipients that all need the same.
func (h *Handoff) deliver(ctx context.Context, m smtpc.Message, needs mail.Extensions) ([]mail.Result, error) {
	want := &want{needs: needs}
	var ended []mail.Result
	alone := h.travelsAlone(m.Envelope.ID)
	for broke := false; ; {
		l, err := h.lease(ctx, broke || alone, want)
		if err != nil {
			if len(ended) == 0 {
				return nil, err
			}
			return append(ended, unreached(m.Pending, err)...), nil
		}
		l.alone = alone
		results, failure := h.send(ctx, l, &m)
		if failure == nil && allServed(results) {
			return append(ended, results...), nil
		}
		var left []int
		first := len(ended)
		elsewhere := h.passOn(want, l.a, results)
		for _, r := range results {
			if (goesOn(r.Failure, failure) && !(broke && r.Failure == failure) || elsewhere && lacks(r.Failure)) && ctx.Err() == nil {
				left = append(left, r.Recipient)
			} else {
				ended = append(ended, r)
			}
		}
		if len(left) == 0 {
			if first == 0 && ctx.Err() != nil && noneServed(ended) {
				return nil, context.Cause(ctx) // no try at all, as far as can be known
			}
			return ended, nil
		}
		m.Pending = left
		broke = broke || failure != nil
	}
}

// goesOn says whether a recipient may be tried again at once over another
// connection, because the one at hand was used up, or broke before the message
// was there. dead is why the connection is, nil while it lives.
func goesOn(f, dead *mail.Failure) bool {
	switch {
	case f == nil:
		return false
	case errors.Is(f, smtpc.ErrUsedUp):
		return true
	case f != dead || errors.Is(f, smtpc.ErrContent):
		return false
	case f.Reply.Code == 421:
		return true // it says itself that it did not take the message
	}
	return f.Reply.Code == 0 && f.Command != smtpc.DataEnd && !smtpc.IsTimeout(f)
}

func allServed(results []mail.Result) bool {
	for i := range results {
		if results[i].Failure != nil {
			return false
		}
	}
	return true
}

func noneServed(results []mail.Result) bool {
	for i := range results {
		if f := results[i].Failure; f == nil || f.Reply.Code != 0 || f.Permanent {
			return false
		}
	}
	return true
}

// unreached are the results of recipients for whom no connection was left,
// while others were served.
func unreached(pending []int, err error) []mail.Result {
	f := &mail.Failure{Enhanced: mail.Enhanced{4, 4, 1}, Cause: err}
	results := make([]mail.Result, len(pending))
	for i, n := range pending {
		results[i] = mail.Result{Recipient: n, Failure: f}
	}
	return results
}
