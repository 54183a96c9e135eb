package dials

import (
	"net"
	"testing"
)

// The address is one of documentation; the test leaves its error unread.
func TestDials(t *testing.T) {
	for _, address := range []string{"198.51.100.1:179", "[2001:db8::1]:179"} {
		if c, err := net.Dial("udp", address); err == nil {
			c.Close()
		}
	}
}

func TestLoopback(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	l.Close()
}
