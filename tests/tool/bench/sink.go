package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"
)

// sink is the SMTP server that the systems relay to. It answers pipelined commands in one write, stores
// nothing, and checks off messages in its tally. It is the cheapest server that still checks what it
// gets: the count, the numbers and the bytes of each body.
type sink struct {
	listener net.Listener
	tally    *tally
	sessions sync.WaitGroup

	mu   sync.Mutex
	open map[net.Conn]struct{}
}

// sinkSilence is how long a client of the sink may stay silent.
const sinkSilence = 10 * time.Minute

// newSink listens on address. Call serve to accept connections.
func newSink(address string, t *tally) (*sink, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("sink: %w", err)
	}
	return &sink{listener: l, tally: t, open: map[net.Conn]struct{}{}}, nil
}

// serve accepts connections until close. It returns after the last session has ended.
func (s *sink) serve() {
	defer s.sessions.Wait()
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.open[conn] = struct{}{}
		s.mu.Unlock()
		s.sessions.Go(func() {
			session := sinkSession{conn: conn, tally: s.tally, in: make([]byte, 64<<10)}
			if err := session.run(); err != nil && !errors.Is(err, net.ErrClosed) {
				s.tally.complain(err)
			}
			conn.Close()
			s.mu.Lock()
			delete(s.open, conn)
			s.mu.Unlock()
		})
	}
}

// close stops the listener and every session.
func (s *sink) close() {
	s.listener.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.open {
		conn.Close()
	}
}

// sinkSession is one connection to the sink.
type sinkSession struct {
	conn  net.Conn
	tally *tally
	in    []byte
	r, w  int    // in[r:w] is unread
	out   []byte // replies not yet written
	id    uint64 // number of the message, from its first recipient
	named bool   // id is set
	chunk blankScan
	bdat  bool // the last BDAT had no LAST
}

// errQuit ends a session after QUIT.
var errQuit = errors.New("QUIT")

// run serves the session. It returns nil after QUIT and when the client closes between messages.
func (s *sinkSession) run() error {
	if err := s.conn.SetDeadline(time.Now().Add(sinkSilence)); err != nil {
		return err
	}
	s.reply("220 sink.example.net ESMTP\r\n")
	for {
		line, err := s.line()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		err = s.command(line)
		if errors.Is(err, errQuit) {
			return s.flush()
		}
		if err != nil {
			return err
		}
	}
}

// command answers one command. The line is only valid until more is read.
func (s *sinkSession) command(line []byte) error {
	switch verb(line) {
	case "EHLO", "LHLO":
		s.reply("250-sink.example.net\r\n250-PIPELINING\r\n250-SIZE 0\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n" +
			"250-CHUNKING\r\n250-DSN\r\n250 ENHANCEDSTATUSCODES\r\n")
	case "HELO":
		s.reply("250 sink.example.net\r\n")
	case "MAIL":
		s.named = false
		s.reply("250 2.1.0 ok\r\n")
	case "RCPT":
		if !s.named {
			s.id, s.named = recipientID(line)
		}
		s.reply("250 2.1.5 ok\r\n")
	case "DATA":
		s.reply("354 go\r\n")
		return s.data()
	case "BDAT":
		return s.bdatChunk(line)
	case "RSET":
		s.named, s.bdat = false, false
		s.reply("250 2.0.0 ok\r\n")
	case "NOOP":
		s.reply("250 2.0.0 ok\r\n")
	case "QUIT":
		s.reply("221 2.0.0 bye\r\n")
		return errQuit
	default:
		s.reply("500 5.5.1 what\r\n")
	}
	return nil
}

// verb is the first word of a command in upper case, for words of four letters.
func verb(line []byte) string {
	if len(line) < 4 {
		return ""
	}
	var v [4]byte
	for i := range v {
		v[i] = line[i] &^ 0x20
	}
	return string(v[:])
}

// data reads a message up to its end dot.
func (s *sinkSession) data() error {
	if err := s.conn.SetDeadline(time.Now().Add(sinkSilence)); err != nil {
		return err
	}
	var scan endScan
	for {
		used, ended := scan.scan(s.in[s.r:s.w])
		s.r += used
		if ended {
			s.done(scan.content())
			return nil
		}
		if err := s.fill(); err != nil {
			return fmt.Errorf("inside DATA: %w", err)
		}
	}
}

// bdatChunk reads one chunk (RFC 3030 section 2).
func (s *sinkSession) bdatChunk(line []byte) error {
	words := bytes.Fields(line)
	if len(words) < 2 || len(words) > 3 {
		return fmt.Errorf("bad command %q", line)
	}
	size, err := strconv.Atoi(string(words[1]))
	if err != nil || size < 0 {
		return fmt.Errorf("bad command %q", line)
	}
	last := len(words) == 3 && bytes.EqualFold(words[2], []byte("LAST"))
	if !s.bdat {
		s.chunk = blankScan{}
	}
	s.bdat = !last
	for {
		n := min(size, s.w-s.r)
		s.chunk.scan(s.in[s.r : s.r+n])
		s.r += n
		if size -= n; size == 0 {
			break
		}
		if err := s.fill(); err != nil {
			return fmt.Errorf("inside BDAT: %w", err)
		}
	}
	if last {
		s.done(s.chunk.after)
		return nil
	}
	s.reply("250 2.0.0 ok\r\n")
	return nil
}

// done checks the message off and replies.
func (s *sinkSession) done(content int) {
	s.tally.arrived(s.id, s.named, content)
	s.named = false
	s.reply("250 2.0.0 ok\r\n")
}

// reply adds a reply to the next write.
func (s *sinkSession) reply(text string) { s.out = append(s.out, text...) }

// flush writes the replies.
func (s *sinkSession) flush() error {
	if len(s.out) == 0 {
		return nil
	}
	_, err := s.conn.Write(s.out)
	s.out = s.out[:0]
	return err
}

// line returns the next command without its line end; it is valid until the next fill.
func (s *sinkSession) line() ([]byte, error) {
	for {
		if end := bytes.IndexByte(s.in[s.r:s.w], '\n'); end >= 0 {
			line := s.in[s.r : s.r+end]
			s.r += end + 1
			return bytes.TrimSuffix(line, []byte{'\r'}), nil
		}
		if s.w-s.r == len(s.in) {
			return nil, fmt.Errorf("command longer than %d bytes", len(s.in))
		}
		if err := s.fill(); err != nil {
			return nil, err
		}
	}
}

// fill reads more. It writes the replies first, because the client may be waiting for them.
func (s *sinkSession) fill() error {
	if err := s.flush(); err != nil {
		return err
	}
	if s.r > 0 {
		s.w = copy(s.in, s.in[s.r:s.w])
		s.r = 0
	}
	n, err := s.conn.Read(s.in[s.w:])
	s.w += n
	if n > 0 {
		return nil
	}
	return err
}
