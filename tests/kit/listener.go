package kit

import (
	"net"
	"os"
	"testing"
)

// ListenFile listens on address, and returns the listener also as a file, to pass to a program as
// systemd does. Both are closed at the end of the test.
func ListenFile(t testing.TB, address string) (net.Listener, *os.File) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // the test may have closed it
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return l, file
}

// AcceptAll accepts connections until the end of the test, and closes l then. It runs serve for one
// after the other.
func AcceptAll(t testing.TB, l net.Listener, serve func(net.Conn)) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serve(conn)
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
}
