package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// smtpConn is a client's end of an SMTP session.
type smtpConn struct {
	net.Conn
	r *bufio.Reader
}

// wrongReply is a reply that a healthy node does not give.
type wrongReply struct{ want, got string }

func (w *wrongReply) Error() string { return fmt.Sprintf("reply %q, want %s", w.got, w.want) }

// errLeaving reports that a node sent 421 or has gone.
var errLeaving = errors.New("the node is leaving")

// connect opens a session up to the reply to EHLO and returns the host name in the banner.
func (n *Namespace) connect(ctx context.Context, address string, limit time.Duration) (c *smtpConn, host string, err error) {
	dialing, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := n.Dial(dialing, "tcp", address)
	if err != nil {
		return nil, "", err
	}
	c = &smtpConn{Conn: conn, r: bufio.NewReader(conn)}
	if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
		return nil, "", errors.Join(err, conn.Close())
	}
	banner, err := c.expect("220")
	if err == nil {
		host = strings.Fields(banner + " ?")[1]
		_, err = c.say("250", "EHLO client.example.com\r\n")
	}
	if err != nil {
		_ = conn.Close() // the error is already known
		return nil, host, err
	}
	return c, host, nil
}

// greets returns a check that succeeds when a session can be opened at address.
func (n *Namespace) greets(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		c, _, err := n.connect(ctx, address, 2*time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.say("221", "QUIT\r\n")
		return err
	}
}

// Banner returns the host name of the node that answers at address.
func (n *Namespace) Banner(ctx context.Context, address string) (string, error) {
	c, host, err := n.connect(ctx, address, 5*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_, err = c.say("221", "QUIT\r\n")
	return host, err
}

func (c *smtpConn) say(want, line string) (string, error) {
	if _, err := io.WriteString(c, line); err != nil {
		return "", err
	}
	return c.expect(want)
}

// expect reads one reply and returns its last line.
func (c *smtpConn) expect(want string) (string, error) {
	for {
		line, err := c.r.ReadString('\n')
		switch {
		case err != nil:
			return "", err
		case strings.HasPrefix(line, "421"):
			return "", fmt.Errorf("%w: %s", errLeaving, strings.TrimSpace(line))
		case !strings.HasPrefix(line, want):
			return "", &wrongReply{want: want, got: line}
		case len(line) > 3 && line[3] == ' ':
			return line, nil
		}
	}
}
