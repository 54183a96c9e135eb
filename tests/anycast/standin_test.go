package anycast

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// standIn answers the speaker's checks in place of anymx-edge, which has room for each of them: it is
// ready, and greets with 220 or, when told to, with 421.
type standIn struct {
	full atomic.Bool
	ends []io.Closer
}

// newStandIn listens where the edge of n did, which must have ended.
func newStandIn(t *testing.T, n *node) *standIn {
	t.Helper()
	s := &standIn{}
	t.Cleanup(s.close)
	listen := func(network, address string) net.Listener {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	for _, address := range []string{"[::]:25", "[::]:8025"} {
		l := listen("tcp", address)
		s.ends = append(s.ends, l)
		go s.greet(l)
	}
	control := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ready\n") }),
		ReadHeaderTimeout: time.Minute,
	}
	s.ends = append(s.ends, control)
	path := filepath.Join(n.dir, "run", "edge.sock")
	_ = os.Remove(path) // a killed edge has left it
	socket := listen("unix", path)
	go func() { _ = control.Serve(socket) }()
	return s
}

// greet serves one client after the other: the speaker's probes are short.
func (s *standIn) greet(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if s.full.Load() {
			fmt.Fprint(conn, "421 4.7.0 mx.example.net too many connections, try again later\r\n")
		} else {
			fmt.Fprint(conn, "220 mx.example.net ESMTP\r\n")
			if _, err := conn.Read(make([]byte, 512)); err == nil { // EHLO
				fmt.Fprint(conn, "250 mx.example.net\r\n")
				_, _ = conn.Read(make([]byte, 512)) // QUIT
			}
		}
		_ = conn.Close()
	}
}

func (s *standIn) close() {
	for _, end := range s.ends {
		_ = end.Close()
	}
	s.ends = nil
}
