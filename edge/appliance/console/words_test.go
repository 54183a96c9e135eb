package console

import (
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestSplit(t *testing.T) {
	for _, tt := range []struct {
		line string
		want []string
		fail string
	}{
		{"", nil, ""},
		{" \t ", nil, ""},
		{"status", []string{"status"}, ""},
		{"  queue\tlist  --state held ", []string{"queue", "list", "--state", "held"}, ""},
		{`drain --reason "kernel update"`, []string{"drain", "--reason", "kernel update"}, ""},
		{`drain --reason='it''s'`, []string{"drain", "--reason=its"}, ""},
		{`a 'b\c' "d\"e" f\ g`, []string{"a", `b\c`, `d"e`, "f g"}, ""},
		{`queue list --sender "" --recipient ''`, []string{"queue", "list", "--sender", "", "--recipient", ""}, ""},
		{"a; b | c > d $HOME `e` * ~ # f && g", []string{"a;", "b", "|", "c", ">", "d", "$HOME", "`e`", "*", "~", "#", "f", "&&", "g"}, ""},
		{"grün \u00a0x", []string{"grün", "\u00a0x"}, ""},
		{`a "b`, nil, "quote is not closed"},
		{`a 'b`, nil, "quote is not closed"},
		{`a \`, nil, "ends with a backslash"},
		{"a\x1b[2J", nil, "control character (U+001B)"},
		{"a\u009b", nil, "control character (U+009B)"},
		{"a\nb", nil, "control character (U+000A)"},
		{"a\xffb", nil, "not valid UTF-8"},
		{strings.Repeat("a", maxLine+1), nil, "the limit is 1024"},
		{strings.Repeat("a ", maxWords+1), nil, "the limit is 100"},
	} {
		got, err := Split(tt.line)
		if tt.fail != "" {
			if err == nil || !strings.Contains(err.Error(), tt.fail) || got != nil {
				t.Errorf("%q: %q, %v", tt.line, got, err)
			}
			continue
		}
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, %v; want %q", tt.line, got, err, tt.want)
		}
	}
}

// Words are bounded and contain no terminal control characters; quoting them and splitting again
// gives the same words.
func FuzzSplit(f *testing.F) {
	for _, seed := range []string{"status", `a 'b c' "d\"" e\ f`, "''", `"\`, "a\x00b", "\xff", strings.Repeat("' ", 600)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		words, err := Split(line)
		if err != nil {
			if words != nil {
				t.Fatalf("%q: words beside an error", line)
			}
			return
		}
		var quoted []string
		size := 0
		for _, w := range words {
			if !utf8.ValidString(w) || strings.ContainsFunc(w, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }) {
				t.Fatalf("%q: the word %q", line, w)
			}
			size += len(w)
			quoted = append(quoted, "'"+strings.ReplaceAll(w, "'", `'\''`)+"'")
		}
		if len(words) > maxWords || size > len(line) {
			t.Fatalf("%q: %d words of %d bytes", line, len(words), size)
		}
		again := strings.Join(quoted, " ")
		if len(again) > maxLine {
			return
		}
		if got, err := Split(again); err != nil || !slices.Equal(got, words) {
			t.Fatalf("%q: %q, and quoted %q (%v)", line, words, got, err)
		}
	})
}
