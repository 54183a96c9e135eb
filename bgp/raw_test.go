package bgp

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"
)

const rawASN = 64510

// raw is a peer that says what a test tells it to, octet by octet.
type raw struct {
	t testing.TB
	l *net.TCPListener
}

func newRaw(t testing.TB, address string) *raw {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &raw{t, l.(*net.TCPListener)}
}

func (r *raw) peer() Peer {
	at := r.l.Addr().(*net.TCPAddr).AddrPort()
	return Peer{
		Address: at.Addr(), Port: at.Port(), ASN: rawASN, ConnectRetry: 20 * time.Millisecond,
		Families: []Family{IPv4, IPv6}, Export: Export{NextHop6: netip.MustParseAddr("2001:db8::1")},
	}
}

// rawConn is one connection from the speaker.
type rawConn struct {
	*net.TCPConn
	t testing.TB
}

// accept waits for the speaker to dial, and reads its OPEN.
func (r *raw) accept() *rawConn {
	r.t.Helper()
	if err := r.l.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		r.t.Fatal(err)
	}
	conn, err := r.l.AcceptTCP()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	c := &rawConn{conn, r.t}
	if kind, _ := c.next(); kind != packet.BGP_MSG_OPEN {
		r.t.Fatalf("the first message has type %d", kind)
	}
	return c
}

// establish goes through the handshake with this OPEN.
func (r *raw) establish(open []byte) *rawConn {
	r.t.Helper()
	c := r.accept()
	c.send(message(packet.BGP_MSG_OPEN, open), message(packet.BGP_MSG_KEEPALIVE, nil))
	if kind, body := c.next(); kind != packet.BGP_MSG_KEEPALIVE {
		r.t.Fatalf("got type %d % x instead of a KEEPALIVE", kind, body)
	}
	return c
}

func (c *rawConn) send(messages ...[]byte) {
	c.t.Helper()
	for _, m := range messages {
		if _, err := c.Write(m); err != nil {
			c.t.Fatal(err)
		}
	}
}

// read returns the next message.
func (c *rawConn) read() (kind byte, body []byte, err error) {
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return 0, nil, err
	}
	header := make([]byte, headerSize)
	if _, err := io.ReadFull(c, header); err != nil {
		return 0, nil, err
	}
	body = make([]byte, binary.BigEndian.Uint16(header[16:])-headerSize)
	_, err = io.ReadFull(c, body)
	return header[18], body, err
}

func (c *rawConn) next() (kind byte, body []byte) {
	c.t.Helper()
	kind, body, err := c.read()
	if err != nil {
		c.t.Fatal(err)
	}
	return kind, body
}

// updates reads so many UPDATEs, and passes over keepalives.
func (c *rawConn) updates(n int) []*packet.BGPUpdate {
	c.t.Helper()
	var list []*packet.BGPUpdate
	for len(list) < n {
		kind, body := c.next()
		switch kind {
		case packet.BGP_MSG_KEEPALIVE:
		case packet.BGP_MSG_UPDATE:
			u := &packet.BGPUpdate{}
			if err := u.DecodeFromBytes(body); err != nil {
				c.t.Fatal(err)
			}
			list = append(list, u)
		default:
			c.t.Fatalf("got type %d % x instead of an UPDATE", kind, body)
		}
	}
	return list
}

// end reads to the end of the connection, and returns the NOTIFICATION on the
// way, if there was one.
func (c *rawConn) end() *Notification {
	c.t.Helper()
	var n *Notification
	for {
		kind, body, err := c.read()
		if err != nil {
			return n
		}
		if kind == packet.BGP_MSG_NOTIFICATION {
			n = parseNotification(body)
		}
	}
}

// message puts a header in front of a body.
func message(kind byte, body []byte) []byte {
	return sized(headerSize+len(body), kind, body)
}

// sized puts a header in front of a body that says so much of its length.
func sized(size int, kind byte, body []byte) []byte {
	m := append([]byte(nil), keepalive[:16]...)
	m = binary.BigEndian.AppendUint16(m, uint16(size))
	return append(append(m, kind), body...)
}

// rawOpen is the body of an OPEN of AS 64510 with these optional parameters.
func rawOpen(hold uint16, parameters ...byte) []byte {
	b := []byte{4, rawASN >> 8, rawASN & 0xff, byte(hold >> 8), byte(hold), 192, 0, 2, 77, byte(len(parameters))}
	return append(b, parameters...)
}

// modern are the optional parameters of a router of today: both families,
// ROUTE-REFRESH, long ASNs, graceful restart and one that nobody knows.
var modern = []byte{
	2, 6, 1, 4, 0, 1, 0, 1,
	2, 6, 1, 4, 0, 2, 0, 1,
	2, 2, 2, 0,
	2, 6, 65, 4, 0, 0, rawASN >> 8, rawASN & 0xff,
	2, 4, 64, 2, 0x80, 0x78,
	2, 3, 239, 1, 0xff,
}

// talk sends keepalives until the connection ends.
func (c *rawConn) talk() {
	c.t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			if _, err := c.Write(keepalive); err != nil {
				return
			}
			time.Sleep(200 * time.Millisecond)
		}
	}()
	c.t.Cleanup(func() { c.Close(); <-ended })
}

// smallBuffer makes a listener's connections take little data that nobody
// reads.
func (r *raw) smallBuffer() {
	r.t.Helper()
	conn, err := r.l.SyscallConn()
	if err != nil {
		r.t.Fatal(err)
	}
	var failed error
	if err := conn.Control(func(fd uintptr) {
		failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096)
	}); err != nil || failed != nil {
		r.t.Fatal(err, failed)
	}
}

// canned is a connection with an input that is known beforehand.
type canned struct {
	io.Reader
	net.Conn
}

func (c *canned) Read(b []byte) (int, error)        { return c.Reader.Read(b) }
func (c *canned) SetReadDeadline(_ time.Time) error { return nil }
