package interop

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"anymx/tests/kit"
	"anymx/tests/pop"
)

// mailbox waits for n messages in a Maildir and returns them, sorted by their
// files' names.
func mailbox(t testing.TB, dir string, n int) []stored {
	t.Helper()
	ok := kit.Within(patience, func() bool { return len(filesIn(t, dir)) >= n })
	files := filesIn(t, dir)
	if !ok || len(files) != n {
		t.Fatalf("%d messages in %s, want %d", len(files), dir, n)
	}
	var list []stored
	for _, name := range files {
		list = append(list, load(t, dir, name))
	}
	return list
}

// load reads a new message of a Maildir.
func load(t testing.TB, dir, name string) stored {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "new", name))
	if err != nil {
		t.Fatal(err)
	}
	header, body, ok := bytes.Cut(unix(raw), []byte("\n\n"))
	if !ok {
		t.Fatalf("%s has no body", name)
	}
	return stored{name: name, raw: raw, header: header, body: body}
}

// filesIn are the names of the new messages in a Maildir, which need not exist.
func filesIn(t testing.TB, dir string) (names []string) {
	t.Helper()
	files, err := os.ReadDir(filepath.Join(dir, "new"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, file := range files {
		names = append(names, file.Name())
	}
	return names
}

// coreBox is the Maildir of an address in the embedded core.
func coreBox(p *pop.PoP, address string) string {
	local, domain, _ := strings.Cut(address, "@")
	return filepath.Join(p.Maildirs(), domain, local)
}

// unix is text with its lines ended by LF.
func unix(text []byte) []byte { return bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")) }

// stored is a message in a mailbox.
type stored struct {
	name string // of its file
	raw  []byte // as it is in the file
	// header and body have their lines ended by LF, as most mail servers store
	// them.
	header, body []byte
}

// subject is the one line that a test knows a message by.
func (s stored) subject() string {
	for line := range strings.Lines(string(s.header)) {
		if text, ok := strings.CutPrefix(line, "Subject: "); ok {
			return strings.TrimSpace(text)
		}
	}
	return ""
}

// traceFields are what servers put in front of a message that is none of its
// author's.
var traceFields = []string{"Return-Path", "Received", "Delivered-To", "X-Original-To"}

// trace is what stands in front of sent, one field each. The test fails unless
// these are trace fields and all behind them is sent, byte for byte; a file
// whose lines end in LF alone is compared without CR.
func (s stored) trace(t testing.TB, sent []byte) (fields []string) {
	t.Helper()
	raw := s.raw
	if !bytes.Contains(raw, []byte("\r\n")) {
		sent = unix(sent)
	}
	trace, ok := bytes.CutSuffix(raw, sent)
	if !ok {
		t.Fatalf("%s: %d bytes arrived as %d:\n%.2000s", s.name, len(sent), len(raw), raw)
	}
	for line := range strings.Lines(string(unix(trace))) {
		name, _, _ := strings.Cut(line, ":")
		switch {
		case slices.Contains(traceFields, name):
			fields = append(fields, line)
		case strings.HasPrefix(line, " "), strings.HasPrefix(line, "\t"):
			fields[len(fields)-1] += line
		default:
			t.Errorf("%s: no trace field: %q", s.name, line)
		}
	}
	return fields
}

// received are the Received fields of trace, the latest first.
func (s stored) received(t testing.TB, sent []byte) []string {
	t.Helper()
	return slices.DeleteFunc(s.trace(t, sent), func(field string) bool { return !strings.HasPrefix(field, "Received:") })
}

// report is a delivery status notification (RFC 3464).
type report struct {
	message    textproto.MIMEHeader
	recipients []textproto.MIMEHeader
}

// report reads a notification. The test fails if it is none.
func (s stored) report(t testing.TB) report {
	t.Helper()
	fail := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatalf("no report: %v:\n%s", err, s.raw)
		}
	}
	m, err := mail.ReadMessage(bytes.NewReader(s.raw))
	fail(err)
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	fail(err)
	if kind != "multipart/report" || params["report-type"] != "delivery-status" {
		fail(errors.New(kind))
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	for {
		part, err := parts.NextPart()
		fail(err)
		kind, _, _ := mime.ParseMediaType(part.Header.Get("Content-Type"))
		if kind != "message/delivery-status" && kind != "message/global-delivery-status" {
			continue
		}
		text, err := io.ReadAll(part)
		fail(err)
		var r report
		for i, group := range strings.Split(strings.TrimSpace(string(unix(text))), "\n\n") {
			fields, err := mail.ReadMessage(strings.NewReader(group + "\n\n"))
			fail(err)
			if i == 0 {
				r.message = textproto.MIMEHeader(fields.Header)
			} else {
				r.recipients = append(r.recipients, textproto.MIMEHeader(fields.Header))
			}
		}
		return r
	}
}

// about is the part of the report on one recipient. The test fails if there are
// others.
func (r report) about(t testing.TB, address string) textproto.MIMEHeader {
	t.Helper()
	if len(r.recipients) != 1 || !strings.HasSuffix(r.recipients[0].Get("Final-Recipient"), address) {
		t.Fatalf("report is not about %s alone: %v", address, r.recipients)
	}
	return r.recipients[0]
}

// says fails the test where a field of a report does not hold its text.
func says(t testing.TB, fields textproto.MIMEHeader, want map[string]string) {
	t.Helper()
	for name, text := range want {
		if got := fields.Get(name); !strings.Contains(got, text) {
			t.Errorf("%s: %q, want %q", name, got, text)
		}
	}
}

// reports waits for n messages in a Maildir that are all reports.
func reports(t testing.TB, dir string, n int) (list []report) {
	t.Helper()
	for _, m := range mailbox(t, dir, n) {
		list = append(list, m.report(t))
	}
	return list
}
