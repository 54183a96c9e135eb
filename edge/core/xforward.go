package core

import (
	"errors"
	"strings"
)

// xforward holds what an edge says about a message before its MAIL, by Postfix's XFORWARD command.
// Only IDENT has a meaning here; the others are for the log and are not trusted.
type xforward struct {
	ident, name, addr, helo string
}

// xforwardKeyword is the line in the EHLO reply.
const xforwardKeyword = "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE"

// maxAttribute is the longest value, in bytes.
const maxAttribute = 255

var errXforward = errors.New("bad XFORWARD")

// set sets the attributes of one XFORWARD command, all or none. A transaction may have several
// commands.
func (x *xforward) set(arg string) error {
	next := *x
	attributes := strings.Fields(arg)
	if len(attributes) == 0 {
		return errXforward
	}
	for _, a := range attributes {
		name, encoded, ok := strings.Cut(a, "=")
		if !ok {
			return errXforward
		}
		value, err := decodeXtext(encoded)
		if err != nil || len(value) > maxAttribute {
			return errXforward
		}
		if strings.EqualFold(value, "[UNAVAILABLE]") || strings.EqualFold(value, "[TEMPUNAVAIL]") {
			value = ""
		}
		switch strings.ToUpper(name) {
		case "IDENT":
			next.ident = value
		case "NAME":
			next.name = value
		case "ADDR":
			next.addr = value
		case "HELO":
			next.helo = value
		case "PORT", "PROTO", "SOURCE":
		default:
			return errXforward
		}
	}
	*x = next
	return nil
}

// decodeXtext decodes the xtext of RFC 3461 section 4. It refuses control characters, encoded or
// not.
func decodeXtext(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c <= ' ' || c >= 0x7f {
			return "", errXforward
		}
		if c == '+' {
			if i+2 >= len(s) {
				return "", errXforward
			}
			high, low := unhex(s[i+1]), unhex(s[i+2])
			if high < 0 || low < 0 {
				return "", errXforward
			}
			c = byte(high<<4 | low)
			i += 2
		}
		if c < ' ' || c == 0x7f {
			return "", errXforward
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
