package core

import (
	"net"

	"anymx/edge/ingress/wire"
	"anymx/edge/mail"
)

// lmtpListener returns connections on which replies can differ by recipient.
type lmtpListener struct{ net.Listener }

// Accept wraps a connection of wire.
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

// lmtpConn replaces the replies that go-smtp writes after a message, which are all the same, by the
// reply for each recipient (RFC 2033 section 4.2).
//
// go-smtp can collect replies itself, but then it reads the end of the message in one goroutine
// while it replies in another, and a wire.Conn may only be used by one.
type lmtpConn struct {
	*wire.Conn
	replies []mail.Reply // not yet sent
}

// Write replaces one reply of go-smtp. It writes those to a message one by one, in the recipients'
// order.
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
