package mail

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/textproto"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "write the golden files anew")

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

var dsnStories = []struct {
	name   string
	change func(*DSN)
}{
	{"failed", func(*DSN) {}},
	{"full", func(d *DSN) {
		d.Original.Return = ReturnFull
		d.Original.EnvID = "QQ314159"
		d.Original.Recipients[0].ORcpt = "RFC822;b+tag@example.net"
	}},
	{"utf8", func(d *DSN) {
		d.Original.SMTPUTF8 = true
		d.Original.Sender = Path{"jörg", "bücher.example"}
		d.Original.Recipients[0] = Recipient{Path: Path{"用户", "例え.テスト"}, ORcpt: "utf-8;用户@例え.テスト"}
		d.Recipients[0].Result.Failure.Reply.Text = "unbekannter Empfänger"
		d.Message = strings.NewReader("Subject: Grüße\r\n\r\nx\r\n")
	}},
	{"utf8-domains", func(d *DSN) {
		d.Original.SMTPUTF8, d.Original.Return, d.Original.EnvID = true, ReturnFull, "QQ 314=159"
		d.Original.Sender = Path{"joerg", "bücher.example"}
		d.Original.Recipients[0] = Recipient{Path: Path{"b", "bücher.example"}, ORcpt: `UTF-8;b+tag@bücher.example`}
		d.Message = strings.NewReader("Subject: hello\r\n\r\nGr\xfc\xdfe\r\n")
	}},
	{"latin1", func(d *DSN) {
		d.Message = strings.NewReader("Subject: Gr\xfc\xdfe \r\nX: =?utf-8?q?=20?=\r\n\r\nx\r\n")
	}},
	{"expired-in-a-pause", func(d *DSN) {
		d.HideRemote = true
		d.Recipients[0].Action, d.Recipients[0].Reason = ActionExpired, "connection refused"
		d.Recipients[0].Result.Failure = &Failure{Enhanced: Enhanced{4, 4, 1}, Cause: errors.New("dial tcp 10.77.0.1:2525: connection refused")}
		d.Recipients[0].Earlier = &Failure{Reply: Reply{Code: 452, Enhanced: Enhanced{4, 2, 2}, Text: "full"}, Enhanced: Enhanced{4, 2, 2}, Remote: "core[10.0.0.1]:25"}
	}},
	{"delayed", func(d *DSN) {
		r := &d.Recipients[0]
		r.Action, r.RetryUntil = ActionDelayed, d.Original.Arrived.Add(5*24*time.Hour)
		r.Result.Failure = &Failure{Enhanced: Enhanced{4, 4, 1}, Command: "CONNECT", Remote: "core.example.net[10.77.0.1]:2525", Cause: errors.New("connection refused")}
	}},
	{"relayed", func(d *DSN) {
		d.Recipients[0] = DSNRecipient{Action: ActionRelayed, Result: Result{Reply: Reply{Code: 250, Enhanced: Enhanced{2, 6, 0}, Text: "stored"}, Remote: "[2001:db8::1]:25", Relayed: true}, LastAttempt: d.Date}
	}},
	{"several", func(d *DSN) {
		d.HideRemote = true
		d.Original.Recipients = append(d.Original.Recipients, Recipient{Path: Path{"c d", "example.net"}}, Recipient{Path: Path{"e", "example.org"}})
		d.Recipients = append(d.Recipients,
			DSNRecipient{Action: ActionExpired, Result: Result{Recipient: 1, Failure: &Failure{Enhanced: Enhanced{4, 2, 2}, Reply: Reply{Code: 452, Enhanced: Enhanced{4, 2, 2}, Text: "full"}, Command: "RCPT", Remote: "core[10.0.0.1]:25"}}, LastAttempt: d.Date},
			DSNRecipient{Action: ActionExpired, Result: Result{Recipient: 2, Failure: &Failure{Enhanced: Enhanced{4, 4, 1}, Cause: errors.New("dial tcp 10.77.0.1:2525: connection refused")}}})
	}},
	{"nothing-returned", func(d *DSN) { d.Message = nil }},
}

func TestDSNGolden(t *testing.T) {
	for _, story := range dsnStories {
		t.Run(story.name, func(t *testing.T) {
			d := testDSN()
			story.change(d)
			got := writeDSN(t, d)
			checkDSN(t, d, got)
			file := filepath.Join("testdata", "dsn", story.name+".eml")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("differs from %s, got\n%s", file, got)
			}
		})
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

// checkDSN reads a notification as a mail program would, and returns what it
// returns of the original.
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

// checkTo looks for the sender in the To field, and in the envelope.
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

// checkText looks for a reason below each recipient.
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
			t.Fatalf("line %d has %d octets", i, len(line))
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
			t.Fatalf("%q is no utf-8-addr-xtext", plain)
		}
		b.WriteString(plain)
		if !found {
			break
		}
		digits, rest, _ := strings.Cut(rest, "}")
		n, err := strconv.ParseUint(digits, 16, 32)
		if err != nil || len(digits) < 2 || len(digits) > 2 && digits[0] == '0' || strings.ToUpper(digits) != digits {
			t.Fatalf("%q is no HEXPOINT", digits)
		}
		b.WriteRune(rune(n))
		s = rest
	}
	return b.String()
}

