package network

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"anymx/edge/config"
	"anymx/edge/service"
	"anymx/edge/uplink/plumb"
)

// Each part answers; one whose lock is never released does not.
func TestPartsAnswer(t *testing.T) {
	plumbing, err := plumb.Open(plumb.Options{})
	if err != nil {
		t.Skip("no netlink here: ", err)
	}
	defer plumbing.Close()
	log, c := slog.New(slog.DiscardHandler), &config.Config{}
	c.Net.Control = filepath.Join(t.TempDir(), "nobody")
	n := &network{env: &service.Env{Config: c}, log: log, plumbing: plumbing, core: &core{}}
	n.reloader = n.newReloader()
	all := func() chan struct{} {
		done := make(chan struct{})
		parts := n.parts()
		go func() {
			defer close(done)
			for _, p := range parts {
				p.Answers()
			}
		}()
		return done
	}
	await := func(done chan struct{}) {
		t.Helper()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatal("no answer")
		}
	}
	await(all())
	parts := n.parts()
	n.core.mu.Lock()
	stuck := make(chan struct{})
	go func() {
		defer close(stuck)
		parts[len(parts)-1].Answers()
	}()
	select {
	case <-stuck:
		t.Error("it answers although it is stuck")
	case <-time.After(50 * time.Millisecond):
	}
	n.core.mu.Unlock()
	await(stuck)
}
