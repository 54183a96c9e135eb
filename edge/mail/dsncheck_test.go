package mail

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/textproto"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func testDSN() *DSN {
	env := testEnvelope()
	env.Recipients[0].Notify = 0
	env.Return, env.Size = ReturnHeaders, 1000
	date := env.Arrived.Add(time.Hour)
	return &DSN{
		ID: NewIDs(0x1234).Next(date), Date: date, Hostname: "mx.example.net", Node: "ams1", Random: [12]byte{1, 2, 3},
		Original: env, MaxFull: 1 << 20,
		Message: strings.NewReader("Received: from a\r\n\tby b\r\nSubject: hello\r\nFrom: a@example.com\r\n\r\nThe body.\r\n"),
		Recipients: []DSNRecipient{{
			Action: ActionFailed,
			Result: Result{Recipient: 0, Failure: &Failure{
				Reply: Reply{Code: 550, Enhanced: Enhanced{5, 1, 1}, Text: "no such user\nat all"}, Enhanced: Enhanced{5, 1, 1},
				Permanent: true, Command: "RCPT", Remote: "core.example.net[10.77.0.1]:2525",
			}},
			LastAttempt: date.Add(-time.Second),
		}},
	}
}

func writeDSN(t *testing.T, d *DSN) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteDSN(&b, d); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// checkDSN reads a notification as a mail program would. It returns the part with the original.
func checkDSN(t *testing.T, d *DSN, raw []byte) (returned []byte) {
	t.Helper()
	checkLines(t, raw)
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"From": "Mail Delivery System <mailer-daemon@" + d.Hostname + ">", "Auto-Submitted": "auto-replied", "Mime-Version": "1.0",
		"Message-Id": "<" + d.ID.String() + "@" + d.Hostname + ">",
	} {
		if got := m.Header[name]; len(got) != 1 || got[0] != want {
			t.Fatalf("%s is %q, want %q", name, got, want)
		}
	}
	checkTo(t, d, m.Header["To"])
	if date, err := m.Header.Date(); err != nil || !date.Equal(d.Date.Truncate(time.Second)) {
		t.Fatalf("Date %v (%v)", date, err)
	}
	for name := range m.Header {
		if !strings.Contains(" From To Subject Date Message-Id Auto-Submitted Mime-Version Content-Type ", " "+name+" ") {
			t.Fatalf("field %q", name)
		}
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Fatalf("type %s %v (%v)", kind, params, err)
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	var kinds []string
	for {
		p, err := parts.NextPart() // decodes quoted-printable
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("after %q: %v", kinds, err)
		}
		kind, params, err := mime.ParseMediaType(p.Header.Get("Content-Type"))
		if err != nil {
			t.Fatalf("part after %q: %v", kinds, err)
		}
		if coding := p.Header.Get("Content-Transfer-Encoding"); coding != "" {
			t.Fatalf("%s is %s", kind, coding)
		}
		content, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		if !isASCII(string(content)) && utf8.Valid(content) != (params["charset"] == "utf-8") {
			t.Fatalf("%s has the charset %q for %q", kind, params["charset"], content)
		}
		switch len(kinds) {
		case 0:
			checkText(t, d, content)
		case 1:
			checkStatus(t, d, content)
		case 2:
			returned = content
		}
		kinds = append(kinds, kind)
	}
	want := "text/plain message/delivery-status text/rfc822-headers"
	if len(kinds) == 3 && kinds[2] == "message/rfc822" && d.wantsFull() {
		want = "text/plain message/delivery-status message/rfc822"
	}
	if d.Message == nil {
		want = "text/plain message/delivery-status"
	}
	if got := strings.Join(kinds, " "); got != want {
		t.Fatalf("parts %s, want %s", got, want)
	}
	return returned
}

// checkTo checks that the To field and the envelope name the sender.
func checkTo(t *testing.T, d *DSN, to []string) {
	t.Helper()
	sender := d.Original.Sender
	ascii := sender.ascii()
	env := d.Envelope()
	if env.Body != Body7Bit || !env.Sender.IsNull() || len(env.Recipients) != 1 || env.Recipients[0].Path != ascii || env.SMTPUTF8 == ascii.IsASCII() {
		t.Fatalf("envelope %+v", env)
	}
	if len(to) != 1 {
		t.Fatalf("To: %q", to)
	}
	if ascii.IsASCII() {
		if to[0] != "<"+ascii.String()+">" {
			t.Fatalf("To: %q, want %q", to, ascii)
		}
		return
	}
	list, err := mail.ParseAddressList(to[0]) // an empty group
	if err != nil || len(list) != 0 {
		t.Fatalf("To: %q: %v, %v", to[0], list, err)
	}
	name, ok := strings.CutSuffix(to[0], " :;")
	name, err = new(mime.WordDecoder).DecodeHeader(name)
	if !ok || err != nil || name != ascii.String() {
		t.Fatalf("To: %q names %q (%v), want %q", to[0], name, err, ascii)
	}
}

