package core

import (
	"net"

	"anymx/edge/ingress/wire"
	"anymx/edge/mail"
)

// lmtpListener gives go-smtp connections whose replies can differ by recipient.
type lmtpListener struct{ net.Listener }

// Accept is wire's.
func (l lmtpListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if conn, ok := c.(*wire.Conn); ok {
		return &lmtpConn{Conn: conn}, nil
	}
	return c, nil
}

// lmtpConn puts the reply of each recipient (RFC 2033 section 4.2) in the place
// of those that go-smtp writes behind a message, which are all the same.
//
// go-smtp has a way of its own to collect them, but then it reads the end of the
// message in one goroutine while it replies in another, and wire.Conn is for
// one.
type lmtpConn struct {
	*wire.Conn
	replies []mail.Reply // still to be said
}

// Write takes one reply of go-smtp's. Those to a message come each by itself, in
// the recipients' order.
func (c *lmtpConn) Write(p []byte) (int, error) {
	if len(c.replies) == 0 {
		return c.Conn.Write(p)
	}
	r := c.replies[0]
	c.replies = c.replies[1:]
	if _, err := c.Conn.Write(append([]byte(r.String()), "\r\n"...)); err != nil {
		return 0, err
	}
	return len(p), nil
}
