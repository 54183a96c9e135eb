package wire

import (
	"errors"
	"testing"

	"anymx/edge/mail"
)

func TestParseCommand(t *testing.T) {
	for line, want := range map[string]struct{ verb, arg string }{
		"":                           {"", ""},
		"QUIT":                       {"QUIT", ""},
		"quit":                       {"QUIT", ""},
		"Mail From:<a@b> SIZE=1":     {"MAIL", "From:<a@b> SIZE=1"},
		"RCPT   TO:<a@b>\t":          {"RCPT", "TO:<a@b>"},
		" EHLO x":                    {"", "EHLO x"},
		"EHLO\tx":                    {"EHLO\tX", ""},
		"XYZZY a  b":                 {"XYZZY", "a  b"},
		"ABCDEFGHIJKLMNOP x":         {"ABCDEFGHIJKLMNOP", "x"},
		"ABCDEFGHIJKLMNOPQ x":        {"", "x"},
		"g\u00fcn x":                 {"G\u00fcN", "x"},
		"MAILFROM:<a@b>":             {"MAILFROM:<A@B>", ""},
		"BDAT 10 LAST":               {"BDAT", "10 LAST"},
		"STARTTLS ":                  {"STARTTLS", ""},
		"NOOP NOOP NOOP NOOP NOOP x": {"NOOP", "NOOP NOOP NOOP NOOP x"},
	} {
		var cmd Command
		cmd.parse([]byte(line))
		if cmd.Verb != want.verb || string(cmd.Arg) != want.arg || string(cmd.Line) != line {
			t.Errorf("%q: %q, %q", line, cmd.Verb, cmd.Arg)
		}
	}
}

func TestClean(t *testing.T) {
	for line, want := range map[string]struct {
		text string
		err  error
	}{
		"NOOP\r\n":          {"NOOP", nil},
		"NOOP \t \r\n":      {"NOOP", nil},
		"\r\n":              {"", nil},
		"a\tb\r\n":          {"a\tb", nil},
		"\u00fc\r\n":        {"\u00fc", nil},
		"NOOP\n":            {"", ErrBareLine},
		"\n":                {"", ErrBareLine},
		"NO\rOP\r\n":        {"", ErrBareLine},
		"NOOP\r\r\n":        {"", ErrBareLine},
		"NO\x00OP\r\n":      {"", ErrBareLine},
		"NO\x1bOP\r\n":      {"", ErrControl},
		"NO\x7fOP\r\n":      {"", ErrControl},
		"NO\xffOP\r\n":      {"", ErrNotUTF8},
		"NO\xc3\r\n":        {"", ErrNotUTF8},
		"\xff\x00\r\n":      {"", ErrBareLine}, // the worse of two faults counts
		"\xff\x01 x\r\n":    {"", ErrControl},
		"x\xed\xa0\x80\r\n": {"", ErrNotUTF8},
	} {
		text, err := clean([]byte(line))
		if !errors.Is(err, want.err) || string(text) != want.text {
			t.Errorf("%q: %q, %v", line, text, err)
		}
	}
}

// A reply is what it says, on as many lines as it has, and a client's word in it can't add another.
func TestAppendReply(t *testing.T) {
	for want, r := range map[string]mail.Reply{
		"250 2.0.0 Ok\r\n":               {Code: 250, Enhanced: mail.Enhanced{2, 0, 0}, Text: "Ok"},
		"220 mx ready\r\n":               {Code: 220, Text: "mx ready"},
		"250-mx\r\n250-SIZE\r\n250 \r\n": {Code: 250, Text: "mx\nSIZE\n"},
		"550-5.1.1 a\r\n550 5.1.1 b\r\n": {Code: 550, Enhanced: mail.Enhanced{5, 1, 1}, Text: "a\nb"},
		"500 a?250 b?c?\r\n":             {Code: 500, Text: "a\r250 b\x00c\x7f"},
		"500 \u00fc\r\n":                 {Code: 500, Text: "\u00fc"},
	} {
		if got := string(appendReply(nil, r)); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
