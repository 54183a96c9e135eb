package anycast

import (
	"bufio"
	"net"
	"testing"
	"time"
)

// crowd opens n connections, each when the one before has its banner or its refusal, and leaves them
// silent for the rest of the test.
func crowd(t testing.TB, address string, n int) {
	t.Helper()
	for range n {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(long))
		if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
}
