package api

import (
	"errors"
	"fmt"
	"strings"

	"anymx/edge/mail"
)

// Pattern selects mailboxes for a query: one address, all of a domain, or the null sender. It
// ignores case. The zero Pattern matches any.
type Pattern struct {
	path mail.Path // without local part: the whole domain
	null bool
}

var errPattern = errors.New(`want an address "a@example.net", a domain "@example.net" or the null sender "<>"`)

// ParsePattern reads "a@example.net", "@example.net" or "<>"; an address may be in angle brackets.
// "" gives the zero Pattern.
func ParsePattern(s string) (Pattern, error) {
	switch {
	case s == "":
		return Pattern{}, nil
	case s == "<>":
		return Pattern{null: true}, nil
	case s[0] == '@': // a domain is whatever may follow the "@" of an address
		p, err := mail.ParsePath("x" + s)
		if err != nil {
			return Pattern{}, fmt.Errorf("%q: %w", s, errPattern)
		}
		return Pattern{path: mail.Path{Domain: p.Domain}}, nil
	}
	inner := s
	if strings.HasPrefix(s, "<") && strings.HasSuffix(s, ">") {
		inner = s[1 : len(s)-1]
	}
	p, err := mail.ParsePath(inner)
	if err != nil {
		return Pattern{}, fmt.Errorf("%q: %w", s, errPattern)
	}
	return Pattern{path: p}, nil
}

// IsZero reports whether p matches any mailbox.
func (p Pattern) IsZero() bool { return p == Pattern{} }

// Match reports whether p matches m.
func (p Pattern) Match(m mail.Path) bool {
	switch {
	case p.null:
		return m.IsNull()
	case p.IsZero():
		return true
	case p.path.Local == "":
		return strings.EqualFold(p.path.Domain, m.Domain)
	}
	return strings.EqualFold(p.path.Local, m.Local) && strings.EqualFold(p.path.Domain, m.Domain)
}

// String returns p in the form that ParsePattern reads.
func (p Pattern) String() string {
	switch {
	case p.null:
		return "<>"
	case p.IsZero():
		return ""
	case p.path.Local == "":
		return "@" + p.path.Domain
	}
	return p.path.String()
}

// MarshalText returns String, for JSON.
func (p Pattern) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText parses as ParsePattern does, for JSON.
func (p *Pattern) UnmarshalText(text []byte) error {
	parsed, err := ParsePattern(string(text))
	if err == nil {
		*p = parsed
	}
	return err
}
