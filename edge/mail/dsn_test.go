package mail

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files")

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

// TestOriginalRecipient: ORCPT is returned as it was given, whatever its type (RFC 3461 section
// 6.3).
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
