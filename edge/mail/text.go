package mail

import "unicode/utf8"

// appendClean appends s as text that stays on its line: controls, line and
// paragraph separators and what turns the direction of a line become spaces,
// and what is not UTF-8, or not ASCII where utf8ok is false, becomes "?".
func appendClean(b []byte, s string, utf8ok bool) []byte {
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c < ' ' || c == 0x7f {
				c = ' '
			}
			b = append(b, c)
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1, !utf8ok:
			b = append(b, '?')
		case notPlain(r):
			b = append(b, ' ')
		default:
			b = append(b, s[i:i+n]...)
		}
		i += n
	}
	return b
}

// clean is appendClean to a string; it copies only where something changes.
func clean(s string, utf8ok bool) string {
	if isPlain(s) && (utf8ok || isASCII(s)) {
		return s
	}
	return string(appendClean(nil, s, utf8ok))
}

// cut is s without what goes beyond n octets, not in the middle of a rune where
// s is UTF-8; of octets that are none it leaves nearly n.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	end := n
	for end > 0 && end > n-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}
