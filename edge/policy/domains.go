package policy

import (
	"errors"
	"fmt"
	"strings"

	"anymx/edge/mail"

	"golang.org/x/net/idna"
)

// Domains are the domains whose mail is accepted, each with its recipients.
// They are built once and then only read. A nil *Domains has none.
type Domains struct {
	exact map[string]*Recipients
	wild  map[string]*Recipients // of "*.example.net", by "example.net"
	first string                 // where a bare postmaster lives
}

// Domain is one to put into Domains.
type Domain struct {
	Name       string // or "*.example.net"
	Recipients *Recipients
}

// NewDomains takes the domains as they are configured; a later one of the same
// name replaces the earlier.
func NewDomains(list []Domain) *Domains {
	d := &Domains{exact: make(map[string]*Recipients), wild: make(map[string]*Recipients)}
	for _, one := range list {
		if parent, ok := strings.CutPrefix(one.Name, "*."); ok {
			d.wild[asciiDomain(parent)] = one.Recipients
			continue
		}
		name := asciiDomain(one.Name)
		d.exact[name] = one.Recipients
		if d.first == "" {
			d.first = name
		}
	}
	return d
}

// Lookup finds the recipients of domain: its own, or those of the nearest
// wildcard above it.
func (d *Domains) Lookup(domain string) (*Recipients, bool) {
	if d == nil {
		return nil, false
	}
	name := asciiDomain(domain)
	if r, ok := d.exact[name]; ok {
		return r, true
	}
	for len(d.wild) > 0 {
		_, parent, ok := strings.Cut(name, ".")
		if !ok {
			break
		}
		if r, ok := d.wild[parent]; ok {
			return r, true
		}
		name = parent
	}
	return nil, false
}

// home is the domain of a postmaster that was named without one.
func (d *Domains) home(hostname string) string {
	if d == nil || d.first == "" {
		return hostname
	}
	return d.first
}

// asciiDomain is a domain in the one form to compare: A-labels in lower case
// (RFC 5891). What is no host name stays as it is, in lower case.
func asciiDomain(name string) string {
	for i := 0; i < len(name); i++ {
		if name[i] >= 0x80 {
			if ascii, err := idna.Lookup.ToASCII(name); err == nil {
				return ascii
			}
			break
		}
	}
	return strings.ToLower(name)
}

// Recipients are the mailboxes of a domain. A nil *Recipients has any.
type Recipients struct {
	known map[string]struct{}
}

// Has says whether local is a mailbox: as it is written, in lower case, or
// without the detail behind its first "+" (RFC 5233).
func (r *Recipients) Has(local string) bool {
	if r == nil {
		return true
	}
	lower := strings.ToLower(local)
	if _, ok := r.known[lower]; ok {
		return true
	}
	user, _, ok := strings.Cut(lower, "+")
	if !ok || user == "" {
		return false
	}
	_, ok = r.known[user]
	return ok
}

// Len is how many mailboxes are listed.
func (r *Recipients) Len() int {
	if r == nil {
		return 0
	}
	return len(r.known)
}

// ParseRecipients reads a recipients file of domain: one local part or address
// a line, "#" begins a comment. name stands in the errors, all of which are
// returned, joined; there are no recipients then. An empty list is an error:
// it would refuse all mail.
func ParseRecipients(name string, data []byte, domain string) (*Recipients, error) {
	r := &Recipients{known: make(map[string]struct{})}
	var problems []error
	fail := func(n int, why string) {
		if len(problems) < 20 {
			problems = append(problems, fmt.Errorf("%s:%d: %s", name, n, why))
		}
	}
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		address := line
		if !strings.Contains(line, "@") {
			address = line + "@" + strings.TrimPrefix(domain, "*.")
		}
		p, err := mail.ParsePath(address)
		switch {
		case err != nil:
			fail(n, err.Error())
		case !within(p.Domain, domain):
			fail(n, fmt.Sprintf("%q is not in %s", p.Domain, domain))
		default:
			r.known[strings.ToLower(p.Local)] = struct{}{}
		}
	}
	if len(problems) == 0 && len(r.known) == 0 {
		fail(n, "no recipients, all mail would be refused; recipients = \"any\" takes any")
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return r, nil
}

// within says whether name is domain, or below a wildcard.
func within(name, domain string) bool {
	name = asciiDomain(name)
	if parent, ok := strings.CutPrefix(domain, "*."); ok {
		parent = asciiDomain(parent)
		return name == parent || strings.HasSuffix(name, "."+parent)
	}
	return name == asciiDomain(domain)
}
