package policy

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"anymx/edge/mail"
)

// Recipients holds the mailboxes of a domain. A nil *Recipients accepts any.
type Recipients struct {
	known map[string]struct{} // local parts, folded
}

// Has reports whether local is a mailbox, ignoring case, with or without the detail after its first
// "+" (RFC 5233).
func (r *Recipients) Has(local string) bool {
	if r == nil {
		return true
	}
	folded := fold(local)
	if _, ok := r.known[folded]; ok {
		return true
	}
	user, _, ok := strings.Cut(folded, "+")
	if !ok || user == "" {
		return false
	}
	_, ok = r.known[user]
	return ok
}

// lists reports whether the list names local itself, including its detail. It is false if any
// recipient is accepted.
func (r *Recipients) lists(local string) bool {
	if r == nil {
		return false
	}
	_, ok := r.known[fold(local)]
	return ok
}

// Len returns the number of listed mailboxes.
func (r *Recipients) Len() int {
	if r == nil {
		return 0
	}
	return len(r.known)
}

// fold returns s in lower case. A letter that looks like an ASCII letter, such as the Kelvin sign,
// doesn't become one.
func fold(s string) string {
	if isASCII(s) {
		return strings.ToLower(s)
	}
	return strings.Map(func(r rune) rune {
		if l := unicode.ToLower(r); r < utf8.RuneSelf || l >= utf8.RuneSelf {
			return l
		}
		return r
	}, s)
}

// maxProblems bounds the errors that ParseRecipients reports for one file.
const maxProblems = 20

// ParseRecipients parses a recipients file of domain: one local part or address per line, in UTF-8.
// "#" begins a comment at the start of a line or after white space; within an address it is an
// ordinary character. The list of a wildcard has only local parts, for all its domains.
//
// Errors begin with name. Up to 20 are returned, joined, and then there are no recipients. An empty
// list is an error: it would refuse all mail.
func ParseRecipients(name string, data []byte, domain string) (*Recipients, error) {
	r := &Recipients{known: make(map[string]struct{})}
	var problems []error
	fail := func(n int, why string) {
		if len(problems) < maxProblems {
			problems = append(problems, fmt.Errorf("%s:%d: %s", name, n, why))
		}
	}
	list := listOf(domain)
	n := 0
	for line := range strings.Lines(strings.TrimPrefix(string(data), "\ufeff")) {
		n++
		text, at := cutComment(line)
		if text == "" {
			continue
		}
		local, err := list.local(text, at)
		if err != nil {
			fail(n, err.Error())
			continue
		}
		r.known[fold(local)] = struct{}{}
	}
	if len(problems) == 0 && len(r.known) == 0 {
		fail(max(n, 1), `no recipients, all mail would be refused; recipients = "any" accepts any recipient`)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return r, nil
}

// list is the domain that the lines of a file belong to.
type list struct {
	domain string // without "*."
	ascii  string // the same, for comparisons
	wild   bool
}

func listOf(domain string) list {
	name, wild := strings.CutPrefix(domain, "*.")
	return list{domain: name, ascii: asciiDomain(name), wild: wild}
}

// local returns the local part that a line names. at says that the line has an "@" outside of
// quotes.
func (l list) local(text string, at bool) (string, error) {
	if !at {
		text += "@" + l.domain
	}
	p, err := mail.ParsePath(text)
	switch {
	case err != nil:
		return "", err
	case at && l.wild:
		return "", fmt.Errorf("an address in the list of *.%s, which may only have local parts", l.domain)
	case at && asciiDomain(p.Domain) != l.ascii:
		return "", fmt.Errorf("%q is not %s", p.Domain, l.domain)
	}
	return p.Local, nil
}

// cutComment returns line without its comment and surrounding white space, and whether there is an
// "@" outside of quotes in it.
func cutComment(line string) (text string, at bool) {
	quoted, space := false, true
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '#' && space:
			return strings.TrimSpace(line[:i]), at
		case c == '@':
			at = true
		}
		space = c == ' ' || c == '\t'
	}
	return strings.TrimSpace(line), at
}
