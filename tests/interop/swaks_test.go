package interop

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"anymx/tests/pop"
)

// clientTimeout bounds what a client of one message may take.
const clientTimeout = 2 * time.Minute

// swaks sends to address and returns what it printed, and nil if it exited
// with 0. It sends the lines of message, unless that is nil, and reads no
// settings.
func swaks(t testing.TB, address string, message []byte, args ...string) (string, error) {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	args = append([]string{"--server", host, "--port", port, "--ehlo", "client.example.org", "--from", "a@example.org"}, args...)
	if message != nil {
		args = append(args, "--data", "-", "--suppress-data")
	}
	ctx, cancel := context.WithTimeout(t.Context(), clientTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "swaks", args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	// It ends what it sends with a line end of its own.
	cmd.Stdin = bytes.NewReader(bytes.TrimSuffix(message, []byte("\r\n")))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

var storedAs = regexp.MustCompile(`250 2\.0\.0 stored as ([0-9a-z]{16})`)

// spoolID is the id that a client was told. The test fails if it was told none.
func spoolID(t testing.TB, transcript string) string {
	t.Helper()
	m := storedAs.FindStringSubmatch(transcript)
	if m == nil {
		t.Fatalf("no message was stored:\n%s", transcript)
	}
	return m[1]
}

// front is a whole node for swaks: with a certificate, and a balancer at
// 127.0.0.2.
func front(t *testing.T) (*pop.PoP, certificate) {
	t.Helper()
	need(t, "swaks")
	if out, err := exec.Command("swaks", "--support").Output(); err != nil || !strings.Contains(string(out), "TLS supported") {
		cannot(t, "needs swaks with TLS, which is a Perl module: %v", err)
	}
	c := newCertificate(t, "mx.example.net")
	return pop.Start(t, pop.Options{Ingress: c.ingress() + "proxy_protocol_from = [\"127.0.0.2/32\"]\n"}), c
}

// TestSwaks sends through all of anymx. What arrives is what was sent, behind
// the trace fields of core and edge, which tell how it came.
func TestSwaks(t *testing.T) {
	t.Parallel()
	p, c := front(t)
	proxy := func(version, family, source, dest string) []string {
		return []string{
			"--local-interface", "127.0.0.2", "--proxy-version", version, "--proxy-family", family,
			"--proxy-source", source, "--proxy-source-port", "4711", "--proxy-dest", dest, "--proxy-dest-port", "25",
		}
	}
	tests := []struct {
		name  string
		body  string // "": dots
		args  []string
		trace string // in the edge's field
		says  string // pattern in the transcript
	}{
		{name: "plain", trace: "from client.example.org ([127.0.0.1])\n\tby mx.example.net (anymx test1) with ESMTP id"},
		{name: "helo", args: []string{"--protocol", "SMTP"}, trace: "with SMTP id"},
		{
			name: "tls", args: []string{"--tls", "--tls-verify", "--tls-ca-path", c.cert},
			trace: "(TLS 1.3 TLS_AES_", says: `TLS started with cipher TLSv1\.3`,
		},
		{
			name: "tls12", args: []string{"--tls", "--tls-verify", "--tls-ca-path", c.cert, "--tls-protocol", "tlsv1_2"},
			trace: "with ESMTPS id", says: `TLS started with cipher TLSv1\.2`,
		},
		{
			name: "pipeline", args: []string{"--pipeline"},
			trace: "with ESMTP id", says: ` -> MAIL .*\n -> RCPT .*\n -> DATA\n<-  250 2\.1\.0 .*\n<-  250 2\.1\.5 .*\n<-  354 `,
		},
		{
			name: "pipelineTLS", args: []string{"--pipeline", "--tls"},
			trace: "with ESMTPS id", says: ` ~> MAIL .*\n ~> RCPT .*\n ~> DATA\n<~  250 2\.1\.0 .*\n<~  250 2\.1\.5 .*\n<~  354 `,
		},
		{name: "proxy1", args: proxy("1", "TCP4", "192.0.2.9", "198.51.100.25"), trace: "([192.0.2.9])"},
		{name: "proxy1v6", args: proxy("1", "TCP6", "2001:db8::9", "2001:db8::25"), trace: "([IPv6:2001:db8::9])"},
		{name: "proxy2", args: proxy("2", "AF_INET", "192.0.2.9", "198.51.100.25"), trace: "([192.0.2.9])"},
		{name: "proxy2v6", args: proxy("2", "AF_INET6", "2001:db8::9", "2001:db8::25"), trace: "([IPv6:2001:db8::9])"},
		{name: "proxyTLS", args: append(proxy("2", "AF_INET", "192.0.2.9", "198.51.100.25"), "--tls"), trace: "([192.0.2.9])\n\t(TLS 1.3"},
		{name: "null", args: []string{"--from", "<>"}, trace: "with ESMTP id"},
		{name: "20MB", body: numbered(20_000_000), trace: "with ESMTP id"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			to := strings.ToLower(test.name) + "@example.net"
			body := test.body
			if body == "" {
				body = dots
			}
			sent := letter(test.name, body)
			out, err := swaks(t, p.SMTP, sent, append([]string{"--to", to}, test.args...)...)
			if err != nil {
				t.Fatalf("%v:\n%s", err, out)
			}
			id := spoolID(t, out)
			if !regexp.MustCompile(test.says).MatchString(out) {
				t.Errorf("the client does not say %q:\n%s", test.says, out)
			}
			got := mailbox(t, coreBox(p, to), 1)[0]
			if !strings.HasSuffix(got.name, ".I"+id+".test1") {
				t.Errorf("file %s, want spool id %s", got.name, id)
			}
			received := got.received(t, sent)
			if len(received) != 2 || !strings.Contains(received[1], test.trace) || !strings.Contains(received[1], " id "+id) ||
				!strings.Contains(received[1], "for <"+to+">") {
				t.Errorf("trace %q, want %q", received, test.trace)
			}
		})
	}
}

// TestSwaksRecipients: one message to 25 mailboxes, each of which gets all of
// it, and nobody is told of the others.
func TestSwaksRecipients(t *testing.T) {
	t.Parallel()
	p, _ := front(t)
	var to []string
	for i := range 25 {
		to = append(to, fmt.Sprintf("user%d@example.net", i))
	}
	sent := letter("to many", dots)
	out, err := swaks(t, p.SMTP, sent, "--to", strings.Join(to, ","), "--pipeline")
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	id := spoolID(t, out)
	for _, address := range to {
		got := mailbox(t, coreBox(p, address), 1)[0]
		for _, field := range got.received(t, sent) {
			if strings.Contains(field, "for <") {
				t.Errorf("%s is told of others: %q", address, field)
			}
		}
		if !strings.HasSuffix(got.name, ".I"+id+".test1") {
			t.Errorf("%s: file %s, want spool id %s", address, got.name, id)
		}
	}
}

// TestSwaksAttachment has swaks make a message of parts: the part is what it
// was.
func TestSwaksAttachment(t *testing.T) {
	t.Parallel()
	p, _ := front(t)
	want := make([]byte, 300_000)
	_, _ = rand.Read(want) // never fails, says its documentation
	file := filepath.Join(t.TempDir(), "random.bin")
	if err := os.WriteFile(file, want, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := swaks(t, p.SMTP, nil, "--to", "b@example.net", "--body", "The attachment is random.",
		"--attach-type", "application/octet-stream", "--attach-name", "random.bin", "--attach", "@"+file, "--suppress-data")
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	m, err := mail.ReadMessage(bytes.NewReader(mailbox(t, coreBox(p, "b@example.net"), 1)[0].raw))
	if err != nil {
		t.Fatal(err)
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	for parts := multipart.NewReader(m.Body, params["boundary"]); ; {
		part, err := parts.NextPart()
		if err != nil {
			t.Fatalf("no attachment: %v", err)
		}
		if part.FileName() != "random.bin" {
			continue
		}
		got, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, part))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes arrived as %d, %v", len(want), len(got), err)
		}
		return
	}
}

