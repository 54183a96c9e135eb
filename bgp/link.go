package bgp

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"
)

// grace is how long a session that ends has for its last words, each way.
const grace = time.Second

// link is one TCP connection to a peer, cut into messages. One goroutine reads
// and one writes.
type link struct {
	conn    net.Conn
	r       *bufio.Reader
	traffic *traffic
	written atomic.Uint64 // octets
	ending  atomic.Bool   // interrupt was called
}

func newLink(conn net.Conn, t *traffic) *link {
	return &link{conn: conn, r: bufio.NewReaderSize(conn, messageSize), traffic: t}
}

// local is the address that the connection starts from.
func (l *link) local() netip.Addr {
	if a, ok := l.conn.LocalAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// bodies is how long the body of each type of message may be.
var bodies = map[byte]struct{ least, most int }{
	packet.BGP_MSG_OPEN:          {10, messageSize - headerSize},
	packet.BGP_MSG_UPDATE:        {4, messageSize - headerSize},
	packet.BGP_MSG_NOTIFICATION:  {2, messageSize - headerSize},
	packet.BGP_MSG_KEEPALIVE:     {0, 0},
	packet.BGP_MSG_ROUTE_REFRESH: {4, messageSize - headerSize}, // longer ones carry filters (RFC 5291)
}

// read returns the next message, which must be there as a whole within the
// time. The body of an UPDATE is skipped, and nil. An error that the peer should
// hear of is a *Notification.
func (l *link) read(within time.Duration) (kind byte, body []byte, err error) {
	if err := l.conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		return 0, nil, unread(err)
	}
	if l.ending.Load() { // interrupt may have come just before
		_ = l.conn.SetReadDeadline(time.Now())
	}
	header, err := l.r.Peek(headerSize)
	if err != nil {
		return 0, nil, unread(err)
	}
	kind, size, fault := parseHeader(header)
	if fault != nil {
		return 0, nil, fault
	}
	_, _ = l.r.Discard(headerSize) // is there: it was peeked at
	if kind == packet.BGP_MSG_UPDATE {
		_, err = l.r.Discard(size)
	} else {
		body = make([]byte, size)
		_, err = io.ReadFull(l.r, body)
	}
	if err != nil {
		return 0, nil, unread(err)
	}
	l.traffic.in.count(kind, body, headerSize+size)
	return kind, body, nil
}

// parseHeader reads the header of a message (RFC 4271 4.1): its type and how
// long its body is.
func parseHeader(header []byte) (kind byte, size int, _ *Notification) {
	for _, b := range header[:16] {
		if b != 0xff {
			return 0, 0, headerError(packet.BGP_ERROR_SUB_CONNECTION_NOT_SYNCHRONIZED)
		}
	}
	kind = header[18]
	may, known := bodies[kind]
	if !known {
		return 0, 0, headerError(packet.BGP_ERROR_SUB_BAD_MESSAGE_TYPE, kind)
	}
	size = int(binary.BigEndian.Uint16(header[16:])) - headerSize
	if size < may.least || size > may.most {
		return 0, 0, headerError(packet.BGP_ERROR_SUB_BAD_MESSAGE_LENGTH, header[16], header[17])
	}
	return kind, size, nil
}

// write sends whole messages, which the kernel must have taken within the time.
func (l *link) write(within time.Duration, messages ...[]byte) error {
	if err := l.conn.SetWriteDeadline(time.Now().Add(within)); err != nil {
		return unwritten(err, within)
	}
	if l.ending.Load() {
		_ = l.conn.SetWriteDeadline(time.Now().Add(grace))
	}
	for _, m := range messages {
		if _, err := l.conn.Write(m); err != nil {
			return unwritten(err, within)
		}
		l.written.Add(uint64(len(m)))
		l.traffic.out.count(m[18], m[headerSize:], len(m))
	}
	return nil
}

// patience is how long the kernel waits for acknowledgements before it gives the
// connection up. A peer that is silent about a withdrawal must lose the session,
// and so the routes, even if it goes on talking.
func (l *link) patience(d time.Duration) error {
	return l.control(func(fd int) error {
		return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d/time.Millisecond)))
	})
}

// interrupt makes a read return at once and a write soon. Any goroutine may
// call it.
func (l *link) interrupt() {
	l.ending.Store(true)
	_ = l.conn.SetReadDeadline(time.Now())
	_ = l.conn.SetWriteDeadline(time.Now().Add(grace))
}

// close ends the connection, with a NOTIFICATION if the peer should have one.
// It waits for the peer to close its side, because a connection that is closed
// with unread input is reset, and a reset may overtake the NOTIFICATION.
func (l *link) close(why error) {
	defer l.conn.Close()
	var n *Notification
	if !errors.As(why, &n) || n.Received {
		return
	}
	b, err := packet.NewBGPNotificationMessage(n.Code, n.Subcode, n.Data).Serialize()
	if err != nil {
		return
	}
	l.ending.Store(true)
	if l.write(grace, b) != nil {
		return
	}
	half, ok := l.conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || l.conn.SetReadDeadline(time.Now().Add(grace)) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, l.conn)
}

// acked says whether the peer's TCP has acknowledged the first so many octets
// that were written. Where the kernel can't tell, it has.
func (l *link) acked(octets uint64) bool {
	written := l.written.Load() // before the queue: what is written meanwhile must not count
	return uint64(l.queued()) <= written-octets
}

// queued is how many octets are written and not acknowledged.
func (l *link) queued() (n int) {
	_ = l.control(func(fd int) (err error) {
		n, err = unix.IoctlGetInt(fd, unix.SIOCOUTQ)
		return err
	})
	return n
}

// control does something to the socket, if there is one.
func (l *link) control(do func(fd int) error) error {
	conn, ok := l.conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = do(int(fd)) }); err != nil {
		return err
	}
	return failed
}

// unread puts words to the error of a read.
func unread(err error) error {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the peer closed the connection")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return holdTimerExpired()
	case errors.Is(err, unix.ETIMEDOUT):
		return fmt.Errorf("the peer acknowledges nothing: %w", bare(err))
	}
	return fmt.Errorf("connection lost: %w", bare(err))
}

// unwritten puts words to the error of a write. A peer that takes no data for
// so long is gone (RFC 9687).
func unwritten(err error, within time.Duration) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("the peer has taken no data for %s", within)
	}
	return fmt.Errorf("connection lost: %w", bare(err))
}

// bare takes off the addresses that package net puts around an error: the port
// is another one each time, and the same error would look like a new one.
func bare(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}
