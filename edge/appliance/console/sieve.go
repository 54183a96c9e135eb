package console

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Keys with a meaning here.
const (
	keyInterrupt = 0x03 // Ctrl-C
	keyEnd       = 0x04 // Ctrl-D
	keyEnter     = '\r'
	keyEscape    = 0x1b
)

// maxSequence bounds an escape sequence; those of keys are shorter.
const maxSequence = 12

// sieve passes keys and drops the rest: control characters without a meaning, invalid UTF-8, and
// escape sequences other than those of cursor keys. It works byte by byte, so fragments are put
// together. The zero value is ready for use.
type sieve struct {
	part  []byte // of an incomplete character or sequence
	after byte   // the last byte that passed
}

// editing are the control characters that pass: moving, deleting, history.
const editing = "\x01\x02\x03\x04\x05\x06\x08\x0b\x0c\x0e\x10\x15\x17\x7f"

// cursor are the sequences that pass, with the editor's equivalent. The second form of each is what
// a terminal sends in application mode, the third of Home and End what vt220 and the Linux console
// send.
var cursor = map[string]string{
	"\x1b[A": "\x10", "\x1bOA": "\x10", // up
	"\x1b[B": "\x0e", "\x1bOB": "\x0e", // down
	"\x1b[C": "\x06", "\x1bOC": "\x06", // right
	"\x1b[D": "\x02", "\x1bOD": "\x02", // left
	"\x1b[H": "\x01", "\x1bOH": "\x01", "\x1b[1~": "\x01", // Home
	"\x1b[F": "\x05", "\x1bOF": "\x05", "\x1b[4~": "\x05", // End
	"\x1b[3~": "\x1b[3~", // Delete
}

// pass processes a byte and returns the key that it completes; "" if none.
func (s *sieve) pass(c byte) string {
	if len(s.part) > 0 && s.part[0] == keyEscape {
		return s.sequence(c)
	}
	if c >= utf8.RuneSelf {
		return s.character(c)
	}
	s.part = s.part[:0]
	before := s.after
	s.after = c
	switch {
	case c == '\n' && before == '\r':
		return "" // one key, which some terminals send as two
	case c == '\n' || c == '\r':
		return "\r"
	case c == keyEscape:
		s.part = append(s.part, c)
		return ""
	case c == '\t':
		return " " // there is no completion
	case c >= ' ' && c != 0x7f:
		return string(rune(c))
	}
	if strings.IndexByte(editing, c) < 0 {
		return ""
	}
	return string(rune(c))
}

// sequence is the state within an escape sequence (ECMA-48 5.4).
func (s *sieve) sequence(c byte) string {
	switch {
	case c == keyInterrupt || c == keyEnd || c == '\r' || c == '\n':
		s.part = s.part[:0] // it was a lone Escape
		return s.pass(c)
	case c == keyEscape:
		s.part = append(s.part[:0], c)
		return ""
	}
	s.part = append(s.part, c)
	opened := len(s.part) == 2 && (c == '[' || c == 'O')
	inside := len(s.part) > 2 && c >= 0x20 && c < 0x40
	opened = opened || string(s.part) == "\x1b[[" // the Linux console's first function keys
	if (opened || inside) && len(s.part) < maxSequence {
		return ""
	}
	key := cursor[string(s.part)]
	s.part, s.after = s.part[:0], c
	return key
}

// character is the state within a character of several bytes.
func (s *sieve) character(c byte) string {
	s.part = append(s.part, c)
	s.after = c
	if !utf8.FullRune(s.part) {
		return ""
	}
	r, size := utf8.DecodeRune(s.part)
	begun := len(s.part)
	s.part = s.part[:0]
	switch {
	case r == utf8.RuneError && size == 1 && begun > 1:
		return s.pass(c) // the previous character was incomplete
	case r == utf8.RuneError || !unicode.IsPrint(r): // C1 controls, which terminals obey, are not printable
		return ""
	}
	return string(r)
}
