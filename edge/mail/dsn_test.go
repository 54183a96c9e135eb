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

// checkDSN reads a notification as a mail program would.
func checkDSN(t *testing.T, d *DSN, raw []byte) (returned []byte) {
	t.Helper()
	checkLines(t, raw)
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"From": "Mail Delivery System <mailer-daemon@" + d.Hostname + ">", "Auto-Submitted": "auto-replied", "Mime-Version": "1.0",
		"To": "<" + d.Original.Sender.String() + ">", "Message-Id": "<" + d.ID.String() + "@" + d.Hostname + ">",
	} {
		if got := m.Header[name]; len(got) != 1 || got[0] != want {
			t.Fatalf("%s is %q, want %q", name, got, want)
		}
	}
	if date, err := m.Header.Date(); err != nil || !date.Equal(d.Date.Truncate(time.Second)) {
		t.Fatalf("Date %v (%v)", date, err)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Fatalf("type %s %v (%v)", kind, params, err)
	}
	want := []string{"text/plain", "message/delivery-status", "text/rfc822-headers"}
	full := d.returnsFull()
	if full {
		want[2] = "message/rfc822"
	}
	if d.UTF8() {
		want[1], want[2] = "message/global-delivery-status", "message/global-headers"
		if full {
			want[2] = "message/global"
		}
	}
	if d.Message == nil {
		want = want[:2]
	}
	eightBit := m.Header.Get("Content-Transfer-Encoding") == "8bit"
	if !eightBit && !isASCII(string(raw)) {
		t.Fatal("not ASCII, and doesn't say so")
	}
	if env := d.Envelope(); (env.Body == Body8Bit) != eightBit || !env.Sender.IsNull() || env.SMTPUTF8 != d.UTF8() || env.Recipients[0].Path != d.Original.Sender {
		t.Fatalf("envelope %+v", env)
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	for i, kind := range want {
		p, err := parts.NextRawPart()
		if err != nil {
			t.Fatalf("part %d: %v", i, err)
		}
		if got, _, err := mime.ParseMediaType(p.Header.Get("Content-Type")); got != kind || err != nil {
			t.Fatalf("part %d is %s, want %s (%v)", i, got, kind, err)
		}
		if p.Header.Get("Content-Transfer-Encoding") == "8bit" && !eightBit {
			t.Fatalf("part %d is 8bit in 7bit", i)
		}
		content, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		switch i {
		case 1:
			checkStatus(t, d, content)
		case 2:
			returned = content
		}
	}
	if _, err := parts.NextRawPart(); err != io.EOF {
		t.Fatalf("more than %d parts (%v)", len(want), err)
	}
	return returned
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
		if bytes.ContainsAny(line, "\r\n\x00") {
			t.Fatalf("line %d has a bare CR, LF or NUL: %q", i, line)
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
		kind := "rfc822; "
		if !path.IsASCII() {
			kind = "utf-8; "
		}
		one(h, "Final-Recipient", kind+path.String())
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

func TestDSNReturns(t *testing.T) {
	long := strings.Repeat("x", 5000)
	runes := strings.Repeat("a", 996) + "é" + strings.Repeat("b", 10)
	tests := []struct {
		name, message string
		change        func(*DSN)
		want          string
	}{
		{"header", "A: b\r\nC: d\r\n\r\nbody\r\n", func(*DSN) {}, "A: b\r\nC: d\r\n"},
		{"header without body", "A: b\r\nC: d", func(*DSN) {}, "A: b\r\nC: d\r\n"},
		{"no blank line", "A: b\r\nbody starts\r\n", func(*DSN) {}, "A: b\r\n"},
		{"empty", "", func(*DSN) {}, ""},
		{"full", "A: b\r\n\r\nbody\r\n", func(d *DSN) { d.Original.Return = ReturnFull }, "A: b\r\n\r\nbody\r\n"},
		{"full without a line end", "A: b\r\n\r\nbody", func(d *DSN) { d.Original.Return = ReturnFull }, "A: b\r\n\r\nbody\r\n"},
		{"full, but too big", "A: b\r\n\r\nbody\r\n", func(d *DSN) { d.Original.Return, d.MaxFull = ReturnFull, 999 }, "A: b\r\n"},
		{"full, but only delayed", "A: b\r\n\r\nbody\r\n", func(d *DSN) { d.Original.Return, d.Recipients[0].Action = ReturnFull, ActionDelayed }, "A: b\r\n"},
		{"full, but REQUIRETLS", "A: b\r\n\r\nbody\r\n", func(d *DSN) { d.Original.Return, d.Original.RequireTLS = ReturnFull, true }, "A: b\r\n"},
		{"long line", "A: " + long + "\r\nB: c\r\n\r\n", func(*DSN) {}, ("A: " + long)[:maxLine] + "\r\nB: c\r\n"},
		{"long line of runes", "A: b\r\n\r\n" + runes + "\r\nc\r\n", func(d *DSN) { d.Original.Return = ReturnFull }, "A: b\r\n\r\n" + runes[:996] + "\r\nc\r\n"},
		{"long header", strings.Repeat("A: "+long[:600]+"\r\n", 200), func(*DSN) {}, strings.Repeat("A: "+long[:600]+"\r\n", MaxDSNHeader/605)},
		{"bare CR, LF and NUL", "A: b\r\n\r\na\rb\nc\x00d\r\r\n\re", func(d *DSN) { d.Original.Return = ReturnFull }, "A: b\r\n\r\na\r\nb\r\nc?d\r\n\r\n\r\ne\r\n"},
		{"a boundary that it can't guess", "A: b\r\n\r\n--=_x\r\n\r\n", func(d *DSN) { d.Original.Return = ReturnFull }, "A: b\r\n\r\n--=_x\r\n\r\n"},
		{"8-bit header", "A: \xe9\r\n\r\n", func(*DSN) {}, "A: \xe9\r\n"},
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
		d.Recipients = []DSNRecipient{
			{Action: Action(bits >> 3 % 5), Result: Result{Failure: &Failure{Reply: Reply{Code: 550, Text: text}, Command: "RCPT", Remote: cause}}, RetryUntil: d.Date},
			{Action: Action(bits >> 4 % 5), Result: Result{Recipient: 1, Failure: &Failure{Enhanced: Enhanced{4, 4, 1}, Cause: errors.New(cause), Remote: text}}},
		}
		raw := writeDSN(t, d)
		checkDSN(t, d, raw)
		if d.UTF8() && utf8.ValidString(message) && !utf8.Valid(raw) {
			t.Fatal("not UTF-8")
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
