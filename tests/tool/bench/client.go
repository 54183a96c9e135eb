package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"time"
)

const (
	endDot = ".\r\n"
	quit   = "QUIT\r\n"

	// smallMessage is up to which size a message is copied next to the commands that follow it, so
	// that both go out in one write. Larger bodies are written from the shared copy.
	smallMessage = 64 << 10
)

// client is the sending side of one SMTP connection. It is as cheap as possible: prepared buffers, one
// write for a message and the commands after it, and of replies only the code is read.
type client struct {
	conn net.Conn
	raw  net.Conn // conn without TLS
	in   []byte   // reply bytes that have been read
	r, w int      // in[r:w] is unread
	out  []byte   // the next write
}

// replyError is a reply with an unexpected code.
type replyError struct {
	want int
	line string // the last line of the reply
}

func (e *replyError) Error() string { return fmt.Sprintf("expected %d, got %q", e.want, e.line) }

// dialClient connects. The whole connection has to end before deadline. hello reads the banner later, so
// that the caller can register the connection for closing first.
func dialClient(address string, deadline time.Time) (*client, error) {
	// A timeout or a context would cost a goroutine for each connect, and the kernel limits a connect
	// anyway.
	d := net.Dialer{KeepAlive: -1}
	conn, err := d.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	c := newClient(conn)
	if err := conn.SetDeadline(deadline); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// newClient returns the client of a connection.
func newClient(conn net.Conn) *client { return &client{conn: conn, raw: conn, in: make([]byte, 1024)} }

// close closes the connection. Another goroutine may call it to interrupt a session.
func (c *client) close() { c.raw.Close() }

// hello reads the banner and sends EHLO and, with a TLS configuration, STARTTLS and a second EHLO.
func (c *client) hello(secure *tls.Config) error {
	if err := c.expect(220); err != nil {
		return fmt.Errorf("banner: %w", err)
	}
	if err := c.command("EHLO load."+senderDomain+"\r\n", 250); err != nil {
		return fmt.Errorf("EHLO: %w", err)
	}
	if secure == nil {
		return nil
	}
	if err := c.command("STARTTLS\r\n", 220); err != nil {
		return fmt.Errorf("STARTTLS: %w", err)
	}
	c.conn = tls.Client(c.raw, secure)
	if err := c.command("EHLO load."+senderDomain+"\r\n", 250); err != nil {
		return fmt.Errorf("EHLO over TLS: %w", err)
	}
	return nil
}

// command writes line and waits for a reply with code want.
func (c *client) command(line string, want int) error {
	if _, err := c.conn.Write(append(c.out[:0], line...)); err != nil {
		return err
	}
	return c.expect(want)
}

// open starts the transaction of message id, in one pipelined group or command by command.
func (c *client) open(m *message, id uint64, pipeline bool) error {
	c.out = appendGroup(c.out[:0], id, m.size)
	if pipeline {
		if _, err := c.conn.Write(c.out); err != nil {
			return err
		}
		return c.opened()
	}
	rest := c.out
	for _, want := range []int{250, 250, 354} {
		end := bytes.IndexByte(rest, '\n') + 1
		if _, err := c.conn.Write(rest[:end]); err != nil {
			return err
		}
		if err := c.expect(want); err != nil {
			return fmt.Errorf("%s: %w", bytes.TrimSpace(rest[:end]), err)
		}
		rest = rest[end:]
	}
	return nil
}

// opened reads the replies to a pipelined group.
func (c *client) opened() error {
	for _, step := range []struct {
		name string
		want int
	}{{"MAIL", 250}, {"RCPT", 250}, {"DATA", 354}} {
		if err := c.expect(step.want); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

// send writes message id with its end dot and, in the same write, the tail: the next group or QUIT,
// which RFC 2920 section 3.1 allows there.
func (c *client) send(m *message, id uint64, tail []byte) error {
	if len(m.body) <= smallMessage {
		c.out = m.wire(c.out[:0], id)
	} else {
		if _, err := c.conn.Write(m.header(c.out[:0], id)); err != nil {
			return err
		}
		if _, err := c.conn.Write(m.body); err != nil {
			return err
		}
		c.out = c.out[:0]
	}
	c.out = append(append(c.out, endDot...), tail...)
	_, err := c.conn.Write(c.out)
	return err
}

// expect reads one reply, which may have several lines, and compares its code.
func (c *client) expect(want int) error {
	for {
		line, err := c.line()
		if err != nil {
			return err
		}
		if len(line) < 4 {
			return &replyError{want, string(line)}
		}
		if line[3] == '-' {
			continue
		}
		if int(line[0]-'0')*100+int(line[1]-'0')*10+int(line[2]-'0') != want {
			return &replyError{want, string(line)}
		}
		return nil
	}
}

// line returns the next reply line without its line end; it is valid until the next call.
func (c *client) line() ([]byte, error) {
	for {
		if end := bytes.IndexByte(c.in[c.r:c.w], '\n'); end >= 0 {
			line := c.in[c.r : c.r+end]
			c.r += end + 1
			return bytes.TrimSuffix(line, []byte{'\r'}), nil
		}
		if c.r > 0 {
			c.w = copy(c.in, c.in[c.r:c.w])
			c.r = 0
		}
		if c.w == len(c.in) {
			return nil, fmt.Errorf("reply line longer than %d bytes", len(c.in))
		}
		n, err := c.conn.Read(c.in[c.w:])
		if n == 0 && err != nil {
			return nil, err
		}
		c.w += n
	}
}
