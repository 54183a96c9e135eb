package handoff

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"anymx/edge/delivery/smtpc/smtptest"
	"anymx/tests/kit"
)

// TestProbe finds each of the outcomes, and leaves health alone.
func TestProbe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	breaks := full()
	breaks.Hook = func(s smtptest.Step) smtptest.Action {
		return smtptest.Action{Close: s.Verb == "RSET" && s.N > 20}
	}
	servers := []*smtptest.Server{
		smtptest.Start(t, full()), smtptest.Start(t, &smtptest.Server{Extensions: []string{"SIZE"}}), smtptest.Start(t, breaks),
	}
	registry := prometheus.NewRegistry()
	h := newHandoff(t, Options{Addresses: []string{l.Addr().String()}, Metrics: registry}, servers...)
	if s := h.Status()[0]; s.Probe != (ProbeResult{}) {
		t.Errorf("before the first: %+v", s.Probe)
	}
	h.Probe(t.Context(), 16<<10)
	want := []struct {
		outcome Outcome
		size    int
		problem string
	}{
		{Unreachable, 0, "refused"},
		{Answered, 16500, ""},
		{Answered, 18000, ""},
		{Broken, 0, "RSET"},
	}
	for i, s := range h.Status() {
		p, w := s.Probe, want[i]
		if p.Outcome != w.outcome || p.Size != w.size || !strings.Contains(p.Problem, w.problem) || (w.problem == "") != (p.Problem == "") || p.At.IsZero() || p.Took <= 0 {
			t.Errorf("%d: %+v, want %+v", i, p, w)
		}
		if s.Health != Unused || s.LastError != "" || s.Connections != 0 {
			t.Errorf("%d: the probe changed what mail goes by: %+v", i, s)
		}
	}
	lines := gather(t, registry)
	for i, w := range want {
		for _, line := range []string{
			`anymx_tunnel_probes_total{address="` + string(rune('0'+i)) + `",result="` + string(w.outcome) + `"} 1`,
			`anymx_tunnel_probe_ok{address="` + string(rune('0'+i)) + `"} ` + map[bool]string{true: "1", false: "0"}[w.outcome == Answered],
		} {
			if !slices.Contains(lines, line) {
				t.Errorf("no metric %s in\n%s", line, strings.Join(lines, "\n"))
			}
		}
	}
}

// TestProbeIsStuck is a tunnel that lets small packets pass and no large ones.
// It is said once, and again when it is over.
func TestProbeIsStuck(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		var log strings.Builder
		var narrow sync.WaitGroup
		narrow.Add(1)
		server := full()
		server.Hook = func(s smtptest.Step) smtptest.Action {
			if s.Verb == "RSET" {
				narrow.Wait()
			}
			return smtptest.Action{}
		}
		defer server.Close()
		h := newHandoff(t, Options{
			Addresses: []string{"core.test:25"}, Dial: server.Dial, Log: slog.New(slog.NewTextHandler(&log, nil)),
		})
		for range 2 {
			h.Probe(t.Context(), 16<<10)
			if p := h.Status()[0].Probe; p.Outcome != Stuck || p.Took != probeAnswer || !strings.Contains(p.Problem, "tunnel.mtu") {
				t.Errorf("%+v", p)
			}
		}
		narrow.Done()
		h.Probe(t.Context(), 16<<10)
		if p := h.Status()[0].Probe; p.Outcome != Answered {
			t.Errorf("%+v", p)
		}
		if s := log.String(); strings.Count(s, "tunnel.mtu") != 1 || strings.Count(s, "full size pass") != 1 {
			t.Error(s)
		}
		h.Close()
	})
}

// TestProbeTakesNoPlace holds that mail has all connections that it may have.
func TestProbeTakesNoPlace(t *testing.T) {
	server, entered, release := full(), make(chan struct{}), make(chan struct{})
	server.Hook = func(s smtptest.Step) smtptest.Action {
		if s.Verb == "BODY" {
			entered <- struct{}{}
			<-release
		}
		return smtptest.Action{}
	}
	smtptest.Start(t, server)
	registry := prometheus.NewRegistry()
	h, st := newHandoff(t, Options{MaxConnections: 1, Metrics: registry}, server), newStore(t)
	try, sent := st.try(text, 1), make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = h.Deliver(context.Background(), try)
	}()
	<-entered
	h.Probe(t.Context(), 1000)
	if p := h.Status()[0].Probe; !p.At.IsZero() || server.Conns() != 1 {
		t.Errorf("probed while all were busy: %+v", p)
	}
	if lines := gather(t, registry); !slices.Contains(lines, `anymx_tunnel_probes_total{address="0",result="skipped"} 1`) {
		t.Error("nobody is told that it was skipped")
	}
	close(release)
	<-sent
	h.Probe(t.Context(), 1000) // the one that is kept makes room
	if s := h.Status()[0]; s.Probe.Outcome != Answered || s.Connections != 0 {
		t.Errorf("%+v", s)
	}
}

// TestProbeEnds with its context, and with the hand-off.
func TestProbeEnds(t *testing.T) {
	server := smtptest.Start(t, full())
	h := newHandoff(t, Options{}, server)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h.Probe(ctx, 1000)
	_ = h.Close()
	h.Probe(t.Context(), 1000)
	if p := h.Status()[0].Probe; !p.At.IsZero() {
		t.Errorf("%+v", p)
	}
}

// TestRetry ends the pause of an address that is down.
func TestRetry(t *testing.T) {
	c := newClock()
	h := health{state: Unused}
	h.hasten(c.now)
	if h.state != Unused {
		t.Error("there was no pause to end")
	}
	h.failed(c.now, c.now, time.Minute, 0.5)
	h.hasten(c.now)
	if !h.usable(c.now) || h.state != Probing {
		t.Error("it is still left alone")
	}
	h.forgo(c.now.Add(-time.Minute))
	at := h.retryAt
	if h.hasten(c.add(time.Minute)); h.retryAt != at {
		t.Error("a pause that was over was made longer")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	hand, st := newHandoff(t, Options{Addresses: []string{address}, BackoffMax: time.Hour}), newStore(t)
	try := st.try(text, 1)
	for range 8 { // each failure makes the pause longer, without the waiting
		if _, err := hand.Deliver(t.Context(), try); err == nil {
			t.Fatal("delivered to nobody")
		}
		if s := hand.Status()[0]; s.Health != Down {
			t.Fatalf("%+v", s)
		}
		hand.Retry()
	}
	if s := hand.Status()[0]; s.RetryAt.After(time.Now()) {
		t.Errorf("%+v", s)
	}
}
