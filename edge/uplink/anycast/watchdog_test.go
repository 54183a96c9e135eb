package anycast

import (
	"context"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"anymx/tests/kit"
)

// The watch answers while a check hangs, but not while it is stuck itself; a watch that has ended
// needs no answer.
func TestWatchAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stuck atomic.Bool
		free := make(chan struct{})
		w := newWatch(func(checked) {}, func(verdict) bool {
			if stuck.Load() {
				<-free
			}
			return false
		})
		var quick, hangs subject
		hangs.takes.Store(int64(time.Hour))
		w.assign(assignment{[]check{quick.check("quick"), hangs.check("hangs")}, 400 * time.Millisecond, 2 * time.Second})
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan struct{})
		go func() { defer close(over); w.run(ctx) }()
		for range 10 {
			w.answers()
			time.Sleep(300 * time.Millisecond)
		}
		stuck.Store(true)
		time.Sleep(5 * time.Second) // the hanging check has timed out by then
		answered := make(chan struct{})
		go func() { defer close(answered); w.answers() }()
		synctest.Wait()
		select {
		case <-answered:
			t.Error("it answers although it is stuck")
		default:
		}
		close(free)
		<-answered
		cancel()
		<-over
		w.answers()
	})
}

// The speaker answers systemd's watchdog until one of its parts is stuck.
func TestWatchdogOfTheSpeaker(t *testing.T) {
	kit.NeedNamespace(t)
	env := testEnv(t, "")
	path := filepath.Join(filepath.Dir(env.File), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "100000")
	a, err := newAnnouncer(env)
	if err != nil {
		t.Fatal(err)
	}
	s, err := a.listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.run(ctx, s) }()
	// dogged reports whether systemd gets a watchdog notification within the time.
	dogged := func(within time.Duration) bool {
		_ = conn.SetReadDeadline(time.Now().Add(within))
		for message := make([]byte, 4096); ; {
			n, err := conn.Read(message)
			if err != nil {
				return false
			}
			if string(message[:n]) == "WATCHDOG=1" {
				return true
			}
		}
	}
	for range 3 {
		if !dogged(20 * time.Second) {
			t.Fatal("systemd hears nothing")
		}
	}
	a.mu.Lock()
	dogged(200 * time.Millisecond) // what was in flight
	if dogged(500 * time.Millisecond) {
		t.Error("systemd hears that all is well while the routes are stuck")
	}
	a.mu.Unlock()
	if !dogged(20 * time.Second) {
		t.Error("systemd hears nothing more after that")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
