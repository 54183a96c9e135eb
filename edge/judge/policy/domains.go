package policy

import (
	"strings"
	"unicode/utf8"

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

// Unavailable is the Recipients of a domain whose list could not be read: nobody
// knows whom it names, so its mail has to come back later.
var Unavailable = new(Recipients)

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

// asciiDomain is a domain in the one form to compare, as mail.Path.Key has it.
func asciiDomain(name string) string { return mail.Path{Domain: name}.Key().Domain }

// forCore returns domain in a spelling that core reads as the edge does. IDNA maps look-alikes:
// "ｅxample.net" is found as example.net here, and a core that does not map it would send the mail to
// another host. Where mapping changes more than case, core gets the form that the config has.
func forCore(domain string) string {
	if isASCII(domain) {
		return domain
	}
	mapped := asciiDomain(domain)
	if plain, err := idna.Punycode.ToASCII(fold(domain)); err == nil && plain == mapped {
		return domain
	}
	return mapped
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
