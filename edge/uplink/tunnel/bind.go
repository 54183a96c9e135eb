package tunnel

import (
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

// plainly is how long packets are sent one by one after a batch did not fit the path. By then the
// inner MTU has usually been derived again.
const plainly = time.Second

// bind is wireguard-go's pair of UDP sockets, corrected in three respects.
//
// A batch of packets is handed to the kernel as one, to be cut on the way out (UDP GSO). Where the
// path is narrower than one packet, the kernel refuses the whole batch, where it would have
// fragmented each packet alone. So a refused batch is sent again one by one: it arrives, and TCP
// inside does not stall until the MTU is right. The peer drops a packet that went out twice, like
// any replay.
//
// The source is always the kernel's choice, by the routes of that moment. An endpoint may hold the
// address and device that the peer was heard on, which would stay in use when the route moves to
// another device.
//
// The port is reported even where the kernel has no IPv6: wireguard-go's own pair returns 0 then,
// as if there were none.
type bind struct {
	conn.Bind
	narrow func()       // called when a batch did not fit the path; must not block
	plain  atomic.Int64 // the time until which packets are sent one by one: Unix nanoseconds
}

func newBind(narrow func()) *bind { return &bind{Bind: conn.NewStdNetBind(), narrow: narrow} }

// Open opens the sockets at a UDP port, or at any free one if it is 0, and returns the port; 0
// where any was requested and the kernel lacks a family.
func (b *bind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	receive, opened, err := b.Bind.Open(port)
	if err == nil && opened == 0 {
		opened = port
	}
	return receive, opened, err
}

// Send sends packets to one peer.
func (b *bind) Send(packets [][]byte, to conn.Endpoint) error {
	if heard, ok := to.(*conn.StdNetEndpoint); ok && heard.SrcIfidx() != 0 {
		to = &conn.StdNetEndpoint{AddrPort: heard.AddrPort}
	}
	if len(packets) == 1 || time.Now().UnixNano() >= b.plain.Load() {
		err := b.Bind.Send(packets, to)
		if len(packets) == 1 || !errors.Is(err, unix.EMSGSIZE) && !errors.Is(err, unix.EINVAL) {
			return err
		}
		b.plain.Store(time.Now().Add(plainly).UnixNano())
		b.narrow()
	}
	var failed error
	for i := range packets {
		if err := b.Bind.Send(packets[i:i+1], to); err != nil {
			failed = err
		}
	}
	return failed
}
