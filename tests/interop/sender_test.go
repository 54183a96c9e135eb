package interop

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"anymx/tests/kit"
	"anymx/tests/pop"
)

// sender is a private Postfix that sends all mail to the edge but what is for
// a@example.org, who gets what is returned. It comes from 127.0.0.9, and tries
// again after two seconds.
type sender struct{ postfix }

// ways of sending by domain, each an SMTP client with its own settings. Other
// domains go out by TLS where it is offered.
var ways = map[string]string{
	"encrypt.example.net": "-o smtp_tls_security_level=encrypt",
	"verify.example.net":  "-o smtp_tls_security_level=verify",
	"plain.example.net":   "-o smtp_tls_security_level=none",
	"nosize.example.net":  "-o smtp_discard_ehlo_keywords=size",
	"bare.example.net":    "-o smtp_discard_ehlo_keywords=size,pipelining,dsn,starttls",
}

// newSender starts a sender. ca verifies the edge; "": it verifies nothing.
func newSender(t *testing.T, edge, ca string) *sender {
	t.Helper()
	s := &sender{postfix{hostname: "sender.test", users: []string{"a@example.org"}}}
	next := fmt.Sprintf("[127.0.0.1]:%d", portOf(t, edge))
	s.settings = map[string]string{
		"relayhost": next, "smtp_bind_address": "127.0.0.9",
		"enable_long_queue_ids": "yes", // which are not used again
		"queue_run_delay":       "1s", "minimal_backoff_time": "2s", "maximal_backoff_time": "2s",
		"smtp_tls_security_level": "may", "smtp_tls_loglevel": "1",
		"smtp_tls_CAfile": ca, "smtp_tls_verify_cert_match": "mx.example.net",
	}
	var transports []string
	for domain, options := range ways {
		name, _, _ := strings.Cut(domain, ".")
		s.services = append(s.services, name+" unix - - n - - smtp "+options)
		transports = append(transports, fmt.Sprintf("{%s=%s:%s}", domain, name, next))
	}
	s.settings["transport_maps"] = "inline:{" + strings.Join(transports, ", ") + "}"
	s.start(t)
	return s
}

// submit gives a message to Postfix by its sendmail, as a program on its host
// does. Options go before the recipients.
func (s *sender) submit(t testing.TB, message []byte, optionsAndRecipients ...string) {
	t.Helper()
	out, err := exec.Command("postconf", "-d", "-h", "sendmail_path").Output()
	if err != nil {
		t.Fatalf("postconf: %v", err)
	}
	cmd := exec.Command(strings.TrimSpace(string(out)), append([]string{"-C", s.config, "-i", "-f", "a@example.org"}, optionsAndRecipients...)...)
	cmd.Stdin = bytes.NewReader(unix(message))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sendmail: %v: %s", err, out)
	}
}

// flush has Postfix send now what it has put off.
func (s *sender) flush(t testing.TB) {
	t.Helper()
	if out, err := exec.Command("postqueue", "-c", s.config, "-f").CombinedOutput(); err != nil {
		t.Fatalf("postqueue: %v: %s", err, out)
	}
}

// returned is where mail that came back to the sender lies.
func (s *sender) returned() string { return s.mailbox("a@example.org") }

// sent waits for the log's line that a message to address was stored, and
// returns the spool id.
func (s *sender) sent(t testing.TB, address string) (id string) {
	t.Helper()
	line := regexp.MustCompile(`to=<` + regexp.QuoteMeta(address) + `>.* status=sent \(250 2\.0\.0 stored as ([0-9a-z]{16})\)`)
	ok := kit.Within(patience, func() bool {
		text, _ := os.ReadFile(s.log)
		m := line.FindSubmatch(text)
		if m != nil {
			id = string(m[1])
		}
		return m != nil
	})
	if !ok {
		t.Fatalf("mail to %s is not sent", address)
	}
	return id
}

// edgeFor is a whole node that a sender delivers to, with a list of recipients
// for one of its domains.
func edgeFor(t *testing.T, c certificate, ingress string) *pop.PoP {
	t.Helper()
	list := filepath.Join(t.TempDir(), "recipients")
	if err := os.WriteFile(list, []byte("b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return pop.Start(t, pop.Options{
		Ingress: c.ingress() + ingress,
		Config:  fmt.Sprintf("[[domain]]\nname = \"*.example.net\"\n[[domain]]\nname = \"listed.example.net\"\nrecipients = \"file:%s\"\n", list),
	})
}

