package api

import (
	"errors"
	"fmt"
	"strings"

	"anymx/edge/mail"
)

// Pattern names the mailboxes that a query means: one address, all of a
// domain, or the null sender. Case does not count. The zero Pattern means any.
type Pattern struct {
	path mail.Path // without local part: the whole domain
	null bool
}

var errPattern = errors.New(`want an address "a@example.net", a domain "@example.net" or the null sender "<>"`)

// ParsePattern reads "a@example.net", "@example.net" or "<>"; an address may
// stand in brackets. "" gives the zero Pattern.
func ParsePattern(s string) (Pattern, error) {
	switch {
	case s == "":
		return Pattern{}, nil
	case s == "<>":
		return Pattern{null: true}, nil
	case s[0] == '@': // a domain is whatever may stand behind the "@" of an address
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

// IsZero says whether p means any mailbox.
func (p Pattern) IsZero() bool { return p == Pattern{} }

// Match says whether p means m.
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

// String is what ParsePattern reads as p.
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

// MarshalText is String, for JSON.
func (p Pattern) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText is ParsePattern, for JSON.
func (p *Pattern) UnmarshalText(text []byte) error {
	parsed, err := ParsePattern(string(text))
	if err == nil {
		*p = parsed
	}
	return err
}
