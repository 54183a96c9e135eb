package edge

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"anymx/edge/operate/api"
	"anymx/edge/service"
)

// notified returns a function that receives what systemd is notified of.
func notified(t *testing.T) (hears func(within time.Duration) string) {
	t.Helper()
	path := filepath.Join(short(t), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return func(within time.Duration) string {
		message := make([]byte, 4096)
		_ = conn.SetReadDeadline(time.Now().Add(within))
		n, _ := conn.Read(message)
		return string(message[:n])
	}
}

// movable is a listener whose reported address the test sets.
type movable struct {
	net.Listener
	at atomic.Pointer[net.TCPAddr]
}

func (m *movable) Addr() net.Addr { return m.at.Load() }

// Systemd gets READY only after a message went through the node, and the reason until then.
func TestReadyOnlyAfterSelfTest(t *testing.T) {
	hears := notified(t)
	l := &movable{Listener: listenAt(t, "127.0.0.1:0")}
	here := l.Listener.Addr().(*net.TCPAddr)
	l.at.Store(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 77), Port: here.Port})
	r := open(t, short(t), "", "", l).run()
	for told := 0; told < 2; {
		got := hears(20 * time.Second)
		switch {
		case got == "" || strings.Contains(got, "READY"):
			t.Fatalf("systemd hears %q before the self-test has passed", got)
		case strings.HasPrefix(got, "STATUS=self-test failed: 192.0.2.77:") && strings.Contains(got, "is anymx-net running?"):
			told++
		}
	}
	l.at.Store(here)
	var got []string
	for len(got) == 0 || got[len(got)-1] != "READY=1" {
		line := hears(20 * time.Second)
		if line == "" {
			t.Fatalf("systemd hears only %q", got)
		}
		got = append(got, line)
	}
	if before := got[len(got)-2]; before != "STATUS=running" {
		t.Errorf("the last status before it is %q", before)
	}
	if err := r.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}

// stallable blocks the goroutine that logs the start of a drain step while stall is locked.
type stallable struct {
	slog.Handler
	stall *sync.Mutex
}

// Handle logs one record.
func (s stallable) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "drain: step begins" {
		s.stall.Lock()
		defer s.stall.Unlock()
	}
	return s.Handler.Handle(ctx, r)
}

// The watchdog is fed by a node that runs, and not by one that is stuck.
func TestWatchdogOfTheNode(t *testing.T) {
	hears := notified(t)
	const interval = 200 * time.Millisecond
	t.Setenv("WATCHDOG_USEC", "200000")
	r := open(t, short(t), "", "", listenAt(t, "127.0.0.1:0")).run()
	dogged := func(within time.Duration) bool {
		for end := time.Now().Add(within); time.Now().Before(end); {
			if hears(time.Until(end)) == "WATCHDOG=1" {
				return true
			}
		}
		return false
	}
	for range 3 {
		if !dogged(20 * time.Second) {
			t.Fatal("systemd hears nothing")
		}
	}
	r.awaitSelfTest()
	r.stall.Lock()
	if err := r.Drain(t.Context(), api.DrainRequest{Until: api.UntilRestart}); err != nil {
		t.Fatal(err)
	}
	dogged(interval) // what was in flight
	if dogged(5 * interval) {
		t.Error("systemd hears that all is well while the drain is stuck")
	}
	r.stall.Unlock()
	if !dogged(20 * time.Second) {
		t.Error("systemd hears nothing more after that")
	}
}

// Each part answers by itself, under its own name.
func TestPartsAnswer(t *testing.T) {
	t.Parallel()
	r := open(t, short(t), "", "", listenAt(t, "127.0.0.1:0")).run()
	r.awaitSelfTest()
	names := map[string]bool{}
	for _, p := range r.parts() {
		done := make(chan struct{})
		go func(p service.Part) {
			defer close(done)
			p.Answers()
		}(p)
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Errorf("%s does not answer", p.Name)
		}
		names[p.Name] = true
	}
	if len(names) != 5 {
		t.Errorf("parts %v", names)
	}
}
