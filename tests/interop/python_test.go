package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"anymx/tests/pop"
)

// TestPython sends by smtplib, which more programs use than any other client:
// some recipients refused, a message too large, and STARTTLS late in a
// connection, after which all must still be in step.
func TestPython(t *testing.T) {
	t.Parallel()
	need(t, "python3")
	c, other := newCertificate(t, "127.0.0.1"), newCertificate(t, "127.0.0.1")
	p := pop.Start(t, pop.Options{Ingress: c.ingress() + "max_message_size = \"2MiB\"\n"})
	host, port, _ := net.SplitHostPort(p.SMTP)
	ctx, cancel := context.WithTimeout(t.Context(), clientTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "python3", "-I", "testdata/stock.py", host, port, c.cert, other.cert)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v:\n%s%s", err, out, stderr.Bytes())
	}
	steps := map[string]any{}
	for line := range strings.Lines(string(out)) {
		var step struct {
			Step   string
			Result any
		}
		if err := json.Unmarshal([]byte(line), &step); err != nil {
			t.Fatal(err)
		}
		steps[step.Step] = step.Result
	}
	want := map[string]any{
		"noop": 250.0, "vrfy": 252.0,
		"some refused": map[string]any{"b@elsewhere.example": "550 5.7.1 relay access denied"},
		"all refused":  map[string]any{"b@elsewhere.example": "550 5.7.1 relay access denied"},
		"too large":    552.0, "utf8": "sent", "dsn": "sent", "quit": 221.0, "certificate": "refused",
	}
	offered, _ := steps["extensions"].([]any)
	for _, keyword := range []string{"pipelining", "size", "8bitmime", "smtputf8", "chunking", "dsn", "enhancedstatuscodes", "starttls", "limits"} {
		if !slices.Contains(offered, any(keyword)) {
			t.Errorf("%s is not offered: %v", keyword, offered)
		}
	}
	delete(steps, "extensions")
	if got, want := asJSON(t, steps), asJSON(t, want); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}

	for _, address := range []string{"one@example.net", "two@example.net"} {
		if got := mailbox(t, coreBox(p, address), 1)[0]; got.subject() != "plain" || !strings.HasSuffix(string(got.raw), "\r\n\r\nGrüße\r\n.\r\n..\r\n.hidden\r\nx.\r\n") {
			t.Errorf("%s got\n%s", address, got.raw)
		}
	}
	utf8 := mailbox(t, coreBox(p, "ü@example.net"), 1)[0]
	for _, part := range []string{"Return-Path: <отправитель@example.org>\r\n", "with UTF8SMTPS id", "Subject: Grüße\r\n"} {
		if !strings.Contains(string(utf8.raw), part) {
			t.Errorf("no %q in\n%s", part, utf8.raw)
		}
	}
	mailbox(t, coreBox(p, "dsn@example.net"), 1)
	// The embedded core notifies nobody, so that the edge says how far it knows.
	r := reports(t, coreBox(p, "a@example.org"), 1)[0]
	says(t, r.message, map[string]string{"Reporting-MTA": "mx.example.net", "Original-Envelope-Id": "QQ314159"})
	says(t, r.about(t, "dsn@example.net"), map[string]string{
		"Action": "relayed", "Status": "2.", "Original-Recipient": "rfc822; somebody@example.org",
	})
	if _, err := os.Stat(coreBox(p, "b@example.net")); err == nil {
		t.Error("the message that is too large was stored")
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
