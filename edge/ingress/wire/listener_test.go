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

	"anymx/edge/mail"
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

// echo answers each command with its line, until QUIT.
func echo(c *Conn) {
	defer c.Close()
	if err := c.Open(); err != nil {
		c.Reply(mail.Reply{Code: 421, Text: err.Error()})
		return
	}
	c.Reply(mail.Reply{Code: 220, Text: "hello"})
	for !c.Ended() {
		switch cmd, err := c.ReadCommand(false); {
		case err != nil:
			c.Reply(mail.Reply{Code: 500, Text: err.Error()})
		case cmd.Verb == "QUIT":
			c.End("quit")
			c.Reply(mail.Reply{Code: 221, Text: "bye"})
		default:
			c.Reply(mail.Reply{Code: 250, Text: string(cmd.Line)})
		}
	}
}

// listen serves echo on loopback.
func listen(t *testing.T, set Settings, faults int32) (*Registry, net.Listener) {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &faultyListener{Listener: inner}
	l.faults.Store(faults)
	registry := NewRegistry(Options{Settings: set})
	done := make(chan error, 1)
	go func() { done <- registry.Serve(l, echo) }()
	t.Cleanup(func() {
		_ = l.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve ended with %v", err)
		}
		kit.Eventually(t, "all connections are closed", func() bool { return registry.Open() == 0 })
		if len(registry.caps.by) != 0 {
			t.Errorf("networks are still counted: %v", registry.caps.by)
		}
	})
	return registry, l
}

// say connects if conn is nil, sends text, and returns what comes until a line ends with want.
func say(t *testing.T, l net.Listener, conn net.Conn, text, want string) net.Conn {
	t.Helper()
	if conn == nil {
		var err error
		if conn, err = net.Dial("tcp", l.Addr().String()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(kit.Patience))
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	for r := bufio.NewReaderSize(conn, 16); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("%q: %q, %v", text, line, err)
		}
		if strings.HasPrefix(line, want) {
			return conn
		}
	}
}

// A fault that passes does not end the listener.
func TestAcceptFaults(t *testing.T) {
	_, l := listen(t, Settings{}, 3)
	_ = say(t, l, nil, "QUIT\r\n", "221 ").Close()
}

// A listener that is closed leaves the connections that it has accepted.
func TestListenerCloses(t *testing.T) {
	_, l := listen(t, Settings{}, 0)
	conn := say(t, l, nil, "", "220 ")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_ = say(t, l, conn, "NOOP\r\nQUIT\r\n", "221 ").Close()
}

// New settings are for connections to come, and for no other.
func TestConfigure(t *testing.T) {
	registry, l := listen(t, Settings{Limits: Limits{MaxLine: 100}}, 0)
	before := say(t, l, nil, "", "220 ")
	registry.Configure(Settings{Limits: Limits{MaxLine: 10}})
	after := say(t, l, nil, "", "220 ")
	say(t, l, before, "NOOP 1234567890\r\n", "250 NOOP")
	say(t, l, after, "NOOP 1234567890\r\n", "500 line too long")
	_, _ = before.Close(), after.Close()
}

// A client that is kept waiting does not keep the service from closing.
func TestDelayEnds(t *testing.T) {
	registry := NewRegistry(Options{})
	c := newConn(&net.TCPConn{}, registry.settings.Load(), registry)
	go registry.Close(t.Context())
	began := time.Now()
	c.Delay(time.Hour)
	if took := time.Since(began); took > time.Minute {
		t.Errorf("took %v", took)
	}
}

// The context of a connection ends when it is cut, and when it is closed, also if it is asked for later.
func TestContext(t *testing.T) {
	registry, l := listen(t, Settings{}, 0)
	conn := say(t, l, nil, "", "220 ")
	registry.mu.Lock()
	var c *Conn
	for c = range registry.conns {
	}
	registry.mu.Unlock()
	ctx := c.Context()
	if ctx.Err() != nil {
		t.Error(ctx.Err())
	}
	_ = conn.Close()
	<-ctx.Done()
	kit.Eventually(t, "the connection is closed", func() bool { return registry.Open() == 0 })
	if c.Context().Err() == nil {
		t.Error("a closed connection has a context that goes on")
	}
}
