package kit

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
)

func TestMain(m *testing.M) { os.Exit(InNamespace(m.Run)) }

// In the namespace loopback works, for both families, and nothing else can be reached.
func TestNamespaceHasNoWayOut(t *testing.T) {
	NeedNamespace(t)
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Close(), l.Close()
	}
	for _, network := range []string{"tcp", "udp"} {
		if _, err := net.Dial(network, "198.51.100.1:179"); !errors.Is(err, syscall.ENETUNREACH) {
			t.Errorf("%s: %v", network, err)
		}
	}
	devices, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range devices {
		if d.Flags&net.FlagUp != 0 && d.Flags&net.FlagLoopback == 0 {
			t.Errorf("%s is up", d.Name)
		}
	}
}
