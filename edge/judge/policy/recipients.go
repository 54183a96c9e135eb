package policy

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"anymx/edge/mail"
)

// Recipients are the mailboxes of a domain. A nil *Recipients has any.
type Recipients struct {
	known map[string]struct{} // local parts, folded
}

// Has says whether local is a mailbox: as it is written, in lower case, or
// without the detail behind its first "+" (RFC 5233).
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

// lists reports whether the operator listed local itself, detail included. It is false where any
// recipient is accepted.
func (r *Recipients) lists(local string) bool {
	if r == nil {
		return false
	}
	_, ok := r.known[fold(local)]
	return ok
}

// Len is how many mailboxes are listed.
func (r *Recipients) Len() int {
	if r == nil {
		return 0
	}
	return len(r.known)
}

// fold is s in lower case. A letter that only looks like an ASCII one, such as
// the Kelvin sign, does not become it.
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

// maxProblems bounds what ParseRecipients complains about in one file.
const maxProblems = 20

// ParseRecipients reads a recipients file of domain: one local part or address
// a line, in UTF-8. "#" begins a comment at the start of a line or behind white
// space; within an address it is a character like others. The list of a wildcard
// holds local parts only, for all its domains.
//
// name stands in the errors, all of which are returned, joined, up to 20; there
// are no recipients then. An empty list is an error: it would refuse all mail.
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
		fail(max(n, 1), `no recipients, all mail would be refused; recipients = "any" takes any`)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return r, nil
}

// list is what the lines of a file are read for.
type list struct {
	domain string // without "*."
	ascii  string // the same, to compare
	wild   bool
}

func listOf(domain string) list {
	name, wild := strings.CutPrefix(domain, "*.")
	return list{domain: name, ascii: asciiDomain(name), wild: wild}
}

// local is the local part that a line names. at says that there is an "@"
// outside of quotes.
func (l list) local(text string, at bool) (string, error) {
	if !at {
		text += "@" + l.domain
	}
	p, err := mail.ParsePath(text)
	switch {
	case err != nil:
		return "", err
	case at && l.wild:
		return "", fmt.Errorf("an address in the list of *.%s, which is for local parts", l.domain)
	case at && asciiDomain(p.Domain) != l.ascii:
		return "", fmt.Errorf("%q is not %s", p.Domain, l.domain)
	}
	return p.Local, nil
}

// cutComment is line without its comment and the white space around it, and
// whether there is an "@" in that, quoted ones apart.
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
