package words

import (
	"math"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"anymx/edge/operate/api"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"":                        "",
		"plain text, åäö 日本":      "plain text, åäö 日本",
		"\x1b[2J\x07":             `\x1b[2J\a`,
		"a\nb\tc\r":               `a\nb\tc\r`,
		"\u009b31m":               `\u009b31m`,
		"\u202eexe.txt":           `\u202eexe.txt`,
		"bad \xff\xfe":            `bad \xff\xfe`,
		"real \ufffd replacement": "real \ufffd replacement",
		"soft\u00adhyphen":        `soft\u00adhyphen`,
		"nbsp\u00a0":              `nbsp\u00a0`,
	} {
		if got := Clean(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzClean(f *testing.F) {
	for _, s := range []string{"", "a b", "\x1b[0m", "\xff", "\ufffd", "\u2028", "a@b", "\U000e0001"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c := Clean(s)
		if !utf8.ValidString(c) || strings.ContainsFunc(c, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Fatalf("%q: %q can't be printed", s, c)
		}
		if Clean(c) != c {
			t.Fatalf("%q: cleaned twice it is %q", s, Clean(c))
		}
		if strings.Contains(Redact(s), "@") {
			t.Fatalf("%q: %q holds an address", s, Redact(s))
		}
	})
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1: "1 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 102400: "100 KiB", 102348: "99.9 KiB", 102399: "100 KiB",
		1<<20 - 1: "1 MiB", 35 << 20: "35 MiB", 20 << 30: "20 GiB", 3 << 40: "3 TiB", math.MaxInt64: "8192 PiB",
	} {
		if got := Size(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1: "-1", -999: "-999", -1000: "-1,000", math.MinInt64: "-9,223,372,036,854,775,808",
	} {
		if got := Count(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
	if got := Messages(1) + ", " + Messages(0) + ", " + Messages(1000); got != "1 message, 0 messages, 1,000 messages" {
		t.Error(got)
	}
}

func TestTimes(t *testing.T) {
	now := time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)
	for _, tt := range []struct {
		d           time.Duration
		when, exact string
	}{
		{0, "now", "0s"},
		{-999 * time.Millisecond, "now", "0s"},
		{time.Second, "in 1s", "1s"},
		{-59 * time.Second, "59s ago", "59s"},
		{90 * time.Second, "in 1m", "1m 30s"},
		{-3 * time.Hour, "3h ago", "3h"},
		{-(3*time.Hour + 59*time.Second), "3h ago", "3h"},
		{26*time.Hour + 5*time.Minute, "in 1d", "1d 2h"},
		{-400 * 24 * time.Hour, "400d ago", "400d"},
		{math.MinInt64, "106751d ago", "106751d 23h"},
	} {
		if got := When(now.Add(tt.d), now); got != tt.when {
			t.Errorf("%v: %q, want %q", tt.d, got, tt.when)
		}
		if got := Span(tt.d, true); got != tt.exact {
			t.Errorf("%v: %q, want %q", tt.d, got, tt.exact)
		}
	}
	if got := When(time.Time{}, now); got != "-" {
		t.Errorf("the zero time is %q", got)
	}
	if got := Due(now.Add(-time.Hour), now); got != "now" {
		t.Errorf("what was due an hour ago is due %q", got)
	}
	if got := moment(now.Add(-time.Hour), now); got != "2026-03-14 08:26:53 UTC (1h ago)" {
		t.Error(got)
	}
}

func TestCut(t *testing.T) {
	for _, tt := range []struct {
		in   string
		n    int
		want string
	}{{"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"åäöå", 3, "åä…"}, {"", 3, ""}} {
		if got := Cut(tt.in, tt.n); got != tt.want {
			t.Errorf("%q to %d: %q", tt.in, tt.n, got)
		}
	}
}

func TestExpiry(t *testing.T) {
	now := time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)
	for after, want := range map[time.Duration]string{
		90 * 24 * time.Hour: "expires in 90d (2026-06-12)",
		13 * 24 * time.Hour: "EXPIRES SOON, in 13d (2026-03-27)",
		-time.Hour:          "EXPIRED 1h ago (2026-03-14)",
	} {
		if got := ExpiryText((&api.TLSStatus{NotAfter: now.Add(after)}), now); got != want {
			t.Errorf("%v: %q, want %q", after, got, want)
		}
	}
}
