package mail_test

import (
	"bufio"
	"io"
	"log"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"anymx/edge/mail"
)

// heard is what a go-smtp backend received.
type heard struct{ from, to string }

func (h *heard) NewSession(*smtp.Conn) (smtp.Session, error) { return h, nil }
func (h *heard) Reset()                                      {}
func (h *heard) Logout() error                               { return nil }
func (h *heard) Mail(from string, _ *smtp.MailOptions) error { h.from = from; return nil }
func (h *heard) Rcpt(to string, _ *smtp.RcptOptions) error   { h.to = to; return nil }
func (h *heard) Data(r io.Reader) error                      { _, err := io.Copy(io.Discard, r); return err }

// goSMTP is a session with a go-smtp server over an in-memory connection.
type goSMTP struct {
	t     *testing.T
	conn  net.Conn
	lines *bufio.Reader
	heard *heard
}

func dialGoSMTP(t *testing.T) *goSMTP {
	client, server := net.Pipe()
	h := &heard{}
	s := smtp.NewServer(h)
	s.Domain, s.MaxLineLength, s.EnableSMTPUTF8, s.EnableDSN = "test.example", 4000, true, true
	s.ErrorLog = log.New(io.Discard, "", 0)
	l := &oneConn{conn: make(chan net.Conn, 1)}
	l.conn <- server
	done := make(chan struct{})
	go func() { defer close(done); s.Serve(l) }()
	t.Cleanup(func() { client.Close(); s.Close(); <-done })
	client.SetDeadline(time.Now().Add(30 * time.Second))
	g := &goSMTP{t: t, conn: client, lines: bufio.NewReader(client), heard: h}
	g.reply()
	g.say("EHLO client.example")
	return g
}

// oneConn is a listener of one connection.
type oneConn struct{ conn chan net.Conn }

func (l *oneConn) Accept() (net.Conn, error) {
	if c, ok := <-l.conn; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (l *oneConn) Close() error   { close(l.conn); return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

func (g *goSMTP) say(line string) string {
	g.t.Helper()
	if _, err := io.WriteString(g.conn, line+"\r\n"); err != nil {
		g.t.Fatalf("%q: %v", line, err)
	}
	return g.reply()
}

func (g *goSMTP) reply() string {
	g.t.Helper()
	for {
		line, err := g.lines.ReadString('\n')
		if err != nil {
			g.t.Fatal(err)
		}
		if len(line) < 4 || line[3] != '-' {
			return line
		}
	}
}

// TestPathAgreesWithGoSMTP sends each argument to go-smtp too: go-smtp must read what CutPath
// accepts as the same mailbox, or refuse it. Otherwise one command would have two meanings in one
// server.
func TestPathAgreesWithGoSMTP(t *testing.T) {
	g := dialGoSMTP(t)
	accepted := 0
	for _, arg := range []string{
		"<>", "<> BODY=8BITMIME", "<a@example.net>", " <a@example.net>", "a@example.net", "a@example.net SIZE=1",
		"<a%b@c.example>", "<a!b@c.example>", "<a@b@c>", "a@b@c", "<a@b>c@d>", "<a@b>c@d", "<a@b> c@d", "<a@b>SIZE=1", "<a@b", "a@b>",
		"<@one.example,@two.example:a@example.net>", "@one.example:a@example.net", "<@x@y:a@b>", "<@one:@two:a@b>",
		`<"a"@b>`, `<"a b"@b>`, `<"a@b"@c>`, `<"a\"b"@c>`, `<"a>b"@c>`, `<"a\>b"@c> SIZE=1`, `<"a"b@c>`, `<"a" @c>`, `<"">`, `<""@b>`,
		"<a@[192.0.2.1]>", "<a@[IPv6:2001:db8::1]>", "<a@[IPv6:2001:db8::1]:25>", "<jörg@bücher.example> SMTPUTF8",
		"<a@b。c> SMTPUTF8", "<a..b@c>", "<a@b.>", "<a\tb@c>", "<a@b\t>", "<a@b>\tSIZE=1", "<>\tSIZE=1", "<a@b >", "< a@b>", "<a,b@c>", "<a@b,c@d>", "<a@b;c>",
		"<(a)b@c>", "<a@(b)c>", "<postmaster>", "postmaster", "<" + strings.Repeat("a", 128) + "@b.example>",
	} {
		g.say("RSET")
		*g.heard = heard{from: "nothing", to: "nothing"}
		reply := g.say("MAIL FROM:" + arg)
		p, _, err := mail.CutPath(arg)
		if err != nil {
			continue
		}
		accepted++
		if p.IsPostmaster() && p.Domain == "" {
			// Ours is right (RFC 5321 section 4.5.1), go-smtp knows no bare postmaster.
			if strings.HasPrefix(reply, "250") {
				t.Errorf("%q: go-smtp accepts it now, as %q", arg, g.heard.from)
			}
			continue
		}
		want := p.Local + "@" + p.Domain
		if p.IsNull() {
			want = ""
		}
		if strings.HasPrefix(reply, "250") && g.heard.from != want {
			t.Errorf("%q: we read %q, go-smtp %q", arg, want, g.heard.from)
		}
		if p.IsNull() {
			continue
		}
		g.say("RSET")
		g.say("MAIL FROM:<>")
		if reply := g.say("RCPT TO:" + strings.TrimSuffix(strings.TrimSuffix(arg, " SMTPUTF8"), " SIZE=1")); strings.HasPrefix(reply, "250") && g.heard.to != want {
			t.Errorf("%q: we read %q, go-smtp %q", arg, want, g.heard.to)
		}
	}
	if accepted < 15 {
		t.Errorf("only %d arguments were compared", accepted)
	}
}
