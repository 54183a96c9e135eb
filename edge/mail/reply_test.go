package mail

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func TestReplyString(t *testing.T) {
	tests := []struct {
		reply Reply
		want  string
	}{
		{Reply{}, ""},
		{Reply{Code: 250}, "250"},
		{Reply{Code: 550, Enhanced: Enhanced{5, 1, 1}, Text: "no such user"}, "550 5.1.1 no such user"},
		{Reply{Code: 354, Text: "go on"}, "354 go on"},
		{Reply{Code: 250, Text: "one\ntwo"}, "250 one two"},
		{Reply{Code: 550, Text: "a\r\nb\x00c\x1b[31m\u2028d\u202e"}, "550 a  b c [31m d "},
		{Reply{Code: 550, Text: "caf\xe9 café"}, "550 caf? café"},
		{Reply{Code: 421, Enhanced: Enhanced{4, 7, 255}}, "421 4.7.255"},
	}
	for _, tt := range tests {
		if got := tt.reply.String(); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.reply, got, tt.want)
		}
	}
}

func TestReplyClasses(t *testing.T) {
	for code := range 700 {
		r := Reply{Code: code}
		classes := 0
		for _, in := range []bool{r.Positive(), r.Transient(), r.Permanent()} {
			if in {
				classes++
			}
		}
		if want := code >= 200 && code < 600; (classes == 1) != want || classes > 1 {
			t.Errorf("%d is in %d classes", code, classes)
		}
	}
}

func TestFailureError(t *testing.T) {
	tests := []struct {
		f    Failure
		want string
	}{
		{Failure{Reply: Reply{Code: 550, Enhanced: Enhanced{5, 1, 1}, Text: "no"}, Enhanced: Enhanced{5, 1, 1}, Permanent: true, Command: "RCPT", Remote: "mx[192.0.2.1]:25"},
			"mx[192.0.2.1]:25: RCPT: permanent failure: 550 5.1.1 no"},
		{Failure{Enhanced: Enhanced{4, 4, 1}, Command: "CONNECT", Cause: io.ErrUnexpectedEOF}, "CONNECT: temporary failure: 4.4.1 unexpected EOF"},
		{Failure{Enhanced: Enhanced{4, 4, 1}, Cause: errors.New("bad\r\nline")}, "temporary failure: 4.4.1 bad  line"},
		{Failure{Enhanced: Enhanced{4, 0, 0}}, "temporary failure: 4.0.0"},
	}
	for _, tt := range tests {
		if got := tt.f.Error(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
	var err error = &Failure{Cause: io.EOF}
	if !errors.Is(err, io.EOF) {
		t.Error("the cause can't be tested for")
	}
}

func TestNotifyHas(t *testing.T) {
	if n := Notify(0); !n.Has(NotifyFailure) || n.Has(NotifyDelay) || n.Has(NotifySuccess) || n.Has(NotifyNever) {
		t.Error("without NOTIFY, only failures are reported")
	}
	if n := NotifyNever; n.Has(NotifyFailure) {
		t.Error("NEVER must not report anything")
	}
	if n := NotifyDelay | NotifySuccess; !n.Has(NotifyDelay) || !n.Has(NotifySuccess) || n.Has(NotifyFailure) {
		t.Error("NOTIFY=DELAY,SUCCESS")
	}
}

func TestCut(t *testing.T) {
	for n := range 12 {
		s := "aé漢😀b"
		got := cut(s, n)
		if len(got) > n || !strings.HasPrefix(s, got) || strings.ContainsRune(got, '\ufffd') {
			t.Errorf("cut(%q, %d) = %q", s, n, got)
		}
		for _, r := range got {
			if r == '\ufffd' {
				t.Errorf("cut(%q, %d) broke a rune: %q", s, n, got)
			}
		}
	}
}
