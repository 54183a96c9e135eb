package smtpd

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"anymx/edge/core"
	"anymx/edge/judge/policy"
	"anymx/edge/mail"
	"anymx/tests/kit"

	"github.com/emersion/go-smtp"
)

// TestOracle plays the dialogues against go-smtp's own server, with the rules of this one, and compares
// the reply codes with those that the dialogues want of this server. The differences must be those in
// testdata/differences/table.txt, neither more nor less.
func TestOracle(t *testing.T) {
	d := readDifferences(t)
	var mu sync.Mutex
	var found []difference
	t.Run("play", func(t *testing.T) {
		for _, pattern := range []string{"testdata/dialogues/*.txt", "testdata/*.txt"} {
			kit.EachStory(t, pattern, func(text kit.Story) {
				if d.lacks(text.Text) != "" {
					return
				}
				o := &oracle{Story: text, table: d, clients: map[string]*heard{}, name: "a"}
				o.play(strings.Contains(pattern, "dialogues"))
				mu.Lock()
				defer mu.Unlock()
				found = append(found, o.found...)
			})
		}
	})
	if t.Failed() {
		return
	}
	d.compare(t, found)
}

// oracle is a dialogue with go-smtp's server while it is played.
type oracle struct {
	kit.Story
	table   *differences
	set     Settings
	backend *oracleBackend
	address string
	clients map[string]*heard
	name    string
	found   []difference
}

// heard is a client and what it has read.
type heard struct {
	conn net.Conn
	r    *bufio.Reader
	lost bool // out of step with the dialogue: nothing more is compared
	sent sync.WaitGroup
}

// play plays a dialogue, or a story of TestStories.
func (o *oracle) play(dialogue bool) {
	o.set = dialogueSettings()
	if dialogue {
		o.Play(o.step, o.send)
	} else {
		o.set.Rules = rules()
		o.playStory()
	}
	for _, c := range o.clients {
		_ = c.conn.Close()
		c.sent.Wait()
	}
}

// step plays a step of a dialogue; those that no client can see are left out.
func (o *oracle) step(word, rest string) {
	switch word {
	case "server":
		s := &story{Story: o.Story, set: o.set}
		s.configure(rest)
		o.set = s.set
	case "client":
		o.name = rest
		o.client()
	case "S:":
		if rest[3] == ' ' {
			o.expect(rest[:3])
		}
	case "reply":
		o.expect(rest)
	case "starttls":
		if c := o.client(); !c.lost {
			c.conn = tls.Client(c.conn, clientTLS())
			c.r = bufio.NewReader(c.conn)
		}
	case "close":
		_ = o.client().conn.Close()
	case "half-close":
		_ = closeWrite(o.client().conn)
	case "expect-close":
		o.expectClose()
	case "D:":
		if c := o.client(); !c.lost && !bytes.Equal(o.Unescape(rest), o.backend.next()) {
			o.differs("stored", "stored otherwise")
		}
	}
}

// playStory plays a story: see TestStories.
func (o *oracle) playStory() {
	o.expect("220")
	for line := range strings.Lines(o.Text) {
		o.Line++
		verb, arg, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch verb {
		case "C:":
			o.send([]byte(strings.ReplaceAll(arg, `\r`, "\r") + "\r\n"))
		case "S:":
			code, _, _ := strings.Cut(arg, " ")
			o.expect(code)
		case "EOF":
			o.expectClose()
		}
	}
}

// client returns the one in hand, connected.
func (o *oracle) client() *heard {
	if o.address == "" {
		o.serve()
	}
	c := o.clients[o.name]
	if c == nil {
		conn, err := net.Dial("tcp", o.address)
		if err != nil {
			o.Fatal("%v", err)
		}
		c = &heard{conn: conn, r: bufio.NewReader(conn)}
		o.clients[o.name] = c
	}
	return c
}

// send writes text while the dialogue goes on.
func (o *oracle) send(text []byte) {
	c := o.client()
	c.sent.Wait()
	if !c.lost {
		c.sent.Go(func() { _, _ = c.conn.Write(text) })
	}
}

// quiet is how long a reply is waited for where the table says that there is none.
const quiet = 100 * time.Millisecond

// reply returns the code of the next reply, "closed", or "silent".
func (c *heard) reply() string {
	for {
		line, err := c.r.ReadString('\n')
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return "silent"
		case err != nil:
			return "closed"
		case len(line) > 4 && line[3] == ' ':
			return line[:3]
		}
	}
}

