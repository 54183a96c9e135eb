package service

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// systemd receives notifications in place of the real one.
type systemd struct {
	t    *testing.T
	conn *net.UnixConn
}

// asSystemd makes this process send its notifications to the test, with a watchdog of that
// interval; 0: none.
func asSystemd(t *testing.T, interval time.Duration) *systemd {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	if interval > 0 {
		t.Setenv("WATCHDOG_USEC", strconv.FormatInt(interval.Microseconds(), 10))
		t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	}
	return &systemd{t, conn}
}

// hears returns the next notification within the time; "": there is none.
func (s *systemd) hears(within time.Duration) string {
	s.t.Helper()
	if err := s.conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		s.t.Fatal(err)
	}
	message := make([]byte, 4096)
	n, err := s.conn.Read(message)
	if err != nil {
		return ""
	}
	return string(message[:n])
}

// lines is a log that a test can read.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) await(t *testing.T, what string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		l.mu.Lock()
		text := l.text.String()
		l.mu.Unlock()
		if strings.Contains(text, what) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not logged: %s; but:\n%s", what, text)
		}
	}
}

const patience = 20 * time.Second

// Systemd is notified at half its interval. While a part hangs it gets nothing, until the part
// answers again.
func TestWatchdog(t *testing.T) {
	const interval = 100 * time.Millisecond
	s := asSystemd(t, interval)
	var log lines
	var part sync.Mutex
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		Watchdog(ctx, slog.New(slog.NewTextHandler(&log, nil)),
			Part{"the well", func() {}},
			Part{"the sick", func() {
				part.Lock()
				defer part.Unlock()
			}})
	}()
	began := time.Now()
	for range 5 {
		if got := s.hears(patience); got != "WATCHDOG=1" {
			t.Fatalf("systemd hears %q", got)
		}
	}
	if took := time.Since(began); took < interval { // the first is sent at once
		t.Errorf("five times in %s: it is told more often than it wants", took)
	}

	part.Lock()
	log.await(t, `part="the sick"`)
	for s.hears(time.Millisecond) != "" { // drain what was sent before
	}
	if got := s.hears(10 * interval); got != "" {
		t.Errorf("with a part that hangs systemd hears %q", got)
	}
	part.Unlock()
	if got := s.hears(patience); got != "WATCHDOG=1" {
		t.Errorf("after that systemd hears %q", got)
	}
	log.await(t, "answer again")

	part.Lock() // a hanging part does not stop the program from ending
	cancel()
	<-ended
	part.Unlock()
}

// Without a watchdog, or with one for another process, nothing is sent.
func TestNoWatchdog(t *testing.T) {
	s := asSystemd(t, 0)
	for _, process := range []string{"", "1"} {
		if process != "" {
			t.Setenv("WATCHDOG_USEC", "1000")
			t.Setenv("WATCHDOG_PID", process)
		}
		Watchdog(t.Context(), slog.New(slog.DiscardHandler), Part{"none", func() { t.Error("a part is asked") }})
		if got := s.hears(time.Millisecond); got != "" {
			t.Errorf("systemd hears %q", got)
		}
	}
}

// A control socket has answered when it sends anything, or closes the connection; silence is not an
// answer.
func TestControlPart(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	path := filepath.Join(t.TempDir(), "s")
	ControlPart(path, log).Answers() // does not exist yet
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	answered := func() chan struct{} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			ControlPart(path, log).Answers()
		}()
		return done
	}
	for _, answer := range []string{"HTTP/1.0 200 OK\r\n\r\nalive\n", ""} {
		done := answered()
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-done:
			t.Error("answered by nobody")
		case <-time.After(20 * time.Millisecond):
		}
		if _, err := conn.Write([]byte(answer)); err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		select {
		case <-done:
		case <-time.After(patience):
			t.Fatalf("%q is not an answer", answer)
		}
	}
}

// Text that would begin another message to systemd stays part of the line.
func TestStatusIsOneLine(t *testing.T) {
	s := asSystemd(t, 0)
	Status("not ready: a\nREADY=1\r\nb")
	if got := s.hears(patience); got != "STATUS=not ready: a READY=1  b" {
		t.Errorf("systemd hears %q", got)
	}
}