func TestDSNReturns(t *testing.T) {
	long := strings.Repeat("x", 5000)
	full := func(d *DSN) { d.Original.Return = ReturnFull }
	tests := []struct {
		name, message string
		change        func(*DSN)
		want          string
	}{
		{"header", "A: b\r\nC: d\r\n\r\nbody\r\n", func(*DSN) {}, "A: b\r\nC: d\r\n"},
		{"header without body", "A: b\r\nC: d", func(*DSN) {}, "A: b\r\nC: d\r\n"},
		{"no blank line", "A: b\r\nbody starts\r\n", func(*DSN) {}, "A: b\r\n"},
		{"empty", "", func(*DSN) {}, ""},
		{"full", "A: b\r\n\r\nbody\r\n", full, "A: b\r\n\r\nbody\r\n"},
		{"full without a line end", "A: b\r\n\r\nbody", full, "A: b\r\n\r\nbody\r\n"},
		{"full, but too big", "A: b\r\n\r\nbody\r\n", func(d *DSN) { d.Original.Return, d.MaxFull = ReturnFull, 999 }, "A: b\r\n"},
		{"full, but only delayed", "A: b\r\n\r\nbody\r\n", func(d *DSN) { d.Original.Return, d.Recipients[0].Action = ReturnFull, ActionDelayed }, "A: b\r\n"},
		{"full, but REQUIRETLS", "A: b\r\n\r\nbody\r\n", func(d *DSN) { d.Original.Return, d.Original.RequireTLS = ReturnFull, true }, "A: b\r\n"},
		{"full, but 8-bit", "A: b\r\n\r\n\xe9\r\n", full, "A: b\r\n"},
		{"full, but 8-bit in the header", "A: \xe9\r\n\r\nbody\r\n", full, "A: \xe9\r\n"},
		{"full, but a line too long", "A: b\r\n\r\n" + long + "\r\n", full, "A: b\r\n"},
		{"full, with the longest line", "A: b\r\n\r\n" + long[:maxLine] + "\r\n", full, "A: b\r\n\r\n" + long[:maxLine] + "\r\n"},
		{"full, but bare CR", "A: b\r\n\r\na\rb\r\n", full, "A: b\r\n"},
		{"full, but bare LF", "A: b\r\n\r\na\nb\r\n", full, "A: b\r\n"},
		{"full, but NUL", "A: b\r\n\r\na\x00b\r\n", full, "A: b\r\n"},
		{"full, but CR at its end", "A: b\r\n\r\na\r", full, "A: b\r\n"},
		{"long line", "A: " + long + "\r\nB: c\r\n\r\n", func(*DSN) {}, "A: " + long + "\r\nB: c\r\n"},
		{"long header", strings.Repeat("A: "+long[:600]+"\r\n", 200), func(*DSN) {}, strings.Repeat("A: "+long[:600]+"\r\n", MaxDSNHeader/605)},
		{"bare CR, LF and NUL", "A: b\rc\nD: e\x00\r\n\r\n", func(*DSN) {}, "A: b\rc\nD: e\x00\r\n"},
		{"a boundary that it can't guess", "A: b\r\n\r\n--=_x\r\n\r\n", full, "A: b\r\n\r\n--=_x\r\n\r\n"},
		{"8-bit header", "A: \xe9\r\n\r\n", func(*DSN) {}, "A: \xe9\r\n"},
		{"UTF-8 header", "A: é = \t \r\n .\r\nFrom : x\r\n\r\n", func(*DSN) {}, "A: é = \t \r\n .\r\nFrom : x\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, wrap := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.DataErrReader} {
				d := testDSN()
				tt.change(d)
				d.Message = wrap(strings.NewReader(tt.message))
				if got := checkDSN(t, d, writeDSN(t, d)); string(got) != tt.want {
					t.Fatalf("returned %.200q, want %.200q", got, tt.want)
				}
			}
		})
	}
}

// ORCPT comes back as it was given, whatever its type (RFC 3461 section 6.3).
func TestOriginalRecipient(t *testing.T) {
	for orcpt, want := range map[string]string{
		"rfc822;b+tag=1@example.net":         "rfc822; b+tag=1@example.net",
		"RFC822;\"c d\"@example.net":         `rfc822; "c d"@example.net`,
		"x400;/G=b/S=c/":                     "x400; /G=b/S=c/",
		"utf-8;b@example.net":                "utf-8; b@example.net",
		`utf-8;b+tag\x@example.net`:          `utf-8; b\x{2B}tag\x{5C}x@example.net`,
		"utf-8;é@bücher.example":             `utf-8; \x{E9}@b\x{FC}cher.example`,
		"utf-8;用户@例え.テスト":                    `utf-8; \x{7528}\x{6237}@\x{4F8B}\x{3048}.\x{30C6}\x{30B9}\x{30C8}`,
		"utf-8;\U0001f600 \r\n@x":            `utf-8; \x{1F600}\x{20}\x{0D}\x{0A}@x`,
		"rfc822;é@x":                         `utf-8; \x{E9}@x`, // it can't be of RFC 822
		"rfc822;a\r\nX: y":                   "",
		"rfc822;\xff":                        "",
		"rfc822":                             "",
		"rfc822;":                            "",
		"a b;c":                              "",
		"rfc822;" + strings.Repeat("x", 500): "rfc822; " + strings.Repeat("x", 500),
		"utf-8;" + strings.Repeat("é", 500):  "", // no line is so long
	} {
		if got := originalRecipient(orcpt); got != want {
			t.Errorf("%q: %q, want %q", orcpt, got, want)
		}
	}
}

