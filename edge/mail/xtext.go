package mail

import (
	"errors"
	"strings"
)

var errXtext = errors.New("bad xtext")

// DecodeXtext decodes the xtext of RFC 3461 section 4. It refuses control characters, encoded or
// not.
func DecodeXtext(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c <= ' ' || c >= 0x7f {
			return "", errXtext
		}
		if c == '+' {
			if i+2 >= len(s) {
				return "", errXtext
			}
			high, low := unhex(s[i+1]), unhex(s[i+2])
			if high < 0 || low < 0 {
				return "", errXtext
			}
			c = byte(high<<4 | low)
			i += 2
		}
		if c < ' ' || c == 0x7f {
			return "", errXtext
		}
		b.WriteByte(c)
	}
	return b.String(), nil
}

// unhex returns the value of a hexadecimal digit, or -1.
func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}
