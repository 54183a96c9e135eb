package smtpd

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"anymx/edge/ingress/wire"
	"anymx/edge/judge/policy"
	"anymx/edge/mail"
	"anymx/edge/spool"
	"anymx/tests/kit"
)

// front is a server on loopback with a real spool in memory. What it accepted
// stands in messages.
type front struct {
	t       testing.TB
	address string
	server  *Server
	spool   *spool.Spool

	mu       sync.Mutex
	messages []*spool.Message
}

func rules() *policy.Rules {
	known, err := policy.ParseRecipients("known", []byte("alice\nbob\n"), "known.example")
	if err != nil {
		panic(err)
	}
	return &policy.Rules{
		Hostname: "mx.example.net", MaxMessage: 10_000, MaxRecipients: 5, MaxRefused: 4, MaxReceived: 3, MaxMessages: 50,
		Domains: policy.NewDomains([]policy.Domain{{Name: "example.net"}, {Name: "known.example", Recipients: known}, {Name: "bücher.example"}}),
	}
}

func settings() Settings {
	return Settings{Rules: rules(), MaxErrors: 10, Wire: wire.Settings{Limits: wire.Limits{MaxTextLine: 2000}}}
}

func serve(t testing.TB, set Settings, spoolOptions spool.Options) *front {
	t.Helper()
	return serveOn(t, set, spoolOptions, Options{}, func(l net.Listener) net.Listener { return l })
}

// serveOn takes more options, and a listener that around makes of the one on loopback.
func serveOn(t testing.TB, set Settings, spoolOptions spool.Options, o Options, around func(net.Listener) net.Listener) *front {
	t.Helper()
	spoolOptions.Dir, spoolOptions.FS = "spool", vfs.NewMem()
	sp, err := spool.Open(spoolOptions)
	if err != nil {
		t.Fatal(err)
	}
	f := &front{t: t, spool: sp}
	o.Node, o.Settings, o.Spool, o.Budget = "test1", set, sp, spoolOptions.Budget
	o.Accepted = func(m *spool.Message) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.messages = append(f.messages, m)
	}
	f.server = New(o)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.address = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- f.server.Serve(around(l)) }()
	t.Cleanup(func() {
		_ = l.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		f.server.Registry().Close(ctx)
		if err := sp.Close(); err != nil && !errors.Is(err, spool.ErrClosed) {
			t.Error(err)
		}
	})
	return f
}

// accepted are the messages so far.
func (f *front) accepted() []*spool.Message {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]*spool.Message(nil), f.messages...)
}

