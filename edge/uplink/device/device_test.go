package device

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"anymx/tests/kit"
)

func newTestDevice(t *testing.T, name string) *Device {
	return &Device{name: name, log: slog.New(slog.NewTextHandler(t.Output(), nil)), back: func() {}}
}

// listening opens a port on loopback that accepts connections and sends nothing.
func listening(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	kit.AcceptAll(t, l, func(conn net.Conn) {
		go func() {
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}()
	})
	return l.Addr().String()
}

// TestDialThroughDevice binds to lo, the one device that every test has.
func TestDialThroughDevice(t *testing.T) {
	d := newTestDevice(t, "lo")
	conn, err := d.Dial(t.Context(), "tcp", listening(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	index, err := d.index()
	if to, e := boundTo(conn.(*net.TCPConn)); err != nil || e != nil || to != index || index == 0 {
		t.Errorf("bound to %d (%v), device is %d (%v)", to, e, index, err)
	}
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		limit, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
		if err != nil || limit != 15000 {
			t.Errorf("what is sent may stay unanswered for %d ms (%v)", limit, err)
		}
		idle, errIdle := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)
		again, errAgain := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPINTVL)
		if errors.Join(errIdle, errAgain) != nil || idle+3*again > limit/1000 {
			t.Errorf("probes after %ds and every %ds: fewer than three may be lost within %d ms", idle, again, limit)
		}
		if protocol, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PROTOCOL); err != nil || protocol != unix.IPPROTO_TCP {
			t.Errorf("protocol %d (%v)", protocol, err)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// TestUnbind closes sockets that are bound to another device's number, even while a read is blocked
// on them, and forgets those that their user has closed.
func TestUnbind(t *testing.T) {
	d := newTestDevice(t, "lo")
	address := listening(t)
	dial := func() net.Conn {
		conn, err := d.Dial(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	_ = dial().Close()
	conn := dial()
	if len(d.bound) != 1 {
		t.Errorf("%d are known, one is open", len(d.bound))
	}
	index, err := d.index()
	if err != nil {
		t.Fatal(err)
	}
	if n := d.unbind(index); n != 0 || len(d.bound) != 1 {
		t.Errorf("%d closed, %d left, though the device is there", n, len(d.bound))
	}
	reads := make(chan error)
	go func() {
		_, err := conn.Read(make([]byte, 1))
		reads <- err
	}()
	if n := d.unbind(index + 1); n != 1 || len(d.bound) != 0 {
		t.Errorf("%d closed, %d left", n, len(d.bound))
	}
	if err := <-reads; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

// TestDeviceIsAbsent checks that the error says what to do, and that nothing is dialed.
func TestDeviceIsAbsent(t *testing.T) {
	d := newTestDevice(t, "wg-nowhere")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const want = "the tunnel wg-nowhere is not there: is anymx-net running?"
	if conn, err := d.Dial(t.Context(), "tcp", l.Addr().String()); err == nil || conn != nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, %v", conn, err)
	}
	if _, err := d.index(); err == nil || !strings.Contains(err.Error(), want) {
		t.Error(err)
	}
	_ = l.(*net.TCPListener).SetDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := l.Accept(); err == nil {
		t.Error("somebody has dialled")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d.Watch(ctx)
	if d := newTestDevice(t, "a-name-that-is-too-long"); true {
		if _, err := d.index(); err == nil {
			t.Error("no device can have this name")
		}
	}
}