// TestPostfixSends: what Postfix relays arrives as it was submitted, whichever
// way Postfix goes about it.
func TestPostfixSends(t *testing.T) {
	t.Parallel()
	needServer(t, "postconf", "postfix")
	c := newCertificate(t, "mx.example.net")
	p := edgeFor(t, c, "")
	s := newSender(t, p.SMTP, c.cert)
	tests := []struct {
		name, to string
		body     string // "": dots
		trace    string // in the edge's field
		log      string // in Postfix's
	}{
		{name: "opportunistic", to: "b@example.net", trace: "with ESMTPS id", log: "Trusted TLS connection established to 127.0.0.1"},
		{name: "encrypt", to: "b@encrypt.example.net", trace: "(TLS 1.3 TLS_"},
		{name: "verify", to: "b@verify.example.net", trace: "with ESMTPS id", log: "Verified TLS connection established to 127.0.0.1"},
		{name: "plain", to: "b@plain.example.net", trace: "with ESMTP id"},
		{name: "bare", to: "b@bare.example.net", trace: "with ESMTP id"},
		{name: "UTF-8 address", to: "ü@example.net", trace: "with UTF8SMTPS id"},
		{name: "5 MB", to: "large@example.net", body: numbered(5_000_000), trace: "with ESMTPS id"},
		{name: "5 MB bare", to: "large@bare.example.net", body: numbered(5_000_000), trace: "with ESMTP id"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			body := test.body
			if body == "" {
				body = dots
			}
			sent := letter(test.name, body)
			s.submit(t, sent, test.to)
			id := s.sent(t, test.to)
			got := mailbox(t, coreBox(p, test.to), 1)[0]
			received := got.received(t, sent)
			if len(received) != 3 || !strings.Contains(received[1], test.trace) || !strings.Contains(received[1], " id "+id) ||
				!strings.Contains(received[1], "from sender.test ([127.0.0.9])") {
				t.Errorf("trace %q, want %q", received, test.trace)
			}
			if test.log != "" {
				s.logged(t, test.log)
			}
		})
	}
}

// TestPostfixIsRefused: what the edge refuses, Postfix returns to its sender,
// with the edge's words, and all else arrives.
func TestPostfixIsRefused(t *testing.T) {
	t.Parallel()
	needServer(t, "postconf", "postfix")
	p := edgeFor(t, newCertificate(t, "mx.example.net"), "max_message_size = \"2MiB\"\n")

	t.Run("one recipient of many", func(t *testing.T) {
		t.Parallel()
		s := newSender(t, p.SMTP, "")
		sent := letter("many", dots)
		to := []string{"b@listed.example.net", "gone@listed.example.net"}
		for i := range 40 {
			to = append(to, fmt.Sprintf("user%d@example.net", i))
		}
		s.submit(t, sent, to...)
		for _, address := range slices.Delete(slices.Clone(to), 1, 2) {
			mailbox(t, coreBox(p, address), 1)[0].trace(t, sent)
		}
		r := reports(t, s.returned(), 1)[0]
		says(t, r.about(t, "gone@listed.example.net"), map[string]string{
			"Action": "failed", "Status": "5.1.1", "Remote-Mta": "127.0.0.1", "Diagnostic-Code": "smtp; 550 5.1.1 user unknown",
		})
		if got := mailbox(t, coreBox(p, to[2]), 1)[0]; strings.Contains(string(got.header), "for <") {
			t.Errorf("a recipient is told of others:\n%s", got.header)
		}
	})
	t.Run("too large", func(t *testing.T) {
		t.Parallel()
		s := newSender(t, p.SMTP, "")
		sent := letter("too large", numbered(3_000_000))
		s.submit(t, sent, "large@example.net") // SIZE tells Postfix
		s.submit(t, sent, "large@nosize.example.net")
		for _, r := range reports(t, s.returned(), 2) {
			says(t, r.recipients[0], map[string]string{"Action": "failed", "Status": "5.3.4"})
			if !strings.Contains(r.recipients[0].Get("Final-Recipient"), "nosize") {
				continue
			}
			says(t, r.recipients[0], map[string]string{"Diagnostic-Code": "smtp; 552 5.3.4 message size exceeds the limit of 2097152 bytes"})
		}
	})
	t.Run("relaying", func(t *testing.T) {
		t.Parallel()
		s := newSender(t, p.SMTP, "")
		s.submit(t, letter("relay", dots), "b@elsewhere.example")
		r := reports(t, s.returned(), 1)[0]
		says(t, r.about(t, "b@elsewhere.example"), map[string]string{"Status": "5.7.1", "Diagnostic-Code": "550 5.7.1 "})
	})
}