// body is all of a stored message.
func body(t testing.TB, m *spool.Message) string {
	t.Helper()
	b, err := m.Body()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	text, err := io.ReadAll(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// peer is a client that says what it is told.
type peer struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

func (f *front) dial() *peer {
	f.t.Helper()
	p := f.open()
	p.want("220 " + f.server.settings.Load().Rules.Hostname + " .*")
	return p
}

// open does not read the banner.
func (f *front) open() *peer {
	f.t.Helper()
	conn, err := net.Dial("tcp", f.address)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return &peer{t: f.t, conn: conn, r: bufio.NewReader(conn)}
}

func (p *peer) send(s string) {
	p.t.Helper()
	if _, err := io.WriteString(p.conn, s); err != nil {
		p.t.Fatal(err)
	}
}

// want reads a reply, all its lines, and compares the last with a pattern.
func (p *peer) want(pattern string) string {
	p.t.Helper()
	var all strings.Builder
	for {
		line, err := p.r.ReadString('\n')
		if err != nil {
			p.t.Fatalf("want %q, got %v after %q", pattern, err, all.String())
		}
		all.WriteString(line)
		if len(line) > 3 && line[3] == '-' {
			continue
		}
		if !regexp.MustCompile("^(?:" + pattern + ")\r\n$").MatchString(line) {
			p.t.Fatalf("got %q, want %q", line, pattern)
		}
		return all.String()
	}
}

// gone says whether the server has closed.
func (p *peer) gone() {
	p.t.Helper()
	if rest, err := io.ReadAll(p.r); err != nil || len(rest) > 0 {
		p.t.Fatalf("connection is not closed: %q, %v", rest, err)
	}
}

// Stories: testdata/*.txt, one for each. "C: " is sent with CRLF, "S: " is a
// pattern for the last line of a reply, "EOF" wants the connection closed,
// "STORED n" wants n messages in the spool. Other lines are comments.
func TestStories(t *testing.T) {
	kit.EachStory(t, "testdata/*.txt", func(story kit.Story) {
		t := story.T
		f := serve(t, settings(), spool.Options{})
		p := f.dial()
		for n, line := range strings.Split(story.Text, "\n") {
			verb, arg, _ := strings.Cut(line, " ")
			switch verb {
			case "C:":
				p.send(strings.ReplaceAll(arg, `\r`, "\r") + "\r\n")
			case "S:":
				p.want(arg)
			case "EOF":
				p.gone()
			case "STORED":
				if got := fmt.Sprint(len(f.accepted())); got != arg {
					t.Fatalf("line %d: %s messages are stored, want %s", n+1, got, arg)
				}
			}
		}
	})
}

// The envelope holds all that the client said, and the message starts with our
// trace field.
func TestEnvelope(t *testing.T) {
	f := serve(t, settings(), spool.Options{})
	p := f.dial()
	p.send("EHLO client.example.com\r\n")
	p.want("250 .*")
	p.send("MAIL FROM:<Sender@Example.com> BODY=8BITMIME RET=HDRS ENVID=QQ+2B1 SIZE=20\r\n")
	p.want("250 2.1.0 .*")
	p.send("RCPT TO:<a@example.net> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x+40y.example\r\n")
	p.want("250 2.1.5 .*")
	p.send("RCPT TO:<a@EXAMPLE.net>\r\n")
	p.want("250 2.1.5 .*") // the same mailbox: delivered once
	p.send("DATA\r\n")
	p.want("354 .*")
	p.send("Subject: x\r\n\r\n..dot\r\n.\r\n")
	reply := p.want("250 2.0.0 stored as [0-9a-z]{16}")

	all := f.accepted()
	if len(all) != 1 {
		t.Fatalf("%d messages", len(all))
	}
	env := all[0].Envelope
	if !strings.Contains(reply, env.ID.String()) {
		t.Errorf("reply %q names another id than %s", reply, env.ID)
	}
	if env.Sender != (mail.Path{Local: "Sender", Domain: "Example.com"}) || env.Body != mail.Body8Bit ||
		env.Return != mail.ReturnHeaders || env.EnvID != "QQ+1" || env.Client.Proto != "ESMTP" || env.Client.Helo != "client.example.com" {
		t.Errorf("envelope %+v", env)
	}
	if len(env.Recipients) != 1 || env.Recipients[0].Notify != mail.NotifySuccess|mail.NotifyDelay || env.Recipients[0].ORcpt != "rfc822;x@y.example" {
		t.Errorf("recipients %+v", env.Recipients)
	}
	text := body(t, all[0])
	if !strings.HasPrefix(text, "Received: from client.example.com") || !strings.HasSuffix(text, "Subject: x\r\n\r\n.dot\r\n") {
		t.Errorf("stored %q", text)
	}
	if env.Size != int64(len(text)) {
		t.Errorf("size %d, stored %d", env.Size, len(text))
	}
}

// A message of exactly the maximum size is taken, one octet more is not, by
// DATA and by BDAT, whether it was declared or not.
func TestSize(t *testing.T) {
	for _, size := range []int{10_000, 10_001} {
		text := strings.Repeat("x", 98) + "\r\n"
		text = strings.Repeat(text, 99)
		text += strings.Repeat("y", size-len(text)-2) + "\r\n"
		final := "250 2.0.0 .*"
		if size > 10_000 {
			final = "552 5.3.4 .*"
		}
		for _, form := range []string{"DATA", "BDAT"} {
			t.Run(fmt.Sprint(form, size), func(t *testing.T) {
				f := serve(t, settings(), spool.Options{})
				p := f.dial()
				p.send("EHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<a@example.net>\r\n")
				p.want("250 .*")
				p.want("250 .*")
				p.want("250 .*")
				if form == "DATA" {
					p.send("DATA\r\n")
					p.want("354 .*")
					p.send(text + ".\r\n")
				} else {
					p.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(text), text))
				}
				p.want(final)
				p.send("MAIL FROM:<again@b.example>\r\n") // the connection is in step
				p.want("250 2.1.0 .*")
			})
		}
	}
}

// Storage that takes nothing says so at MAIL, before the message is sent.
func TestFull(t *testing.T) {
	f := serve(t, settings(), spool.Options{MaxMessages: 1})
	p := f.dial()
	p.send("EHLO c\r\n")
	p.want("250 .*")
	for _, reply := range []string{"250 2.1.0 .*", "452 4.3.1 .*"} {
		p.send("MAIL FROM:<a@b.example>\r\n")
		p.want(reply)
		if strings.HasPrefix(reply, "452") {
			break
		}
		p.send("RCPT TO:<a@example.net>\r\nBDAT 3 LAST\r\nx\r\n")
		p.want("250 .*")
		p.want("250 2.0.0 .*")
	}
}

