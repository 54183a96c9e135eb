package soak

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"
)

// acknowledged records what senders were promised: the number of each message by the spool id in
// its 250 reply.
type acknowledged struct {
	mu  sync.Mutex
	ids map[string]int
}

func (a *acknowledged) add(id string, number int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, twice := a.ids[id]; twice {
		return fmt.Errorf("the id %s was given to two messages", id)
	}
	a.ids[id] = number
	return nil
}

func (a *acknowledged) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.ids)
}

// sender sends messages one by one, each with a unique number, and reconnects when the edge goes
// away. A broken connection is expected here; a wrong reply is an error.
type sender struct {
	address string
	acks    *acknowledged
	number  func() int
	rand    *rand.Rand
}

func (s *sender) run(ctx context.Context) error {
	for ctx.Err() == nil {
		err := s.session(ctx)
		var wrong *wrongReply
		switch {
		case errors.As(err, &wrong):
			return err
		case err != nil:
			select { // the edge is down and will come back
			case <-ctx.Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	return nil
}

// wrongReply is a reply that a healthy edge does not give.
type wrongReply struct{ want, got string }

func (w *wrongReply) Error() string { return fmt.Sprintf("reply %q, want %s", w.got, w.want) }

// session sends some messages over one connection.
func (s *sender) session(ctx context.Context) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", s.address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	c := &smtpConn{conn: conn, r: bufio.NewReader(conn)}
	if _, err := c.expect("220"); err != nil {
		return err
	}
	if _, err := c.say("250", "EHLO sender.example.com\r\n"); err != nil {
		return err
	}
	for range 1 + s.rand.IntN(20) {
		if ctx.Err() != nil {
			break
		}
		if err := s.message(c); err != nil {
			return err
		}
	}
	_, err = c.say("221", "QUIT\r\n")
	return err
}

// message sends one message, by DATA or BDAT. Most are small; some are large enough for a file of
// their own in the spool.
func (s *sender) message(c *smtpConn) error {
	number := s.number()
	text := content(number, s.rand)
	envelope := "MAIL FROM:<sender@example.com>\r\nRCPT TO:<one@example.net>\r\nRCPT TO:<two@archive.example>\r\n"
	var reply string
	var err error
	if s.rand.IntN(2) == 0 {
		if err = c.write([]byte(envelope + "DATA\r\n")); err == nil {
			err = c.all("250", "250", "250", "354")
		}
		if err == nil {
			reply, err = c.say("250", string(text)+".\r\n")
		}
	} else {
		if err = c.write(fmt.Appendf([]byte(envelope), "BDAT %d LAST\r\n%s", len(text), text)); err == nil {
			err = c.all("250", "250", "250")
		}
		if err == nil {
			reply, err = c.expect("250")
		}
	}
	if err != nil {
		return err
	}
	_, id, ok := strings.Cut(reply, "stored as ")
	if !ok {
		return &wrongReply{want: "250 with a spool id", got: reply}
	}
	return s.acks.add(strings.TrimSpace(id), number)
}

// content returns a message with its number at the beginning and end, so that truncated or mixed-up
// messages are detected.
func content(number int, r *rand.Rand) []byte {
	size := 2000 + r.IntN(10_000)
	if r.IntN(20) == 0 {
		size = 300_000
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: sender@example.com\r\nSubject: number %d\r\n\r\nbegin %d %d\r\n", number, number, size)
	for b.Len() < size {
		fmt.Fprintf(&b, "line at %08d of message number %d, which says nothing else\r\n", b.Len(), number)
	}
	fmt.Fprintf(&b, "end %d\r\n", number)
	return b.Bytes()
}

type smtpConn struct {
	conn net.Conn
	r    *bufio.Reader
}

func (c *smtpConn) write(b []byte) error {
	_, err := c.conn.Write(b)
	return err
}

func (c *smtpConn) say(want, line string) (string, error) {
	if err := c.write([]byte(line)); err != nil {
		return "", err
	}
	return c.expect(want)
}

func (c *smtpConn) all(codes ...string) error {
	for _, code := range codes {
		if _, err := c.expect(code); err != nil {
			return err
		}
	}
	return nil
}

// expect reads one reply. A 421 means that the edge is shutting down, like a lost connection.
func (c *smtpConn) expect(want string) (string, error) {
	for {
		line, err := c.r.ReadString('\n')
		switch {
		case err != nil:
			return "", err
		case strings.HasPrefix(line, "421"):
			return "", io.EOF
		case !strings.HasPrefix(line, want):
			return "", &wrongReply{want: want, got: line}
		case len(line) > 3 && line[3] == ' ':
			return line, nil
		}
	}
}
