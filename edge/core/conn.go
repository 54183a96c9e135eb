package core

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"anymx/edge/mail"

	"github.com/emersion/go-smtp"
)

// Limits of what is read from an edge.
const (
	maxCommand = 4096            // bytes of a command line with its CRLF
	silence    = 5 * time.Minute // before a command, and within a message
	patience   = time.Minute     // for our replies to be taken
)

// Faults of a message. In DATA each ends the connection: go-smtp might end the message at another place
// than conn, and take the rest for commands.
var (
	errBareLF = fault("bare LF in message")
	errBareCR = fault("bare CR in message")
	errNUL    = fault("NUL in message")
)

func fault(text string) error {
	return &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 6, 0}, Message: text}
}

// conn is an edge's connection as go-smtp sees it. It gives go-smtp one command for each Read, and
// answers what go-smtp does not know: XFORWARD. It gathers replies until it has to wait for the edge.
//
// A message passes as it is. A line end other than CRLF, or a NUL, ends it.
type conn struct {
	net.Conn
	server  *Server
	in      *bufio.Reader
	session *session // nil before EHLO

	line  []byte // what go-smtp has still to read of the command
	verb  string // of the command
	arg   string // and what follows it
	hello string // the verb of the last greeting
	state state
	left  int64 // bytes of the chunk
	last  bool  // it is the last one
	text  text  // of the message
	ended bool  // nothing more is read

	mu      sync.Mutex // with LMTP go-smtp reads and writes from two goroutines; Close is called by a third
	out     []byte
	waiting bool // for a command, outside of a transaction
	leaving bool // the edge should go, as soon as it has no transaction open
}

// state is what the next Read gives.
type state uint8

const (
	commands state = iota
	message        // until CRLF.CRLF
	chunk          // left bytes
)

func newConn(sock net.Conn, s *Server) *conn {
	return &conn{Conn: sock, server: s, in: bufio.NewReaderSize(sock, maxCommand)}
}

// Read gives go-smtp the next command, or the next part of a message.
func (c *conn) Read(p []byte) (int, error) {
	for {
		switch {
		case len(c.line) > 0:
			n := copy(p, c.line)
			c.line = c.line[n:]
			return n, nil
		case c.ended:
			return 0, io.EOF
		case c.state == message, c.state == chunk && c.left > 0:
			return c.readText(p)
		}
		c.state = commands
		if err := c.next(); err != nil {
			return 0, err
		}
	}
}

// next reads a command, and sets line unless it is answered here.
func (c *conn) next() error {
	line, err := c.readLine()
	if err != nil || c.ended {
		return err
	}
	verb, arg, _ := strings.Cut(strings.TrimRight(line, " \t\r\n"), " ")
	c.verb, c.arg = strings.ToUpper(verb), strings.Trim(arg, " \t")
	if c.isLeaving() && !c.inTransaction() && c.verb != "QUIT" {
		return os.ErrDeadlineExceeded // go-smtp answers 421
	}
	switch c.verb {
	case "XFORWARD":
		if c.session == nil {
			c.say(reply(503, 5, 5, 1, "send EHLO first"))
		} else {
			c.say(c.session.forwarded(c.arg))
		}
		return nil
	case "EHLO", "HELO", "LHLO":
		c.hello = c.verb
	case "MAIL":
		c.text = text{}
	case "BDAT":
		size, last, ok := parseChunk(c.arg)
		if !ok { // where the chunk ends is unknown
			c.end(reply(501, 5, 5, 4, "BDAT requires a size, closing"))
			return nil
		}
		c.state, c.left, c.last = chunk, size, last
	case "RCPT":
		// RFC 5321 section 4.5.1: go-smtp refuses a postmaster without a domain.
		if p, rest, err := cutPath(c.arg, "TO:"); err == nil && p.IsPostmaster() && p.Domain == "" {
			line = "RCPT TO:<" + p.Local + "@" + c.server.options.Hostname + ">" + rest + "\r\n"
		}
	}
	c.line = []byte(line)
	return nil
}

// parseChunk parses "SIZE" or "SIZE LAST", as go-smtp does.
func parseChunk(arg string) (size int64, last, ok bool) {
	words := strings.Fields(arg)
	if len(words) == 0 || len(words) > 2 {
		return 0, false, false
	}
	n, err := strconv.ParseUint(words[0], 10, 32)
	last = len(words) == 2 && strings.EqualFold(words[1], "LAST")
	return int64(n), last, err == nil && last == (len(words) == 2)
}

// readLine returns a command with its CRLF, after all replies are sent.
func (c *conn) readLine() (string, error) {
	if err := c.await(); err != nil {
		return "", err
	}
	line, err := c.in.ReadSlice('\n')
	c.mu.Lock()
	c.waiting = false
	c.mu.Unlock()
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		c.end(reply(500, 5, 5, 2, "line too long, closing"))
		return "", nil
	case err != nil:
		return "", err
	case !clean(line):
		c.end(reply(500, 5, 5, 2, "bare CR, bare LF or NUL in command, closing"))
		return "", nil
	}
	return string(line), nil
}

// clean reports whether a line ends with CRLF and has no other CR, and no NUL.
func clean(line []byte) bool {
	body, ok := bytes.CutSuffix(line, []byte("\r\n"))
	return ok && bytes.IndexByte(body, '\r') < 0 && bytes.IndexByte(body, 0) < 0
}

