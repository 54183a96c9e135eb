package smtpc

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode"
	"unicode/utf8"

	"anymx/edge/mail"
)

func newReplies(src io.Reader) *replies {
	return &replies{src: src, buf: make([]byte, readBuffer)}
}

func TestReply(t *testing.T) {
	long := strings.Repeat("x", maxReplyLine)
	for _, test := range []struct {
		in   string
		code int
		enh  mail.Enhanced
		text string
		err  error
	}{
		{in: "250 ok\r\n", code: 250, text: "ok"},
		{in: "250\r\n", code: 250},
		{in: "250 \r\n", code: 250},
		{in: "250-\r\n250 \r\n", code: 250, text: "\n"},
		{in: "250-2.1.0 a\r\n250-b\r\n250 2.1.0 c\r\n", code: 250, enh: mail.Enhanced{2, 1, 0}, text: "a\nb\nc"},
		{in: "550 5.1.1\r\n", code: 550, enh: mail.Enhanced{5, 1, 1}},
		{in: "550 5.7.999 x\r\n", code: 550, enh: mail.Enhanced{5, 7, 999}, text: "x"},
		{in: "550 5.7.1000 x\r\n", code: 550, text: "5.7.1000 x"},
		{in: "550 5.7.1.2 x\r\n", code: 550, text: "5.7.1.2 x"},
		{in: "550 5.7. x\r\n", code: 550, text: "5.7. x"},
		{in: "550 5..7 x\r\n", code: 550, text: "5..7 x"},
		{in: "550 5.71x\r\n", code: 550, text: "5.71x"},
		{in: "550 4.7.1 class differs\r\n", code: 550, text: "4.7.1 class differs"},
		{in: "354 3.0.0 no class 3\r\n", code: 354, text: "3.0.0 no class 3"},
		{in: "571 old codes\r\n", code: 571, text: "old codes"},
		{in: "250 a\tb\x00\x1b\x7f\r\n", code: 250, text: "a b???"},
		{in: "250 a\rb\r\n", code: 250, text: "a?b"},
		{in: "250 ü\xc3\xff\u0085\u202e\u2028\r\n", code: 250, text: "ü?????"},
		{in: "250 " + long[:maxReplyText-1] + "üx\r\n", code: 250, text: long[:maxReplyText-1]},
		{in: "250 " + long[:maxReplyText-2] + "üx\r\n", code: 250, text: long[:maxReplyText-2] + "ü"},
		{in: "250 " + long[:maxReplyLine-6] + "\r\n", code: 250, text: long[:maxReplyText]},
		{in: "250 " + long[:maxReplyLine-5] + "\r\n", err: errReplyLine},
		{in: long + long + long, err: errReplyLine},
		{in: strings.Repeat("250-xy\r\n", maxReplyLines-1) + "250 x\r\n", code: 250,
			text: strings.Repeat("xy\n", maxReplyText/3) + "xy"},
		{in: strings.Repeat("250-x\r\n", maxReplyLines) + "250 x\r\n", err: errReplyLines},
		{in: strings.Repeat("250-"+long[:1000]+"\r\n", 40) + "250 x\r\n", err: errReplyLines},
		{in: "250-a\r\n251 b\r\n", err: errReplyCode},
		{in: "250-a\r\nb\r\n", err: errReplyForm},
		{in: "250 a\n", err: errReplyEnd},
		{in: "\n", err: errReplyEnd},
		{in: "\r\n", err: errReplyForm},
		{in: "25\r\n", err: errReplyForm},
		{in: "250_ok\r\n", err: errReplyForm},
		{in: "150 ok\r\n", err: errReplyForm},
		{in: "650 ok\r\n", err: errReplyForm},
		{in: "2a0 ok\r\n", err: errReplyForm},
		{in: "+OK\r\n", err: errReplyForm},
		{in: "250 ok\r", err: io.ErrUnexpectedEOF},
		{in: "250-ok\r\n", err: io.ErrUnexpectedEOF},
		{in: "", err: io.ErrUnexpectedEOF},
	} {
		for name, src := range map[string]io.Reader{
			"whole":   strings.NewReader(test.in),
			"by byte": iotest.OneByteReader(strings.NewReader(test.in)),
		} {
			r, err := newReplies(src).next(nil)
			if !errors.Is(err, test.err) {
				t.Errorf("%.40q %s: error %v, want %v", test.in, name, err, test.err)
			}
			if r.code != test.code || r.enhanced != test.enh || string(r.text) != test.text {
				t.Errorf("%.40q %s: %d %v %q", test.in, name, r.code, r.enhanced, r.text)
			}
		}
	}
}

func TestRepliesInTurn(t *testing.T) {
	rr := newReplies(strings.NewReader("250 a\r\n550-5.1.1 b\r\n550 5.1.1 c\r\n354 d\r\n"))
	var lines []string
	for range 3 {
		if _, err := rr.next(func(line []byte) { lines = append(lines, string(line)) }); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(lines, "|"); got != "a|5.1.1 b|5.1.1 c|d" || rr.buffered() != 0 {
		t.Errorf("%q, %d left", got, rr.buffered())
	}
}

// FuzzReply checks what must be true of every reply, and that the chunks in which it arrives don't
// matter.
func FuzzReply(f *testing.F) {
	for _, seed := range []string{
		"250 ok\r\n", "250-a\r\n250 b\r\n", "550 5.1.1 no\r\n", "421\r\n", "250 \xff\x00\u202e\r\n", "250-a\r\n251 b\r\n",
		"250 a\n", strings.Repeat("250-x\r\n", 300), strings.Repeat("9", 3000), "250 ok\r\n354 go\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		whole, pieces := newReplies(bytes.NewReader(in)), newReplies(iotest.OneByteReader(bytes.NewReader(in)))
		for range len(in) {
			a, errA := whole.next(nil)
			text := string(a.text)
			b, errB := pieces.next(nil)
			if (errA == nil) != (errB == nil) || a.code != b.code || a.enhanced != b.enhanced || text != string(b.text) {
				t.Fatalf("whole %v %v %q %v, in pieces %v %v %q %v", a.code, a.enhanced, text, errA, b.code, b.enhanced, b.text, errB)
			}
			if errA != nil {
				return
			}
			if a.code < 200 || a.code > 599 || len(text) > maxReplyText || !utf8.ValidString(text) {
				t.Fatalf("%d %q", a.code, text)
			}
			if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && unicode.IsControl(r) }); i >= 0 {
				t.Fatalf("control in %q", text)
			}
			if e := a.enhanced; e != (mail.Enhanced{}) && (e[0] != a.code/100 || e[1] > 999 || e[2] > 999) {
				t.Fatalf("%d with %v", a.code, e)
			}
		}
	})
}
