package core

import (
	"errors"
	"strings"

	"anymx/edge/mail"
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
		value, err := mail.DecodeXtext(encoded)
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