// TestPostfixAsksForNotices: DSN parameters go through. Postfix leaves the
// notice of success to the edge, which is the last that knows of it, because
// the embedded core notifies nobody.
func TestPostfixAsksForNotices(t *testing.T) {
	t.Parallel()
	needServer(t, "postconf", "postfix")
	p := edgeFor(t, newCertificate(t, "mx.example.net"), "")
	s := newSender(t, p.SMTP, "")
	sent := letter("notices", dots)
	s.submit(t, sent, "-N", "success,failure,delay", "-V", "QQ314159", "-R", "hdrs", "b@example.net")
	s.submit(t, sent, "-N", "never", "c@example.net")
	mailbox(t, coreBox(p, "b@example.net"), 1)[0].trace(t, sent)
	mailbox(t, coreBox(p, "c@example.net"), 1)[0].trace(t, sent)
	got := mailbox(t, coreBox(p, "a@example.org"), 1)[0]
	r := got.report(t)
	says(t, r.message, map[string]string{"Reporting-Mta": "dns; mx.example.net", "Original-Envelope-Id": "QQ314159"})
	says(t, r.about(t, "b@example.net"), map[string]string{
		"Action": "relayed", "Status": "2.", "Original-Recipient": "rfc822; b@example.net",
	})
	if !strings.HasPrefix(string(got.raw), "Return-Path: <>\r\n") || bytes.Contains(got.body, []byte("日本語")) {
		t.Errorf("notice of success:\n%s", got.raw)
	}
	if s.sent(t, "b@example.net"); len(filesIn(t, s.returned())) != 0 {
		t.Error("Postfix has notified too")
	}
}

// TestPostfixNeedsTLS: Postfix keeps mail that must be encrypted while the edge
// has no certificate, and delivers it when the edge has one.
func TestPostfixNeedsTLS(t *testing.T) {
	t.Parallel()
	needServer(t, "postconf", "postfix")
	p := pop.Start(t, pop.Options{Config: "[[domain]]\nname = \"*.example.net\"\n"})
	s := newSender(t, p.SMTP, "")
	sent := letter("must be encrypted", dots)
	s.submit(t, sent, "b@encrypt.example.net")
	s.logged(t, "to=<b@encrypt.example.net>", "TLS is required, but was not offered", "status=deferred")
	p.Rewrite(newCertificate(t, "mx.example.net").ingress())
	p.Reload()
	mailbox(t, coreBox(p, "b@encrypt.example.net"), 1)[0].trace(t, sent)
}

// TestPostfixMeetsDrain: a node that goes out of service tells Postfix so, and
// Postfix delivers when the node is back.
func TestPostfixMeetsDrain(t *testing.T) {
	t.Parallel()
	needServer(t, "postconf", "postfix")
	p := pop.Start(t, pop.Options{})
	p.Rewrite("banner_delay = \"1m\"\n") // in which the end comes
	p.Reload()
	s := newSender(t, p.SMTP, "")
	sent := letter("drain", dots)
	s.submit(t, sent, "b@example.net")
	if !kit.Within(patience, func() bool {
		status, err := p.Control().Status(t.Context())
		return err == nil && status.Sessions.Open == 1
	}) {
		t.Fatal("Postfix does not come")
	}
	if code := p.Edge().Stop(patience); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	s.logged(t, "to=<b@example.net>", "421 4.3.2 mx.example.net is going out of service", "status=deferred")
	p.Rewrite("")
	p.StartEdge()
	mailbox(t, coreBox(p, "b@example.net"), 1)[0].trace(t, sent)
}
