package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"net/textproto"
	"os/exec"
	"strings"
	"testing"
	"time"

	"anymx/edge/delivery/handoff"
	"anymx/edge/delivery/smtpc"
	"anymx/edge/mail"
	"anymx/edge/queue"
	"anymx/tests/pop"
)

// notice is a notification as Python's email package reads it.
type notice struct {
	ASCII    bool
	Defects  []string
	Longest  int
	Type     string
	To       string
	Subject  string
	Text     string
	Status   []map[string]string
	Kind     string `json:"returned type"`
	Returned string // as Latin-1, so that each byte is a rune
}

// readNotice waits for the only message in a Maildir and reads it. The test
// fails if it needs more than a server of RFC 5321 has.
func readNotice(t testing.TB, maildir string) notice {
	t.Helper()
	need(t, "python3")
	m := mailbox(t, maildir, 1)[0]
	cmd := exec.Command("python3", "-I", "testdata/notice.py")
	cmd.Stdin = bytes.NewReader(m.raw)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s\n%s", err, stderr.Bytes(), m.raw)
	}
	var n notice
	if err := json.Unmarshal(out, &n); err != nil {
		t.Fatal(err)
	}
	if !n.ASCII || len(n.Defects) > 0 || n.Longest > 998 || n.Type != "multipart/report" || len(n.Status) != 2 {
		t.Errorf("%+v\n%s", n, m.raw)
	}
	return n
}

// stored8Bit is what readNotice makes of the bytes of text, in a mailbox whose
// lines end in LF.
func stored8Bit(text string) string {
	var b strings.Builder
	for _, c := range unix([]byte(text)) {
		b.WriteRune(rune(c))
	}
	return b.String()
}