// New settings are for new connections: an old session goes on by its own.
func TestConfigure(t *testing.T) {
	f := serve(t, settings(), spool.Options{})
	old := f.dial()
	old.send("EHLO c\r\n")
	if caps := old.want("250 .*"); strings.Contains(caps, "STARTTLS") || !strings.Contains(caps, "SIZE 10000") {
		t.Errorf("EHLO %q", caps)
	}
	next := settings()
	next.Wire.TLS = tlsConfig(t)
	next.Rules.MaxMessage = 500
	next.Rules.Domains = policy.NewDomains([]policy.Domain{{Name: "other.example"}})
	f.server.Configure(next)

	old.send("MAIL FROM:<a@b.example>\r\nRCPT TO:<a@example.net>\r\n")
	old.want("250 .*")
	old.want("250 .*")
	fresh := f.dial()
	fresh.send("EHLO c\r\n")
	if caps := fresh.want("250 .*"); !strings.Contains(caps, "STARTTLS") || !strings.Contains(caps, "SIZE 500") || !strings.Contains(caps, "LIMITS MAILMAX=50 RCPTMAX=5") {
		t.Errorf("EHLO %q", caps)
	}
	fresh.send("MAIL FROM:<a@b.example>\r\nRCPT TO:<a@example.net>\r\n")
	fresh.want("250 .*")
	fresh.want("550 5.7.1 .*")
}

// Under TLS the protocol and the cipher are in the envelope, REQUIRETLS is
// offered, and what was said before STARTTLS is forgotten.
func TestTLS(t *testing.T) {
	set := settings()
	set.Wire.TLS = tlsConfig(t)
	f := serve(t, set, spool.Options{})
	p := f.dial()
	p.send("EHLO plain\r\n")
	if caps := p.want("250 .*"); strings.Contains(caps, "REQUIRETLS") {
		t.Error("REQUIRETLS is offered in plaintext")
	}
	p.send("MAIL FROM:<a@b.example> REQUIRETLS\r\n")
	p.want("530 5.7.0 .*")
	p.send("MAIL FROM:<a@b.example>\r\n")
	p.want("250 .*")
	p.send("STARTTLS\r\n")
	p.want("220 .*")
	secure := tls.Client(p.conn, &tls.Config{InsecureSkipVerify: true})
	p = &peer{t: t, conn: secure, r: bufio.NewReader(secure)}
	p.send("RCPT TO:<a@example.net>\r\n")
	p.want("503 5.5.1 .*")
	p.send("EHLO secure\r\n")
	if caps := p.want("250 .*"); !strings.Contains(caps, "REQUIRETLS") || strings.Contains(caps, "STARTTLS\r\n250-STARTTLS") {
		t.Errorf("EHLO %q", caps)
	}
	p.send("RCPT TO:<a@example.net>\r\n")
	p.want("503 5.5.1 .*")
	p.send("MAIL FROM:<a@b.example> REQUIRETLS\r\nRCPT TO:<a@example.net>\r\nBDAT 3 LAST\r\nx\r\n")
	p.want("250 2.1.0 .*")
	p.want("250 2.1.5 .*")
	p.want("250 2.0.0 .*")
	env := f.accepted()[0].Envelope
	if env.Client.Proto != "ESMTPS" || !strings.HasPrefix(env.Client.TLS, "TLS 1.3 TLS_") || env.Client.Helo != "secure" || !env.RequireTLS {
		t.Errorf("envelope %+v", env)
	}
}

func tlsConfig(t testing.TB) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mx.example.net"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// A client that guesses addresses waits longer for each answer, and is sent
// away in the end.
func TestGuessing(t *testing.T) {
	set := settings()
	set.RefusedDelay = 50 * time.Millisecond
	f := serve(t, set, spool.Options{})
	p := f.dial()
	p.send("EHLO c\r\nMAIL FROM:<a@b.example>\r\n")
	p.want("250 .*")
	p.want("250 .*")
	began := time.Now()
	for range 4 {
		p.send("RCPT TO:<nobody@known.example>\r\n")
		p.want("550 5.1.1 .*")
	}
	if took := time.Since(began); took < 50*time.Millisecond {
		t.Errorf("four refusals took %s", took)
	}
	p.send("RCPT TO:<alice@known.example>\r\n")
	p.want("421 4.7.0 .*")
	p.gone()
}

// A new host name counts for connections to come: in banner, EHLO reply and Received, whether
// go-smtp greets (the first connection) or wire does (those after it).
func TestHostnameChanges(t *testing.T) {
	t.Parallel()
	f := serve(t, settings(), spool.Options{})
	old := f.dial() // which wants the name in the banner, as below
	for i, name := range []string{"mx1.example.net", "mx2.example.net"} {
		set := settings()
		set.Rules.Hostname = name
		f.server.Configure(set)
		p := f.dial()
		p.send("EHLO sender.example.com\r\n")
		if reply := p.want("250 .*"); !strings.HasPrefix(reply, "250-"+name+"\r\n") {
			t.Errorf("EHLO: %q", reply)
		}
		p.say("MAIL FROM:<a@b.example>", "250 .*")
		p.say("RCPT TO:<postmaster>", "250 .*")
		p.say("DATA", "354 .*")
		p.say("Subject: x\r\n\r\n.", "250 .*")
		all := f.accepted()
		if len(all) != i+1 || !strings.Contains(body(t, all[i]), "by "+name+" ") {
			t.Errorf("Received is not by %s: %d messages", name, len(all))
		}
	}
	old.say("HELO sender.example.com", "250 mx.example.net")
}
