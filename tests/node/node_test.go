// Package node tests a complete edge from the outside: the real programs, signals, changed files, a
// misbehaving core, a full disk.
package node

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"anymx/edge/operate/api"
	"anymx/tests/kit"
	"anymx/tests/pop"
)

func TestMain(m *testing.M) { os.Exit(pop.Main(m)) }

// client is a sender that checks the replies.
type client struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func dial(t *testing.T, address string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	c := &client{t: t, conn: conn, r: bufio.NewReader(conn)}
	c.want("220 .*")
	c.say("EHLO sender.example.com", "250 .*")
	return c
}

func (c *client) want(pattern string) string {
	c.t.Helper()
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			c.t.Fatalf("want %q, got %v", pattern, err)
		}
		if len(line) > 3 && line[3] == '-' {
			continue
		}
		if !regexp.MustCompile("^(?:" + pattern + ")\r\n$").MatchString(line) {
			c.t.Fatalf("got %q, want %q", line, pattern)
		}
		return strings.TrimSpace(line)
	}
}

func (c *client) say(line, pattern string) string {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, line+"\r\n"); err != nil {
		c.t.Fatal(err)
	}
	return c.want(pattern)
}

// send sends a message and returns its spool id.
func (c *client) send(from, to, subject string) string {
	c.t.Helper()
	c.say("MAIL FROM:<"+from+">", "250 .*")
	c.say("RCPT TO:<"+to+">", "250 .*")
	c.say("DATA", "354 .*")
	reply := c.say("Subject: "+subject+"\r\n\r\nhello\r\n.", "250 2.0.0 stored as .*")
	return reply[len(reply)-16:]
}

// arrived returns the messages in a mailbox of the embedded core.
func arrived(t *testing.T, p *pop.PoP, local string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(p.Maildirs(), "example.net", local, "new", "*"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(text))
	}
	return all
}

