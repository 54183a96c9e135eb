// Package smtptest is an SMTP and LMTP server for tests of what speaks to one:
// small, permissive, and able to fail at any step.
//
// What happens to the data: a session's commands are answered in their order,
// replies are written when no more command is waiting, and a message that was
// taken is kept in memory, unless Discard is set. Before each answer the Hook
// may put another one in its place, block, or end the connection.
package smtptest

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"testing"
)

// Step is a point at which a server can fail.
type Step struct {
	Conn int    // number of the connection, from 0
	N    int    // number of the step within the connection, from 0
	Verb string // CONNECT, EHLO (HELO, LHLO too), STARTTLS, XFORWARD, XCLIENT, RSET, MAIL, RCPT, DATA, BODY, END, QUIT, NOOP
	Line string // the command; "" at CONNECT, BODY and END
	Rcpt int    // at END in LMTP: which of the recipients taken
}

// Action is what happens at a Step. The zero Action is the ordinary answer.
type Action struct {
	Reply string // instead of the ordinary one, without its CRLF; lines parted by CRLF
	Raw   string // written as it is, behind the reply
	Close bool   // then close; at BODY, when After octets were read
	Reset bool   // like Close, by RST
	After int64
}

// Message is one that was taken.
type Message struct {
	Conn     int
	From     string // the argument of MAIL, parameters included
	To       []string
	XForward string // the arguments of XFORWARD since the last message
	XClient  string // the arguments of the last XCLIENT
	Chunked  bool   // came by BDAT
	TLS      bool
	Body     []byte // unstuffed; nil with Discard
}

// Server is configured by its fields before Start or Dial.
type Server struct {
	LMTP       bool
	Extensions []string    // EHLO lines; STARTTLS is left out under TLS
	TLS        *tls.Config // for STARTTLS
	Discard    bool        // keep no message, only their number
	Hook       func(Step) Action
	Script     *Script // for the first message; nil: none

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]bool
	count    int
	taken    int
	scripted bool // Script was played
	messages []Message
	done     chan struct{}
	wait     sync.WaitGroup
}

// All is the extensions of a full server.
func All() []string {
	return []string{"PIPELINING", "SIZE 0", "8BITMIME", "SMTPUTF8", "CHUNKING", "DSN", "ENHANCEDSTATUSCODES",
		"XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE"}
}

// Start listens on loopback and serves until the test ends.
func Start(t testing.TB, s *Server) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Serve(l)
	t.Cleanup(s.Close)
	return s
}

// Serve starts to serve l in the background; Close ends that.
func (s *Server) Serve(l net.Listener) {
	s.init()
	s.mu.Lock()
	s.listener = l
	s.mu.Unlock()
	s.wait.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.start(conn)
		}
	})
}

func (s *Server) init() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done == nil {
		s.done, s.conns = make(chan struct{}), make(map[net.Conn]bool)
	}
}

// Addr is where Serve listens.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listener.Addr().String()
}

// Dial is for smtpc's Options.Dial: a connection in memory, whatever the
// address is.
func (s *Server) Dial(context.Context, string, string) (net.Conn, error) {
	s.init()
	near, far := net.Pipe()
	if !s.start(far) {
		near.Close()
		return nil, errors.New("smtptest: server is closed")
	}
	return near, nil
}

func (s *Server) start(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.done:
		conn.Close()
		return false
	default:
	}
	number := s.count
	s.count++
	s.conns[conn] = true
	s.wait.Go(func() {
		newSession(s, conn, number).run()
		conn.Close()
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
	})
	return true
}

// Done is closed by Close: what a Hook that blocks has to watch.
func (s *Server) Done() <-chan struct{} { s.init(); return s.done }

// Close ends all and waits for it. Later calls do nothing.
func (s *Server) Close() {
	s.init()
	s.mu.Lock()
	select {
	case <-s.done:
	default:
		close(s.done)
	}
	if s.listener != nil {
		s.listener.Close()
	}
	for conn := range s.conns {
		conn.Close()
	}
	s.mu.Unlock()
	s.wait.Wait()
}

// Kick closes the connections that are open, and goes on listening.
func (s *Server) Kick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		conn.Close()
	}
}

// Messages are those taken so far.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Message(nil), s.messages...)
}

// Taken is the number of messages taken so far.
func (s *Server) Taken() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken
}

// Conns is the number of connections made so far, Open of those that still are.
func (s *Server) Conns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// Open is the number of connections that are open now.
func (s *Server) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// takeScript returns the Script the first time, and nil later.
func (s *Server) takeScript() *Script {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.scripted {
		return nil
	}
	s.scripted = true
	return s.Script
}

func (s *Server) store(m Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken++; !s.Discard {
		s.messages = append(s.messages, m)
	}
}
