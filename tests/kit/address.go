package kit

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
)

// FreeAddress is a loopback address that nothing listens on at the moment. Its port lies below
// those that Linux gives to outgoing connections, so that it is still free when a program comes to
// listen on it, and when the program comes back after a kill.
func FreeAddress() (netip.AddrPort, error) {
	return FreePort(netip.MustParseAddr("127.0.0.1"))
}

// FreePort is FreeAddress on another address of this machine.
func FreePort(on netip.Addr) (netip.AddrPort, error) {
	const low, high = 10240, 32768
	for range 100 {
		address := netip.AddrPortFrom(on, uint16(low+rand.IntN(high-low)))
		if _, given := ports.LoadOrStore(address.Port(), true); given {
			continue
		}
		l, err := net.Listen("tcp", address.String())
		if err == nil {
			return address, l.Close()
		}
	}
	return netip.AddrPort{}, fmt.Errorf("no free port on %s: 100 random ones are in use", on)
}

// ports are those that this process was given: something may listen there later.
var ports sync.Map

// MustFreeAddress is FreeAddress as text. It fails the test where there is none.
func MustFreeAddress(t testing.TB) string {
	t.Helper()
	address, err := FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address.String()
}
