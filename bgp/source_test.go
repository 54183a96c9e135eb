package bgp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"anymx/tests/kit"
)

// A node that boots dials its router while its addresses are still being checked
// for duplicates. It waits, and does not come from a service address, the link's own
// one, or ::1, which no router answers.
func TestDialWaitsForItsAddress(t *testing.T) {
	t.Run("the link's own is there", func(t *testing.T) {
		t.Parallel()
		dialsFrom(t, "fe80::2")
	})
	t.Run("a service address is there", func(t *testing.T) {
		t.Parallel()
		dialsFrom(t, "2001:db8:25::25")
	})
	t.Run("none is there", func(t *testing.T) {
		t.Parallel()
		dialsFrom(t, "::1")
	})
}

// dialsFrom dials from a node that has no address but other at first.
func dialsFrom(t *testing.T, other string) {
	router, node := kit.NewNetwork(t), kit.NewNetwork(t)
	router.IP("link add eth0 type veth peer name eth0 netns " + fmt.Sprint(node.Thread()))
	router.IP("link set eth0 up")
	router.IP("-6 address add 2001:db8:a::1/64 dev eth0 nodad")
	node.IP("link set eth0 addrgenmode none")
	node.IP("link set eth0 up")
	switch other {
	case "fe80::2":
		node.IP("-6 address add fe80::2/64 dev eth0 nodad")
	case "2001:db8:25::25":
		node.IP("-6 address add 2001:db8:25::25/128 dev lo nodad preferred_lft 0")
	}

	var listening net.Listener
	var err error
	router.Do(func() { listening, err = net.Listen("tcp", "[2001:db8:a::1]:1790") })
	if err != nil {
		t.Fatal(err)
	}
	defer listening.Close()
	from := make(chan netip.Addr, 1)
	go func() {
		defer close(from)
		conn, err := listening.Accept()
		if err != nil {
			return
		}
		from <- conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
		conn.Close()
	}()

	peer := Peer{Address: addr("2001:db8:a::1"), Port: 1790, ASN: 64501, Multihop: 1}
	type dialled struct {
		conn net.Conn
		err  error
	}
	early := make(chan dialled, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	node.Alongside(func() { // before there is a route
		conn, err := dial(ctx, 64512, peer)
		early <- dialled{conn, err}
	})
	node.IP("-6 address add 2001:db8:a::2/64 dev eth0")
	if out := node.IP("-6 address show dev eth0"); !strings.Contains(out, "tentative") {
		t.Fatalf("nothing is checked here:\n%s", out)
	}
	first := <-early
	if first.err != nil {
		t.Fatal(first.err)
	}
	first.conn.Close()
	if got := <-from; got != addr("2001:db8:a::2") {
		t.Errorf("the router was dialled from %s", got)
	}

	// Where there will never be another address, it says so.
	node.IP("-6 address del 2001:db8:a::2/64 dev eth0")
	node.IP("-6 route add 2001:db8:a::/64 dev eth0")
	var conn net.Conn
	node.Do(func() { conn, err = dial(ctx, 64512, peer) })
	if err == nil {
		conn.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "from but "+other+",") {
		t.Errorf("dialled from an address of the link or the host: %v", err)
	}
	peer.LocalAddress = addr("2001:db8:a::3")
	node.Do(func() { conn, err = dial(ctx, 64512, peer) })
	if err == nil || !strings.Contains(err.Error(), "cannot assign requested address") {
		t.Errorf("dialled from an address that is not there: %v", err)
	}
}