// await sends the replies unless a command is there already, and sets how long one may take.
func (c *conn) await() error {
	if b, _ := c.in.Peek(c.in.Buffered()); bytes.IndexByte(b, '\n') >= 0 {
		return nil
	}
	if err := c.flush(); err != nil {
		return err
	}
	open := c.inTransaction()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leaving && !open {
		return os.ErrDeadlineExceeded
	}
	c.waiting = !open
	return c.SetReadDeadline(time.Now().Add(silence))
}

// leave tells an edge that has no transaction open to go, and others when they have none.
func (c *conn) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaving = true
	if c.waiting {
		_ = c.SetReadDeadline(time.Unix(1, 0)) // closed already, or it wakes the reader
	}
}

func (c *conn) isLeaving() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leaving
}

func (c *conn) inTransaction() bool { return c.session != nil && c.session.isOpen() }

// readText reads a part of the message, and never more than that.
func (c *conn) readText(p []byte) (int, error) {
	if c.in.Buffered() == 0 {
		if err := c.flush(); err != nil {
			return 0, err
		}
		if err := c.SetReadDeadline(time.Now().Add(silence)); err != nil {
			return 0, err
		}
		if _, err := c.in.Peek(1); err != nil {
			c.ended = true
			return 0, io.ErrUnexpectedEOF // io.EOF would end a chunk as if it were whole
		}
	}
	n := min(len(p), c.in.Buffered())
	if c.state == chunk {
		n = int(min(int64(n), c.left))
	}
	b, _ := c.in.Peek(n) // it is buffered
	var over bool
	if c.state == message {
		n, over = c.text.end(b)
		b = b[:n]
	}
	err := c.text.check(b)
	if c.left -= int64(n); c.state == chunk {
		if c.left == 0 && c.last && err == nil && c.text.cr {
			err = errBareCR
		}
		if c.text.fault == nil {
			c.text.fault = err // where the chunk ends is sure: the session refuses the message
		}
	} else if err != nil {
		c.ended = true
		return 0, err
	}
	copy(p, b)
	_, _ = c.in.Discard(n)
	if over {
		c.state = commands
	}
	return n, nil
}

// Write takes a reply of go-smtp. It is sent before the next wait for the edge.
func (c *conn) Write(p []byte) (int, error) {
	switch {
	case c.verb == "DATA" && bytes.HasPrefix(p, []byte("354 ")):
		c.state, c.verb, c.text = message, "", text{}
	case c.greets() && bytes.HasPrefix(p, []byte("250-Hello ")):
		// RFC 5321 section 4.1.1.1: the first word is our name.
		c.add("250-" + c.server.options.Hostname + "\r\n250-" + xforwardKeyword + "\r\n")
		return len(p), nil
	case c.greets() && string(p) == "250-SIZE\r\n" && c.server.options.MaxMessage > 0:
		c.add(fmt.Sprintf("250-SIZE %d\r\n", c.server.options.MaxMessage))
		return len(p), nil
	}
	c.add(string(p))
	return len(p), nil
}

func (c *conn) greets() bool { return c.verb == "EHLO" || c.verb == "LHLO" }

func (c *conn) add(s string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = append(c.out, s...)
}

// say adds a reply that go-smtp does not know of.
func (c *conn) say(r mail.Reply) { c.add(r.String() + "\r\n") }

// end adds the last reply.
func (c *conn) end(r mail.Reply) {
	c.say(r)
	c.ended = true
}

// flush sends what was gathered in one write.
func (c *conn) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.out) == 0 {
		return nil
	}
	if err := c.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := c.Conn.Write(c.out)
	c.out = c.out[:0]
	return err
}

// Close sends what is left to say.
func (c *conn) Close() error {
	err := c.flush()
	if err == nil {
		c.linger()
	}
	err = errors.Join(err, c.Conn.Close())
	c.server.conns.remove(c)
	return err
}

// linger reads, for a moment, what the edge is still sending: closing a socket with unread bytes
// resets it, and the edge would not see the last reply.
func (c *conn) linger() {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if ok && half.CloseWrite() == nil && c.SetReadDeadline(time.Now().Add(time.Second)) == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(c.Conn, 1<<20))
	}
}

// text is what is known of a message so far. The zero text is one at its beginning.
type text struct {
	dots uint8 // how many bytes of ".CRLF" were seen at the beginning of a line
	cr   bool  // the last byte was a CR
	in   bool  // the last byte is within a line
	// fault is the first one of a message in chunks. The session may look at it after the last one.
	fault error
}

// end returns how many bytes of b belong to a message that ends with ".CRLF" (RFC 5321 section
// 4.5.2), and whether that was seen.
func (t *text) end(b []byte) (n int, over bool) {
	for n < len(b) {
		switch c := b[n]; {
		case t.dots == 0 && !t.in && c == '.', t.dots == 1 && c == '\r':
			t.dots++
		case t.dots == 2 && c == '\n':
			return n + 1, true
		default:
			t.dots = 0
			t.in = c != '\n'
		}
		n++
	}
	return n, false
}

// check finds line ends other than CRLF, and NULs.
func (t *text) check(b []byte) error {
	for _, c := range b {
		switch {
		case c == 0:
			return errNUL
		case c == '\n' && !t.cr:
			return errBareLF
		case c != '\n' && t.cr:
			return errBareCR
		}
		t.cr = c == '\r'
	}
	return nil
}
