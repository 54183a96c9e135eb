package wire

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"anymx/edge/mail"
	"anymx/tests/kit"
)

// TestDialogues plays the stories in testdata/dialogues, each twice: with
// go-smtp from the banner on, and with clients that begin in the lobby. A line
// of a story is
//
//	# a comment
//	server KEY=VALUE ...   settings, before the first connection; see configure
//	client NAME            switches to another connection, opened at its first use
//	C: BYTES               sent as they stand, with \r \n \t \0 \xHH \\ and {x*N} for
//	                       N times x; C lines in a row go out in one write
//	S: LINE                the server's next line, where * stands for anything
//	N x C: or N x S:       the same N times
//	reply CODE             a whole reply, of any number of lines
//	D: BYTES               the next message that was delivered
//	writes N               the server has called write N times since the last "writes"
//	starttls               upgrades the connection; the 220 has been read
//	close, half-close      by the client
//	expect-close           the server closes, and says nothing more
//	ended REASON           why the server ended the connection that was closed last
//	drain, undrain         SetDraining
//	shutdown               Registry.Close, which must end by itself
//	wait DURATION          the client does nothing
//	open N                 waits until the server has N connections open
//
// At its end nothing may have been delivered that no D line told of, and every
// counter must be back at zero.
func TestDialogues(t *testing.T) {
	kit.EachStory(t, "testdata/dialogues/*.txt", func(text kit.Story) {
		for _, lobby := range []bool{false, true} {
			text.T.Run(map[bool]string{false: "from the banner on", true: "from the lobby"}[lobby], func(t *testing.T) {
				t.Parallel()
				s := &story{Story: text, t: t, lobby: lobby, name: "a", clients: map[string]*client{}}
				s.T = t
				s.play()
			})
		}
	})
}

type story struct {
	kit.Story
	t      *testing.T
	set    Settings
	lmtp   bool
	lobby  bool
	server *server

	clients map[string]*client
	name    string
	writes  int64
}

type client struct {
	conn net.Conn
	r    *bufio.Reader
	sent chan error // of the write that is going on, if any
}

func (s *story) play() {
	s.Play(s.step, s.send)
	for _, c := range s.clients {
		_ = c.conn.Close()
		if c.sent != nil {
			<-c.sent
		}
	}
	if s.server == nil {
		s.Fatal("nothing happens")
	}
	s.server.settled(0)
	if d, ok := s.server.backend.next(); ok {
		s.Fatal("delivered, but not expected: %q", d.body)
	}
}

func (s *story) step(word, rest string) {
	if word == "server" {
		s.configure(rest)
		return
	}
	if step, ok := steps[word]; ok {
		step(s, rest)
		return
	}
	s.Fatal("what is %q?", word)
}

var steps = map[string]func(*story, string){
	"S:":     func(s *story, pattern string) { s.Expect(s.readLine(), pattern) },
	"D:":     (*story).delivered,
	"reply":  (*story).reply,
	"client": func(s *story, name string) { s.name = name; s.client() },
	"writes": func(s *story, n string) {
		now := s.server.writes.Load()
		if got := now - s.writes; strconv.FormatInt(got, 10) != n {
			s.Fatal("%d writes, not %s", got, n)
		}
		s.writes = now
	},
	"starttls": func(s *story, _ string) {
		c := s.client()
		conn := tls.Client(c.conn, clientTLS())
		if err := conn.Handshake(); err != nil {
			s.Fatal("handshake: %v", err)
		}
		c.conn, c.r = conn, bufio.NewReader(conn)
	},
	"close": func(s *story, _ string) { _ = s.client().conn.Close() },
	"half-close": func(s *story, _ string) {
		_ = s.client().conn.(interface{ CloseWrite() error }).CloseWrite()
	},
	"expect-close": func(s *story, _ string) {
		line, err := s.client().r.ReadString('\n')
		if !errors.Is(err, io.EOF) || line != "" {
			s.Fatal("not closed: %q, %v", line, err)
		}
		_ = s.client().conn.Close()
	},
	"ended": func(s *story, reason string) {
		select {
		case stats := <-s.server.closed:
			if stats.Reason != reason {
				s.Fatal("ended by %q, not %q", stats.Reason, reason)
			}
		case <-time.After(kit.Patience):
			s.Fatal("not ended")
		}
	},
	"drain":   func(s *story, _ string) { s.client(); s.server.registry.SetDraining(true) },
	"undrain": func(s *story, _ string) { s.server.registry.SetDraining(false) },
	"shutdown": func(s *story, _ string) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		s.t.Cleanup(cancel)
		closed := make(chan int, 1)
		go func() { closed <- s.server.registry.Close(ctx) }()
		s.t.Cleanup(func() {
			if cut := <-closed; cut != 0 {
				s.t.Errorf("%s: %d connections were cut", s.File, cut)
			}
		})
	},
	"wait": func(s *story, d string) {
		wait, err := time.ParseDuration(d)
		if err != nil {
			s.Fatal("%v", err)
		}
		time.Sleep(wait) // the client is slow, that is the story
	},
	"open": func(s *story, n string) {
		open, _ := strconv.Atoi(n)
		s.server.settled(open)
	},
}