// checkText checks that the text has a reason for each recipient.
func checkText(t *testing.T, d *DSN, content []byte) {
	t.Helper()
	paragraphs := strings.Split(strings.TrimSuffix(string(content), "\r\n"), "\r\n\r\n")
	if len(paragraphs) != 3+len(d.Recipients) {
		t.Fatalf("%d paragraphs for %d recipients: %q", len(paragraphs), len(d.Recipients), content)
	}
	for i, r := range d.Recipients {
		address, reason, _ := strings.Cut(paragraphs[2+i], "\r\n")
		if want := "<" + clean(d.Original.Recipients[r.Result.Recipient].Path.String(), true) + ">"; address != want {
			t.Fatalf("paragraph for %q, want %q", address, want)
		}
		if len(strings.TrimSpace(reason)) < 5 && r.Action <= ActionDelayed {
			t.Fatalf("no reason in %q", paragraphs[2+i])
		}
	}
}

func checkLines(t *testing.T, raw []byte) {
	t.Helper()
	if !bytes.HasSuffix(raw, []byte("\r\n")) {
		t.Fatal("the last line is not ended")
	}
	for i, line := range bytes.Split(raw, []byte("\r\n")) {
		if len(line) > maxLine {
			t.Fatalf("line %d has %d bytes", i, len(line))
		}
		if bytes.ContainsAny(line, "\r\n\x00") || !isASCII(string(line)) {
			t.Fatalf("line %d has a bare CR, LF, NUL or 8-bit: %q", i, line)
		}
	}
}

// checkStatus reads the part for programs: one group of fields for the message,
// one for each recipient.
func checkStatus(t *testing.T, d *DSN, content []byte) {
	t.Helper()
	groups := strings.Split(strings.TrimSuffix(string(content), "\r\n"), "\r\n\r\n")
	if len(groups) != 1+len(d.Recipients) {
		t.Fatalf("%d groups for %d recipients: %q", len(groups), len(d.Recipients), content)
	}
	read := func(group string) textproto.MIMEHeader {
		m, err := mail.ReadMessage(strings.NewReader(group + "\r\n\r\n"))
		if err != nil {
			t.Fatalf("%v in %q", err, group)
		}
		return textproto.MIMEHeader(m.Header)
	}
	one := func(h textproto.MIMEHeader, name, want string) {
		if got := h[textproto.CanonicalMIMEHeaderKey(name)]; len(got) != 1 || got[0] != want {
			t.Fatalf("%s is %q, want %q", name, got, want)
		}
	}
	one(read(groups[0]), "Reporting-MTA", "dns; "+d.Hostname)
	for i, group := range groups[1:] {
		h, r := read(group), d.Recipients[i]
		path := d.Original.Recipients[r.Result.Recipient].Path
		if ascii := path.ascii(); ascii.IsASCII() {
			one(h, "Final-Recipient", "rfc822; "+ascii.String())
		} else if kind, addr, _ := strings.Cut(h.Get("Final-Recipient"), "; "); kind != "utf-8" || readUTF8Address(t, strings.ReplaceAll(addr, " @", "@")) != path.String() {
			t.Fatalf("Final-Recipient %q for %q", h.Get("Final-Recipient"), path)
		}
		if h.Get("Diagnostic-Code") == "" && r.Result.Failure != nil {
			t.Fatalf("no Diagnostic-Code in %q", group)
		}
		one(h, "Action", r.Action.String())
		one(h, "Final-Log-ID", d.Original.ID.String())
		if s := h.Get("Status"); len(s) < 5 || s[1] != '.' || !strings.Contains("245", s[:1]) {
			t.Fatalf("Status %q", s)
		}
		for name := range h {
			if !strings.Contains(" Original-Recipient Final-Recipient Action Status Remote-Mta Diagnostic-Code Last-Attempt-Date Will-Retry-Until Final-Log-Id ", " "+name+" ") {
				t.Fatalf("field %q in %q", name, group)
			}
		}
	}
}

// readUTF8Address decodes the ASCII form of RFC 6533 section 3.
func readUTF8Address(t *testing.T, s string) string {
	t.Helper()
	var b strings.Builder
	for s != "" {
		plain, rest, found := strings.Cut(s, `\x{`)
		if strings.ContainsAny(plain, `+=\ `) {
			t.Fatalf("%q is not utf-8-addr-xtext", plain)
		}
		b.WriteString(plain)
		if !found {
			break
		}
		digits, rest, _ := strings.Cut(rest, "}")
		n, err := strconv.ParseUint(digits, 16, 32)
		if err != nil || len(digits) < 2 || len(digits) > 2 && digits[0] == '0' || strings.ToUpper(digits) != digits {
			t.Fatalf("%q is not a HEXPOINT", digits)
		}
		b.WriteRune(rune(n))
		s = rest
	}
	return b.String()
}