// checkNotice looks for what a notice has to say.
func checkNotice(t testing.TB, n notice, text string, fields map[string]string) {
	t.Helper()
	if !strings.Contains(n.Text, text) {
		t.Errorf("the notice does not say %q: %s", text, n.Text)
	}
	for name, want := range fields {
		got := n.Status[1][name]
		if name == "Original-Envelope-Id" {
			got = n.Status[0][name]
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// TestNoticeOf8Bit: a client sends 8-bit text in header and body, and Dovecot
// refuses the recipient. The notice is 7-bit, and gives the header back as it was.
func TestNoticeOf8Bit(t *testing.T) {
	t.Parallel()
	d := &dovecot{users: []string{"b@example.net", "a@example.org"}}
	d.start(t)
	p := pop.Start(t, pop.Options{Core: d.addr, CoreConfig: "protocol = \"lmtp\"\n"})
	c, err := textproto.Dial("tcp", p.SMTP)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	say := func(code int, line string) {
		t.Helper()
		if line != "" {
			if err := c.PrintfLine("%s", line); err != nil {
				t.Fatal(err)
			}
		}
		if _, text, err := c.ReadResponse(code); err != nil {
			t.Fatalf("%q: %v %s", line, err, text)
		}
	}
	say(220, "")
	say(250, "EHLO client.example.org")
	say(250, "MAIL FROM:<a@example.org> BODY=8BITMIME RET=FULL ENVID=QQ+2B314+3D159")
	say(250, "RCPT TO:<gone@example.net> NOTIFY=FAILURE ORCPT=rfc822;gone+2Btag@example.net")
	say(354, "DATA")
	header := "Subject: Gr\xfc\xdfe\r\nX-Long: " + strings.Repeat("x", 900) + "\r\n\tfolded \r\nFrom: <a@example.org>\r\n"
	say(250, header+"\r\nGr\xfc\xdfe\r\n.")
	say(221, "QUIT")

	n := readNotice(t, d.mailbox("a@example.org"))
	checkNotice(t, n, "There is no mailbox with this address.", map[string]string{
		"Original-Envelope-Id": "QQ+314=159", "Original-Recipient": "rfc822; gone+tag@example.net",
		"Final-Recipient": "rfc822; gone@example.net", "Action": "failed", "Status": "5.1.1", "Diagnostic-Code": "smtp; 550 5.1.1 ",
	})
	if n.Kind != "text/rfc822-headers" || !strings.HasSuffix(n.Returned, stored8Bit(header)) {
		t.Errorf("%s returned: %q", n.Kind, n.Returned)
	}
	p.AwaitEmpty(patience)
}

// TestNoticeOfWhatCoreCannotTake: the failure is found at the edge, because core
// lacks an extension. The notice needs none itself, and gives the reason.
func TestNoticeOfWhatCoreCannotTake(t *testing.T) {
	t.Parallel()
	const header = "Subject: Grüße, 日本語\r\nFrom: <a@example.org>\r\n"
	tests := []struct {
		name   string
		core   func(t *testing.T) (o handoff.Options, maildir string)
		sender mail.Path
		rcpt   mail.Path
		env    mail.Envelope
		to     string
		text   string
		fields map[string]string
	}{
		{
			"Dovecot without SMTPUTF8", func(t *testing.T) (handoff.Options, string) {
				d := &dovecot{users: []string{"a@xn--bcher-kva.example"}}
				d.start(t)
				return handoff.Options{LMTP: true, Addresses: []string{d.addr}}, d.mailbox("a@xn--bcher-kva.example")
			},
			mail.Path{Local: "a", Domain: "bücher.example"}, mail.Path{Local: "ü", Domain: "example.net"},
			mail.Envelope{SMTPUTF8: true, Body: mail.Body8Bit}, "a@xn--bcher-kva.example",
			"<ü@example.net> The recipient's mail system does not accept letters other than a-z in addresses or header fields.",
			map[string]string{"Final-Recipient": `utf-8; \x{FC}@example.net`, "Action": "failed", "Status": "5.6.7", "Diagnostic-Code": "x-anymx; 5.6.7 "},
		},
		{
			"Postfix without 8BITMIME", func(t *testing.T) (handoff.Options, string) {
				p := &postfix{users: []string{"a@example.org"}, settings: map[string]string{"smtpd_discard_ehlo_keywords": "8bitmime, smtputf8, dsn"}}
				p.start(t)
				return handoff.Options{Addresses: []string{p.addr}}, p.mailbox("a@example.org")
			},
			mail.Path{Local: "a", Domain: "example.org"}, mail.Path{Local: "b", Domain: "bücher.example"},
			mail.Envelope{Body: mail.Body8Bit}, "a@example.org",
			"<b@bücher.example> The message has 8-bit text, which the recipient's mail system does not accept.",
			map[string]string{"Final-Recipient": "rfc822; b@xn--bcher-kva.example", "Action": "failed", "Status": "5.6.3", "Diagnostic-Code": "x-anymx; 5.6.3 "},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o, maildir := tt.core(t)
			o.TLSMode = smtpc.TLSNever
			e := newEdge(t, o)
			e.runQueue()
			env := tt.env
			env.Arrived, env.Sender, env.Recipients = time.Now(), tt.sender, []mail.Recipient{{Path: tt.rcpt}}
			e.accept(&env, header+"\r\nGrüße\r\n")
			n := readNotice(t, maildir)
			checkNotice(t, n, tt.text, tt.fields)
			if n.To != tt.to || n.Kind != "text/rfc822-headers" || n.Returned != stored8Bit(header) {
				t.Errorf("to %s, %s returned: %q", n.To, n.Kind, n.Returned)
			}
		})
	}
}

// runQueue starts a queue on the edge's spool, which ends with the test.
func (e *edge) runQueue() {
	e.t.Helper()
	q, err := queue.New(queue.Options{Spool: e.spool, Courier: e.handoff, Hostname: func() string { return "mx.example.net" }})
	if err != nil {
		e.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- q.Run(ctx) }()
	e.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			e.t.Error(err)
		}
	})
	e.queue = q
}

// accept stores a message and gives it to the queue.
func (e *edge) accept(env *mail.Envelope, text string) {
	e.t.Helper()
	d, err := e.spool.BeginDraft()
	if err != nil {
		e.t.Fatal(err)
	}
	if _, err := d.Write([]byte(text)); err != nil {
		e.t.Fatal(err)
	}
	m, err := d.Commit(env)
	if err != nil {
		e.t.Fatal(err)
	}
	e.queue.Accepted(m)
}
