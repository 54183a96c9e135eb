package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// Captured counts the packets of a namespace.
type Captured struct {
	// All counts every packet on every interface.
	All int
	// Inside counts those to or from core's tunnel network on the tunnel device.
	Inside int
	// Outside counts those of them on any other interface, where none are allowed; First describes
	// the first one.
	Outside int
	First   string
	// Encrypted counts UDP packets to or from the tunnel's remote end.
	Encrypted int
	// Lost counts packets that were dropped for lack of buffer space.
	Lost int
}

// Capture inspects each packet that a namespace sends or receives.
type Capture struct {
	stop chan struct{}
	once sync.Once
	done chan struct{}

	mu   sync.Mutex
	seen Captured
	err  error
}

// inside is core's side of the tunnel.
var inside = netip.MustParseAddr(CoreInside)

// Capture starts capturing on all interfaces of a namespace. It recognizes the tunnel device by its
// missing link layer, whatever its name is and however often it is recreated.
func (n *Namespace) Capture() (*Capture, error) {
	c := &Capture{stop: make(chan struct{}), done: make(chan struct{})}
	var fd int
	err := n.Do(func() (err error) {
		all := int(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL)))
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, all)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("packet socket in %s: %w", n.Name, err)
	}
	if err := errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 256<<20),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}),
	); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	go func() {
		defer close(c.done)
		defer unix.Close(fd)
		c.read(fd)
	}()
	return c, nil
}

// read counts packets until the capture is stopped.
func (c *Capture) read(fd int) {
	head := make([]byte, 256) // the rest of a packet is cut off
	for {
		n, from, err := unix.Recvfrom(fd, head, 0)
		c.mu.Lock()
		switch link, ok := from.(*unix.SockaddrLinklayer); {
		case err == nil && ok:
			c.seen.add(link, head[:n])
		case err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ENETDOWN):
			c.err = fmt.Errorf("packet socket: %w", err)
		}
		failed := c.err != nil
		c.mu.Unlock()
		select {
		case <-c.stop:
			if err == nil && !failed {
				continue // count what arrived before the end
			}
		default:
			if !failed {
				continue
			}
		}
		stats, err := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
		c.mu.Lock()
		defer c.mu.Unlock()
		if err == nil {
			c.seen.Lost = int(stats.Drops)
		}
		c.err = errors.Join(c.err, err)
		return
	}
}

// add counts one packet.
func (s *Captured) add(link *unix.SockaddrLinklayer, packet []byte) {
	s.All++
	kind := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, link.Protocol))
	var from, to netip.Addr
	switch {
	case kind == unix.ETH_P_IP && len(packet) >= 20:
		from, to = netip.AddrFrom4([4]byte(packet[12:])), netip.AddrFrom4([4]byte(packet[16:]))
	case kind == unix.ETH_P_ARP && len(packet) >= 28:
		from, to = netip.AddrFrom4([4]byte(packet[14:])), netip.AddrFrom4([4]byte(packet[24:]))
	default:
		return
	}
	switch {
	case to != inside && from != inside:
		if to.String() == CoreOutside || from.String() == CoreOutside {
			s.Encrypted++
		}
	case link.Hatype == unix.ARPHRD_NONE:
		s.Inside++
	default:
		if s.Outside++; s.First == "" {
			s.First = fmt.Sprintf("%s > %s, type %#04x on interface %d: % x", from, to, kind, link.Ifindex, packet[:min(len(packet), 64)])
		}
	}
}

// Seen returns the counts so far.
func (c *Capture) Seen() Captured {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen
}

// Close stops the capture, if it is still running, and returns the counts.
func (c *Capture) Close() (Captured, error) {
	c.once.Do(func() { close(c.stop) })
	<-c.done
	return c.Seen(), c.err
}