func status(t *testing.T, p *pop.PoP) api.Status {
	t.Helper()
	s, err := p.Control().Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// certificate writes a certificate and its key for name, and returns the paths.
func certificate(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	certPEM, keyPEM := kit.Certificate(t, name)
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, text := range map[string][]byte{cert: certPEM, key: keyPEM} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// shown returns the name in the certificate that STARTTLS presents.
func shown(t *testing.T, address string) string {
	t.Helper()
	c := dial(t, address)
	c.say("STARTTLS", "220 .*")
	secure := tls.Client(c.conn, &tls.Config{InsecureSkipVerify: true})
	if err := secure.Handshake(); err != nil {
		t.Fatal(err)
	}
	defer secure.Close()
	return secure.ConnectionState().PeerCertificates[0].DNSNames[0]
}

// A certificate and a list of recipients are reloaded when their files change, and at SIGHUP; a
// session in a transaction continues. An invalid file changes nothing.
func TestFilesThatChange(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := certificate(t, dir, "first.example")
	list := filepath.Join(dir, "recipients")
	write := func(text string) {
		if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("alice\n")
	p := pop.Start(t, pop.Options{
		Ingress: fmt.Sprintf("tls_cert = %q\ntls_key = %q\n", cert, key),
		Config:  fmt.Sprintf("[[domain]]\nname = \"known.example\"\nrecipients = \"file:%s\"\n", list),
	})
	if got := shown(t, p.SMTP); got != "first.example" {
		t.Fatalf("certificate of %s", got)
	}
	open := dial(t, p.SMTP)
	open.say("MAIL FROM:<a@b.example>", "250 .*")
	open.say("RCPT TO:<bob@known.example>", "550 5.1.1 .*")

	certificate(t, dir, "second.example")
	write("alice\nbob\n")
	kit.EventuallyIn(t, 10*time.Second, "the new certificate is shown", func() bool { return shown(t, p.SMTP) == "second.example" })
	fresh := dial(t, p.SMTP)
	fresh.say("MAIL FROM:<a@b.example>", "250 .*")
	fresh.say("RCPT TO:<bob@known.example>", "250 .*")

	write("not an address list <>\n")
	p.Edge().Signal(syscall.SIGHUP)
	kit.EventuallyIn(t, 10*time.Second, "the bad reload is reported", func() bool { return status(t, p).Config.Problem != "" })
	if problem := status(t, p).Config.Problem; !strings.Contains(problem, list+":1: ") {
		t.Errorf("problem %q does not name file and line", problem)
	}
	fresh = dial(t, p.SMTP)
	fresh.say("MAIL FROM:<a@b.example>", "250 .*")
	fresh.say("RCPT TO:<bob@known.example>", "250 .*")

	open.say("RCPT TO:<alice@known.example>", "250 .*")
	open.say("DATA", "354 .*")
	open.say("Subject: still here\r\n\r\n.", "250 2.0.0 .*")
}

// While core is unreachable, mail is accepted and stored, even across a restart. SIGTERM soon ends
// the edge with exit code 0. When core is back, all mail arrives.
func TestCoreAway(t *testing.T) {
	t.Parallel()
	p := pop.Start(t, pop.Options{CoreConfig: `backoff_max = "1s"`})
	p.EmbeddedCore().Kill()
	c := dial(t, p.SMTP)
	var ids []string
	for i := range 5 {
		ids = append(ids, c.send("a@b.example", "box@example.net", fmt.Sprint("away ", i)))
	}
	kit.EventuallyIn(t, 20*time.Second, "the queue is paused", func() bool { return status(t, p).Queue.Paused != nil })
	if s := status(t, p); s.Spool.Messages != 5 || !s.Ready.OK {
		t.Fatalf("with core away: %+v, ready %+v", s.Spool, s.Ready)
	}
	if code := p.Edge().Stop(15 * time.Second); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	p.StartEdge()
	p.StartCore()
	p.AwaitEmpty(30 * time.Second)
	if got := arrived(t, p, "box"); len(got) != len(ids) {
		t.Fatalf("%d messages arrived, want %d", len(got), len(ids))
	}
}

// At SIGTERM, an idle client and one in a transaction are notified; a transaction in progress is
// still accepted.
func TestTerminateInTransaction(t *testing.T) {
	t.Parallel()
	p := pop.Start(t, pop.Options{})
	idle, busy := dial(t, p.SMTP), dial(t, p.SMTP)
	busy.say("MAIL FROM:<a@b.example>", "250 .*")
	busy.say("RCPT TO:<box@example.net>", "250 .*")
	busy.say("DATA", "354 .*")
	p.Edge().Signal(syscall.SIGTERM)
	idle.want("421 4.3.2 .*")
	busy.say("Subject: in flight\r\n\r\n.", "250 2.0.0 .*")
	busy.say("NOOP", "421 4.3.2 .*")
	if code := p.Edge().Wait(15 * time.Second); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	if got := arrived(t, p, "box"); len(got) != 1 {
		t.Fatalf("%d messages arrived", len(got))
	}
}

// A recipient that core rejects permanently is reported to the sender, with the whole message if
// requested.
func TestBounce(t *testing.T) {
	t.Parallel()
	core := scriptedCore(t, "gone@example.net")
	p := pop.Start(t, pop.Options{Core: core.address})
	c := dial(t, p.SMTP)
	c.say("MAIL FROM:<sender@elsewhere.example> RET=FULL", "250 .*")
	c.say("RCPT TO:<gone@example.net>", "250 .*")
	c.say("DATA", "354 .*")
	c.say("Subject: to nobody\r\n\r\nall of it comes back\r\n.", "250 2.0.0 .*")
	select {
	case m := <-core.messages:
		if m.from != "<>" || m.to != "<sender@elsewhere.example>" {
			t.Errorf("notification from %s to %s", m.from, m.to)
		}
		for _, want := range []string{"multipart/report", "Final-Recipient: rfc822; gone@example.net", "Status: 5.1.1", "Diagnostic-Code: smtp; 550 5.1.1 no such mailbox", "all of it comes back"} {
			if !strings.Contains(m.text, want) {
				t.Errorf("notification does not say %q:\n%s", want, m.text)
			}
		}
	case <-time.After(20 * time.Second):
		t.Fatal("no notification")
	}
	p.AwaitEmpty(10 * time.Second)
}

// A full disk causes a refusal at MAIL and makes the node unready. When there is space again, it
// resumes on its own, and nothing is lost.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a small file system")
	}
	t.Parallel()
	p := pop.Start(t, pop.Options{Disk: 256 << 20, CoreConfig: `backoff_max = "1s"`})
	c := dial(t, p.SMTP)
	c.send("a@b.example", "box@example.net", "before")
	fill := filepath.Join(p.Dir, "edge", "fill")
	file, err := os.Create(fill)
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 1<<20)
	for range 512 {
		if _, err := file.Write(block); err != nil {
			break
		}
	}
	_ = file.Close()
	kit.EventuallyIn(t, 10*time.Second, "the spool refuses", func() bool { return !status(t, p).Spool.Accepting })
	if s := status(t, p); s.Ready.OK || !strings.Contains(s.Spool.Reason, "disk reserve") {
		t.Errorf("with a full disk: ready %+v, spool %+v", s.Ready, s.Spool)
	}
	c.say("MAIL FROM:<a@b.example>", "452 4.3.1 .*")
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	kit.EventuallyIn(t, 10*time.Second, "the node is ready again", func() bool { return status(t, p).Ready.OK })
	c.send("a@b.example", "box@example.net", "after")
	p.AwaitEmpty(20 * time.Second)
	if got := arrived(t, p, "box"); len(got) != 2 {
		t.Errorf("%d messages arrived", len(got))
	}
}
