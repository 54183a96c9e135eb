// Package smtptest is an SMTP and LMTP server for tests of clients: small, permissive, and able to
// fail at any step.
//
// What happens to the data: a session replies to commands in their order, writes the replies when
// no more command is waiting, and keeps accepted messages in memory unless Discard is set. Before
// each reply the Hook may replace it, block, or end the connection.
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
	Rcpt int    // at END in LMTP: index of the accepted recipient
}

// Action is what happens at a Step. The zero Action is the ordinary reply.
type Action struct {
	Reply string // instead of the ordinary one, without its final CRLF; CRLF separates lines
	Raw   string // written unchanged after the reply
	Close bool   // then close; at BODY, after reading After bytes
	Reset bool   // like Close, by RST
	After int64
}

// Message is a message that was accepted.
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
	Discard    bool        // count messages, but don't keep them
	Hook       func(Step) Action
	Script     *Script // for the first message; nil: none

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]bool
	count    int
	accepted int
	scripted bool // Script was played
	messages []Message
	done     chan struct{}
	wait     sync.WaitGroup
}

// All returns the extensions of a full server.
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

// Addr returns where Serve listens.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listener.Addr().String()
}

// Dial opens a connection in memory, whatever the address is. Use it as Dial of smtpc.Options.
func (s *Server) Dial(context.Context, string, string) (net.Conn, error) {
	s.init()
	client, server := net.Pipe()
	if !s.start(server) {
		client.Close()
		return nil, errors.New("smtptest: server is closed")
	}
	return client, nil
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

// Done returns a channel that Close closes. A Hook that blocks has to watch it.
func (s *Server) Done() <-chan struct{} { s.init(); return s.done }

// Close ends all sessions and waits for them. Later calls do nothing.
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

// Messages returns the messages accepted so far.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Message(nil), s.messages...)
}

// Accepted returns the number of messages accepted so far.
func (s *Server) Accepted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

// Conns returns the number of connections made so far.
func (s *Server) Conns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// Open returns the number of connections that are open now.
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
	if s.accepted++; !s.Discard {
		s.messages = append(s.messages, m)
	}
}
