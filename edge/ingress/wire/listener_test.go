package wire

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"anymx/tests/kit"
)

// faultyListener says for a while that too many files are open.
type faultyListener struct {
	net.Listener
	faults atomic.Int32
}

func (l *faultyListener) Accept() (net.Conn, error) {
	if l.faults.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

// listen starts srv behind a Registry on loopback.
func listen(t *testing.T, srv *smtp.Server, set Settings, faults int32) *Listener {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	set.Hostname = hostname
	faulty := &faultyListener{Listener: inner}
	faulty.faults.Store(faults)
	registry := NewRegistry(Options{Settings: set})
	l := registry.Listen(faulty)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		_ = l.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve ended with %v", err)
		}
		kit.Eventually(t, "all connections are closed", func() bool { return registry.Open() == 0 })
	})
	return l
}

func dialPlain(t *testing.T, l *Listener) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	return conn, bufio.NewReader(conn)
}

// TestAcceptFaults: what passes ends neither the listener nor go-smtp.
func TestAcceptFaults(t *testing.T) {
	l := listen(t, newSMTP(&backend{}), Settings{}, 3)
	conn, r := dialPlain(t, l)
	readReplies(t, r, 1)
	_ = conn.Close()
}

// TestListenerCloses: a client in the lobby keeps its connection, but gets no
// session any more.
func TestListenerCloses(t *testing.T) {
	l := listen(t, newSMTP(&backend{}), Settings{}, 0)
	l.learn(goSMTP, false)
	conn, r := dialPlain(t, l)
	if _, err := io.WriteString(conn, "EHLO c.test\r\n"); err != nil {
		t.Fatal(err)
	}
	readReplies(t, r, 2)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "NOOP\r\n"); err != nil {
		t.Fatal(err)
	}
	readReplies(t, r, 1)
	if _, err := io.WriteString(conn, "MAIL FROM:<a@c.test>\r\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := r.ReadString('\n'); !strings.HasPrefix(line, "421 4.3.2 ") {
		t.Errorf("%q, %v", line, err)
	}
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
	_ = conn.Close()
}

// TestNoSession: a session that go-smtp's backend refuses is refused to the
// client too, whether at its greeting or when it leaves the lobby.
func TestNoSession(t *testing.T) {
	srv := newSMTP(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) {
		return nil, refusal(451, 4, 3, 0, "no session for you")
	}))
	l := listen(t, srv, Settings{}, 0)
	for _, lobby := range []bool{false, true} {
		if lobby {
			l.learn(goSMTP, false)
		}
		conn, r := dialPlain(t, l)
		if _, err := io.WriteString(conn, "EHLO c.test\r\nMAIL FROM:<a@c.test>\r\n"); err != nil {
			t.Fatal(err)
		}
		_ = conn.(*net.TCPConn).CloseWrite()
		all, err := io.ReadAll(r)
		said := string(all)
		if err != nil || !strings.Contains(said, "\r\n451 4.3.0 no session for you\r\n") || strings.Contains(said, "taken") {
			t.Errorf("lobby %v: %q, %v", lobby, said, err)
		}
		_ = conn.Close()
	}
}