// configure sets up the server.
func (s *story) configure(settings string) {
	limits := &s.set.Limits
	for _, setting := range strings.Fields(settings) {
		key, value, _ := strings.Cut(setting, "=")
		n, _ := strconv.ParseInt(value, 10, 64)
		d, _ := time.ParseDuration(value)
		switch key {
		case "max-line":
			limits.MaxLine = int(n)
		case "max-text":
			limits.MaxTextLine = int(n)
		case "max-message":
			limits.MaxMessage = n
		case "max-commands":
			limits.MaxCommands = int(n)
		case "max-errors":
			limits.MaxErrors = int(n)
		case "max-connections":
			limits.MaxConnections = int(n)
		case "max-per-prefix":
			limits.MaxPerPrefix = int(n)
		case "command-timeout":
			limits.CommandTimeout = d
		case "data-timeout":
			limits.DataTimeout = d
		case "write-timeout":
			limits.WriteTimeout = d
		case "handshake-timeout":
			limits.HandshakeTimeout = d
		case "session-timeout":
			limits.SessionTimeout = d
		case "proxy-timeout":
			limits.ProxyTimeout = d
		case "banner-delay":
			limits.BannerDelay = d
		case "min-rate":
			limits.MinRate = n
		case "grace":
			limits.MinRateGrace = d
		case "proxy":
			limits.ProxyFrom = []netip.Prefix{loopback}
		case "tls":
			s.set.TLS = serverTLS()
		case "lmtp":
			s.lmtp = true
		case "extensions":
			s.set.Extensions = func(*Conn) []string { return []string{"LIMITS RCPTMAX=100", "XTEST"} }
		case "hook":
			s.set.Command = hook
		default:
			s.Fatal("no setting %q", key)
		}
	}
}

// hook is a Settings.Command that shows what one can do.
func hook(c *Conn, cmd Command) Answer {
	reply := mail.Reply{Code: 550, Enhanced: mail.Enhanced{5, 7, 1}, Text: "not by this hook"}
	switch {
	case cmd.Verb == "XHELLO":
		return Answer{Reply: mail.Reply{Code: 250, Text: "hello\n" + string(cmd.Arg)}}
	case cmd.Verb == "XBYE":
		return Answer{Reply: mail.Reply{Code: 421, Enhanced: mail.Enhanced{4, 7, 0}, Text: "bye"}}
	case cmd.Verb == "XNOOP":
		return Answer{Line: "NOOP"}
	case cmd.Verb == "RCPT" && string(cmd.Arg) == "TO:<postmaster>":
		return Answer{Line: "RCPT TO:<postmaster@mx.test>"}
	case cmd.Verb == "BDAT", cmd.Verb == "DATA":
		return Answer{Reply: reply}
	}
	return Answer{}
}

// client is the one in hand, connected.
func (s *story) client() *client {
	if s.server == nil {
		s.server = serve(s.t, s.set, s.lmtp)
		if s.lobby {
			s.server.openLobby()
		}
	}
	c := s.clients[s.name]
	if c == nil {
		conn, err := net.Dial("tcp", s.server.addr)
		if err != nil {
			s.Fatal("%v", err)
		}
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		c = &client{conn: conn, r: bufio.NewReader(conn)}
		s.clients[s.name] = c
	}
	return c
}

// send writes text beside what the story does next: server and
// client may have to read while the other writes.
func (s *story) send(text []byte) {
	c := s.client()
	if c.sent != nil {
		if err := <-c.sent; err != nil {
			s.Fatal("write: %v", err)
		}
	}
	c.sent = make(chan error, 1)
	go func() {
		_, err := c.conn.Write(text)
		c.sent <- err
	}()
}

func (s *story) readLine() string {
	line, err := s.client().r.ReadString('\n')
	if err != nil {
		s.Fatal("read: %q, %v", line, err)
	}
	if !strings.HasSuffix(line, "\r\n") {
		s.Fatal("line without CRLF: %q", line)
	}
	return strings.TrimSuffix(line, "\r\n")
}

func (s *story) reply(code string) {
	for {
		line := s.readLine()
		if !strings.HasPrefix(line, code) {
			s.Fatal("got %q", line)
		}
		if line[len(code)] == ' ' {
			return
		}
	}
}

func (s *story) delivered(body string) {
	want := string(s.Unescape(body))
	d, ok := s.server.backend.next()
	if !ok {
		s.Fatal("nothing was delivered")
	}
	if string(d.body) != want {
		s.Fatal("delivered %q", d.body)
	}
}
