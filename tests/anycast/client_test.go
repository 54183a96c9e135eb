package anycast

import (
	"bufio"
	"net"
	"strings"
	"testing"
	"time"
)

// occupy opens connections until the node has no room for another one, and
// keeps them for the rest of the test.
func occupy(t testing.TB, address string, n int) {
	t.Helper()
	for open, attempts := 0, 0; open < n && attempts < 100*n; attempts++ {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(long))
		banner, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil || !strings.HasPrefix(banner, "220") { // a probe was there first
			conn.Close()
			time.Sleep(time.Millisecond)
			continue
		}
		open++
		t.Cleanup(func() { conn.Close() })
	}
}
