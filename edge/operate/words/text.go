package words

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"anymx/edge/mail"
)

// This file holds the helpers that format all text for people. They are pure: now is an argument.

// Clean makes s safe to print on a terminal and in one line: characters that are not printable,
// such as control sequences and marks that change the direction of text, appear as escapes.
func Clean(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		_, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return b.String()
}

// Cut shortens s to n characters, of which the last is then "…".
func Cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// address formats a path for people; "<>" is the null sender.
func address(p mail.Path) string {
	if p.IsNull() {
		return "<>"
	}
	return Clean(p.String())
}

// Count formats n with thousands separated: "1,234,567".
func Count(n int64) string {
	s := strconv.FormatInt(n, 10)
	start := 0
	if n < 0 {
		start = 1
	}
	for i := len(s) - 3; i > start; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// counted returns "1 message", "2 messages".
func counted(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return Count(n) + " " + noun + "s"
}

// Size formats a number of bytes in a fitting unit: "8.1 KiB".
func Size(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	v, unit := float64(n)/1024, 0
	for v >= 1023.95 && unit < 4 {
		v, unit = v/1024, unit+1
	}
	s := strconv.FormatFloat(v, 'f', 1, 64)
	if v >= 99.95 {
		s = strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strings.TrimSuffix(s, ".0") + " " + [...]string{"KiB", "MiB", "GiB", "TiB", "PiB"}[unit]
}

// timeUnits lists the units that Span uses.
var timeUnits = []struct {
	unit time.Duration
	name string
}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}}

// Span formats a length of time in one unit, or, if exactly is set, in two: "3h", "3h 5m". It
// rounds down, and anything below a second is "0s".
func Span(d time.Duration, exactly bool) string {
	if d == math.MinInt64 {
		d++
	}
	d = d.Abs()
	for i, u := range timeUnits {
		n := d / u.unit
		if n == 0 {
			continue
		}
		s := strconv.FormatInt(int64(n), 10) + u.name
		if exactly && i+1 < len(timeUnits) {
			next := timeUnits[i+1]
			if m := d % u.unit / next.unit; m > 0 {
				s += " " + strconv.FormatInt(int64(m), 10) + next.name
			}
		}
		return s
	}
	return "0s"
}

// When formats t relative to now: "3m ago", "in 4m", "now". The zero time is "-".
func When(t, now time.Time) string {
	d := t.Sub(now)
	switch {
	case t.IsZero():
		return "-"
	case d.Abs() < time.Second:
		return "now"
	case d < 0:
		return Span(d, false) + " ago"
	}
	return "in " + Span(d, false)
}

// moment formats t with its date, and relative to now.
func moment(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Format("2006-01-02 15:04:05 MST") + " (" + When(t, now) + ")"
}

// Redact keeps mail addresses off the TCP listener, whose readers may not be allowed to see them: a
// text from outside is replaced if it may contain an address.
func Redact(s string) string {
	if strings.ContainsAny(s, "@\uff20") {
		return "(names a mail address; see anymx status)"
	}
	return Clean(strings.ReplaceAll(strings.TrimSpace(s), "\n", "; "))
}