func TestDSNRefuses(t *testing.T) {
	for name, change := range map[string]func(*DSN){
		"no recipient":      func(d *DSN) { d.Recipients = nil },
		"null sender":       func(d *DSN) { d.Original.Sender = Path{} },
		"no original":       func(d *DSN) { d.Original = nil },
		"unknown recipient": func(d *DSN) { d.Recipients[0].Result.Recipient = 1 },
		"no random":         func(d *DSN) { d.Random = [12]byte{} },
	} {
		d := testDSN()
		change(d)
		if err := WriteDSN(io.Discard, d); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestDSNErrors(t *testing.T) {
	d := testDSN()
	d.Message = iotest.ErrReader(io.ErrUnexpectedEOF)
	if err := WriteDSN(io.Discard, d); !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "original message") {
		t.Errorf("a broken original gives %v", err)
	}
	d = testDSN()
	d.Original.Return, d.Message = ReturnFull, iotest.ErrReader(io.ErrUnexpectedEOF)
	if err := WriteDSN(io.Discard, d); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a broken full original gives %v", err)
	}
	if err := WriteDSN(brokenWriter{}, testDSN()); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a broken writer gives %v", err)
	}
}

func TestRemoteName(t *testing.T) {
	for remote, want := range map[string]string{
		"mx.example[192.0.2.1]:25": "mx.example", "[192.0.2.1]:25": "[192.0.2.1]", "192.0.2.1:25": "[192.0.2.1]",
		"192.0.2.1[192.0.2.1]:25": "[192.0.2.1]", "[2001:db8::1]:25": "[IPv6:2001:db8::1]", "a b\r\n": "a?b??",
	} {
		if got := remoteName(remote); got != want {
			t.Errorf("%q: %q, want %q", remote, got, want)
		}
	}
}

func FuzzDSN(f *testing.F) {
	f.Add("a@example.com", "b@example.net", "rfc822;b@example.net", "id", "550 no\nsuch user", "cause", "A: b\r\n\r\nbody\r\n", uint8(0))
	f.Add("jörg@bücher.example", `"c d"@example.net`, "utf-8;é@x", "é\r\n", strings.Repeat("é", 3000), "x\r\ny", "A: \xe9\n\n\r\x00--=_", uint8(255))
	f.Add("a@example.com", "b@example.net", "x", "\r\n.\r\n", strings.Repeat("x ", 3000), "", strings.Repeat("x", 3000), uint8(3))
	f.Fuzz(func(t *testing.T, sender, rcpt, orcpt, envid, text, cause, message string, bits uint8) {
		from, errFrom := ParsePath(sender)
		to, errTo := ParsePath(rcpt)
		if errFrom != nil || errTo != nil {
			return
		}
		d := testDSN()
		d.Original.Sender, d.Original.EnvID = from, envid
		d.Original.Recipients = []Recipient{{Path: to, ORcpt: orcpt}, {Path: Path{"other", "example.net"}}}
		d.Message = strings.NewReader(message)
		if bits&1 != 0 {
			d.Original.Return = ReturnFull
		}
		d.Original.SMTPUTF8 = bits&2 != 0
		d.HideRemote = bits&4 != 0
		reason := ""
		if bits&8 != 0 {
			reason = text
		}
		d.Recipients = []DSNRecipient{
			{Action: Action(bits >> 3 % 5), Result: Result{Failure: &Failure{Reply: Reply{Code: 550, Text: text}, Command: "RCPT", Remote: cause}}, RetryUntil: d.Date},
			{Action: Action(bits >> 4 % 5), Result: Result{Recipient: 1, Failure: &Failure{Enhanced: Enhanced{int(bits >> 6), int(bits % 9), int(bits % 11)}, Cause: errors.New(cause), Remote: text}}, Reason: reason,
				Earlier: &Failure{Reply: Reply{Code: 452, Text: cause}, Remote: text}},
		}
		returned := string(checkDSN(t, d, writeDSN(t, d)))
		header, err := readHeader(strings.NewReader(message))
		if err != nil {
			t.Fatal(err)
		}
		if want := string(endLine(header)); returned != want && (!d.wantsFull() || returned != string(endLine([]byte(message)))) {
			t.Fatalf("returned %.200q, want %.200q", returned, want)
		}
	})
}

func BenchmarkDSN(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if err := WriteDSN(io.Discard, testDSN()); err != nil {
			b.Fatal(err)
		}
	}
}
