package mail

import "unicode/utf8"

// appendClean appends s as text that stays on its line: control characters, line and paragraph
// separators and bidirectional controls become spaces. Invalid UTF-8 becomes "?", and so does
// everything outside ASCII if utf8ok is false.
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

// clean returns s as appendClean writes it. It copies only if something changes.
func clean(s string, utf8ok bool) string {
	if isPlain(s) && (utf8ok || isASCII(s)) {
		return s
	}
	return string(appendClean(nil, s, utf8ok))
}

// cut returns s shortened to at most n bytes. It doesn't split a rune, so the result may be up to
// three bytes shorter.
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