// expect compares the next reply with what this server says.
func (o *oracle) expect(code string) {
	c := o.client()
	if c.lost {
		return
	}
	patience := kit.Patience
	if o.table.knows(difference{place: o.stepName(), ours: code, theirs: "silent"}) {
		patience = quiet
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	got := c.reply()
	if !regexp.MustCompile("^(?:" + code + ")$").MatchString(got) {
		o.differs(code, got)
	}
	c.lost = got == "closed" || got == "silent"
}

// expectClose compares that this server closes with what go-smtp's says to the end. A QUIT of ours
// tells a server that waits from one that has closed.
func (o *oracle) expectClose() {
	c := o.client()
	if c.lost {
		return
	}
	c.lost = true
	c.sent.Wait()
	_, _ = io.WriteString(c.conn, "QUIT\r\n")
	_ = closeWrite(c.conn)
	_ = c.conn.SetReadDeadline(time.Now().Add(kit.Patience))
	var got []string
	for {
		code := c.reply()
		if code == "closed" {
			break
		}
		if code == "221" {
			code = "open"
		}
		got = append(got, code)
		if code == "silent" {
			break
		}
	}
	if len(got) > 0 {
		o.differs("closed", strings.Join(got, " "))
	}
}

func closeWrite(conn net.Conn) error {
	return conn.(interface{ CloseWrite() error }).CloseWrite()
}

func (o *oracle) differs(ours, theirs string) {
	o.found = append(o.found, difference{place: o.stepName(), ours: ours, theirs: theirs})
}

// stepName names the step in hand.
func (o *oracle) stepName() string {
	return fmt.Sprintf("%s:%d", strings.TrimSuffix(o.File, ".txt"), o.Line)
}

// serve starts go-smtp's server with the settings of the dialogue.
func (o *oracle) serve() {
	limits := o.set.Wire.Limits
	o.backend = &oracleBackend{set: o.set}
	s := smtp.NewServer(o.backend)
	s.Domain = o.set.Rules.Hostname
	s.MaxMessageBytes = o.set.Rules.MaxMessage
	s.MaxRecipients = o.set.Rules.MaxRecipients
	s.MaxLineLength = 2048
	if limits.MaxLine > 0 {
		s.MaxLineLength = limits.MaxLine
	}
	s.ReadTimeout = max(limits.CommandTimeout, limits.DataTimeout)
	s.TLSConfig = o.set.Wire.TLS
	s.EnableSMTPUTF8, s.EnableDSN, s.EnableREQUIRETLS = true, true, true
	s.ErrorLog = log.New(io.Discard, "", 0) // panics are meant
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		o.Fatal("%v", err)
	}
	served := make(chan struct{})
	go func() { defer close(served); _ = s.Serve(l) }()
	o.T.Cleanup(func() { _ = s.Close(); <-served })
	o.address = l.Addr().String()
}

// oracleBackend applies the rules and checks of this server, and records what is stored.
type oracleBackend struct {
	set Settings

	mu     sync.Mutex
	stored [][]byte
}

// next returns the oldest message that was not asked for; nil if there is none.
func (b *oracleBackend) next() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.stored) == 0 {
		return nil
	}
	text := b.stored[0]
	b.stored = b.stored[1:]
	return text
}

func (b *oracleBackend) NewSession(c *smtp.Conn) (smtp.Session, error) {
	return &oracleSession{b: b, conn: c}, nil
}

type oracleSession struct {
	b       *oracleBackend
	chunks  core.Chunks
	conn    *smtp.Conn
	open    bool
	utf8    bool
	last    string // local part of the last recipient
	rcpts   int
	refused int
}

func (s *oracleSession) Logout() error { return nil }

func (s *oracleSession) Reset() {
	s.chunks.Wait()
	s.open, s.utf8, s.last, s.rcpts = false, false, "", 0
}

// asError returns a refusal as go-smtp wants it; nil for the zero reply.
func asError(r mail.Reply) error {
	if r.Code == 0 {
		return nil
	}
	return &smtp.SMTPError{Code: r.Code, EnhancedCode: smtp.EnhancedCode{int(r.Enhanced[0]), int(r.Enhanced[1]), int(r.Enhanced[2])}, Message: r.Text}
}

var badPath = mail.Reply{Code: 501, Enhanced: mail.Enhanced{5, 1, 7}, Text: "bad address"}

func (s *oracleSession) Mail(from string, options *smtp.MailOptions) error {
	path, _, err := mail.CutPath("<" + from + ">")
	if err != nil {
		return asError(badPath)
	}
	_, secure := s.conn.TLSConnectionState()
	refusal := s.b.set.Rules.Mail(policy.Mail{
		Sender: path, Size: options.Size, TLS: secure, RequireTLS: options.RequireTLS, SMTPUTF8: options.UTF8, Open: s.open,
	})
	if refusal.Code == 0 {
		s.open, s.utf8 = true, options.UTF8
	}
	return asError(refusal)
}

func (s *oracleSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	path, _, err := mail.CutPath("<" + to + ">")
	if err != nil {
		return asError(badPath)
	}
	path, refusal := s.b.set.Rules.Rcpt(policy.Rcpt{Path: path, SMTPUTF8: s.utf8, Recipients: s.rcpts, Refused: s.refused})
	if refusal.Code == 0 {
		refusal = new(special).atRcpt(context.Background(), &policy.Facts{Recipient: path}).Reply
	}
	if refusal.Code != 0 {
		if refusal.Permanent() {
			s.refused++
		}
		return asError(refusal)
	}
	s.last = path.Local
	s.rcpts++
	return nil
}

func (s *oracleSession) Data(r io.Reader) error {
	s.chunks.Watch(r)
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	var head mail.Header
	_, _ = head.Write(text) // never fails
	if refusal := s.b.set.Rules.Header(&head); refusal.Code != 0 {
		return asError(refusal)
	}
	sp, facts := new(special), &policy.Facts{}
	sp.last.Store(facts.Client.Addr, s.last)
	for _, check := range []policy.Check{sp.atHeader, sp.atBody} {
		if refusal := check(context.Background(), facts).Reply; refusal.Code != 0 {
			return asError(refusal)
		}
	}
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.b.stored = append(s.b.stored, text)
	return nil
}
