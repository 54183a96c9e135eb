package handoff

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"anymx/edge/delivery/smtpc"
)

// How long a probe may take to open its session, and to have its octets
// answered.
const (
	probeDial   = 15 * time.Second
	probeAnswer = 10 * time.Second
)

// Outcome is how a probe ended.
type Outcome string

// The outcomes of a probe.
const (
	Answered    Outcome = "answered"    // every octet got there
	Unreachable Outcome = "unreachable" // no session could be opened
	Stuck       Outcome = "stuck"       // small packets pass, large ones don't
	Broken      Outcome = "broken"      // the session ended for another reason
	skipped     Outcome = "skipped"     // mail has all connections: nothing was tried
)

// ProbeResult is what the last probe of an address has found.
type ProbeResult struct {
	At      time.Time     // when it ended; zero: there was none
	Outcome Outcome       //
	Size    int           // octets that were sent
	Took    time.Duration // from the dial to the last answer
	Problem string        // what was found, for people; "" where it was Answered
}

// Probe finds out for each address whether packets of full size get there, with
// size octets (48,000 at most; a few more than size are sent). Behind a tunnel whose MTU is too large they don't,
// while all that is small does: a session opens, and a message hangs. A probe
// has a connection of its own, opened like those for mail, never takes a place
// from mail, and does not change an address's health. Status has the results.
func (h *Handoff) Probe(ctx context.Context, size int) {
	h.mu.Lock()
	addresses := h.addresses
	h.mu.Unlock()
	var wait sync.WaitGroup
	for _, a := range addresses {
		wait.Go(func() { h.probe(ctx, a, size) })
	}
	wait.Wait()
}

func (h *Handoff) probe(ctx context.Context, a *address, size int) {
	s, idle := h.roomForProbe(a)
	closeAll(idle)
	if s == nil {
		return
	}
	defer h.wait.Done()
	began := time.Now()
	r := ProbeResult{}
	r.Outcome, r.Size, r.Problem = try(ctx, a.name, s.client, size)
	r.At, r.Took = time.Now(), time.Since(began)
	if ctx.Err() != nil {
		return // it says nothing
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.metrics.probes.WithLabelValues(a.label, string(r.Outcome)).Inc()
	switch before := a.probe; {
	case r.Problem != "" && r.Outcome != before.Outcome:
		h.log.Warn("probe of the way to core", "address", a.name, "octets", r.Size, "problem", r.Problem)
	case r.Problem == "" && before.Problem != "":
		h.log.Info("probe of the way to core: packets of full size pass", "address", a.name, "octets", r.Size)
	}
	a.probe = r
}

// roomForProbe gives the settings for a connection to a, nil where mail needs
// all that there may be. One that is kept for mail to come may have to go.
func (h *Handoff) roomForProbe(a *address) (s *settings, idle []*kept) {
	h.mu.Lock()
	defer h.mu.Unlock()
	most := h.settings.connections
	if h.closed || a.busy >= most {
		h.metrics.probes.WithLabelValues(a.label, string(skipped)).Inc()
		return nil, nil
	}
	if a.open+a.dialling >= most && len(a.idle) > 0 {
		idle = append(idle, a.idle[0]) // the one that was not used for the longest time
		a.idle = slices.Delete(a.idle, 0, 1)
		a.open--
	}
	h.wait.Add(1)
	return h.settings, idle
}

// try is one probe.
func try(ctx context.Context, address string, o smtpc.Options, size int) (outcome Outcome, sent int, problem string) {
	dialling, cancel := context.WithTimeout(ctx, probeDial)
	defer cancel()
	conn, err := smtpc.Dial(dialling, address, o)
	if err != nil {
		return Unreachable, 0, err.Error()
	}
	defer conn.Close()
	answering, cancel := context.WithTimeout(ctx, probeAnswer)
	defer cancel()
	sent, err = conn.Burst(answering, size)
	switch {
	case err == nil:
		return Answered, sent, ""
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return Stuck, sent, fmt.Sprintf("small packets pass, large ones don't: is tunnel.mtu too large? (%v)", err)
	}
	return Broken, sent, err.Error()
}
