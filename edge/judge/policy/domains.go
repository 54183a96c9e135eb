package policy

import (
	"strings"
	"unicode/utf8"

	"anymx/edge/mail"

	"golang.org/x/net/idna"
)

// Domains holds the domains whose mail is accepted, each with its recipients. It is built once and
// then only read. A nil *Domains has none.
type Domains struct {
	byName DomainMap[*Recipients]
	first  string // domain of a bare postmaster
}

// Domain is an entry of Domains.
type Domain struct {
	Name       string // or "*.example.net"
	Recipients *Recipients
}

// Unavailable is the Recipients of a domain whose list could not be read. Its recipients are
// unknown, so its mail is refused for now.
var Unavailable = new(Recipients)

// NewDomains builds Domains from the configured list. A later entry replaces an earlier one of the
// same name.
func NewDomains(list []Domain) *Domains {
	d := &Domains{byName: NewDomainMap[*Recipients]()}
	for _, one := range list {
		if d.byName.Set(one.Name, one.Recipients); d.first == "" && !strings.HasPrefix(one.Name, "*.") {
			d.first = asciiDomain(one.Name)
		}
	}
	return d
}

// Lookup returns the recipients of domain: its own, or those of the nearest wildcard above it.
func (d *Domains) Lookup(domain string) (*Recipients, bool) {
	if d == nil {
		return nil, false
	}
	return d.byName.Lookup(domain)
}

// postmasterDomain returns the domain of a postmaster without one.
func (d *Domains) postmasterDomain(hostname string) string {
	if d == nil || d.first == "" {
		return hostname
	}
	return d.first
}

// asciiDomain returns a domain in the form for comparisons, as mail.Path.Key does.
func asciiDomain(name string) string { return mail.Path{Domain: name}.Key().Domain }

// forCore returns domain in a spelling that core reads as the edge does. IDNA maps look-alikes:
// "ｅxample.net" matches example.net here, and a core that doesn't map it would send the mail to
// another host. If mapping changes more than case, core gets the form in the config.
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