// TestSwaksRefused: what may not come in, does not, and the client learns why.
func TestSwaksRefused(t *testing.T) {
	t.Parallel()
	p, _ := front(t)
	other := newCertificate(t, "mx.example.net")
	tests := []struct {
		name string
		args []string
		says string // pattern in the transcript
	}{
		{"relay", []string{"--to", "b@elsewhere.example"}, `<\*\* 550 5\.7\.1 `},
		{"UTF-8 address without SMTPUTF8", []string{"--to", "ü@example.net"}, `<\*\* 553 5\.6\.7 `},
		{"certificate of somebody else", []string{"--to", "b@example.net", "--tls", "--tls-verify", "--tls-ca-path", other.cert}, "certificate verify failed"},
		{
			"PROXY header of a stranger", []string{
				"--to", "b@example.net", "--proxy-family", "TCP4",
				"--proxy-source", "192.0.2.9", "--proxy-source-port", "4711", "--proxy-dest", "192.0.2.25", "--proxy-dest-port", "25",
			},
			`<\*\* 5(54 5\.5\.1|00 5\.5\.2) `, // it comes before the banner, or behind it
		},
		{"no PROXY header", []string{"--to", "b@example.net", "--local-interface", "127.0.0.2"}, `closed connection unexpectedly`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			out, err := swaks(t, p.SMTP, letter("refused", dots), test.args...)
			if err == nil || !regexp.MustCompile(test.says).MatchString(out) || storedAs.MatchString(out) {
				t.Errorf("want %q, got %v:\n%s", test.says, err, out)
			}
		})
	}
	t.Cleanup(func() {
		if boxes, _ := filepath.Glob(filepath.Join(p.Maildirs(), "*", "*")); len(boxes) > 0 {
			t.Errorf("core has mail: %v", boxes)
		}
	})
}
