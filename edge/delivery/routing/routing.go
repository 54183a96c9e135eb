// Package routing decides where the recipients of a message go: which of them to which core group.
//
// What happens to the data: New makes a Table of the configured domains. When a message is stored,
// Legs groups its recipients by destination, and the spool records the legs with the message. It is
// pure: one table and one envelope always give the same legs.
//
// A domain matches as it does when ingress accepts a recipient: by itself, or by the nearest wildcard
// above it, whatever its case, and as A-labels. A recipient whose domain isn't configured goes to the
// default core: the sender that a notification goes to, or a bare postmaster.
package routing

import (
	"strings"

	"anymx/edge/judge/policy"
	"anymx/edge/mail"
)

// Core is the destination of the default core.
const Core = ""

// groupPrefix is what the destination of a core group begins with.
const groupPrefix = "core/"

// CoreGroup returns the destination of the core group of this name, which is not empty.
func CoreGroup(name string) string { return groupPrefix + name }

// GroupOf returns the name of the core group that a destination is, "" for the default core. It
// reports false if the destination isn't a core.
func GroupOf(destination string) (name string, ok bool) {
	if destination == Core {
		return "", true
	}
	name, ok = strings.CutPrefix(destination, groupPrefix)
	return name, ok && name != ""
}

// Domain is a configured domain.
type Domain struct {
	Name string // or "*.example.net"
	Core string // name of its core group; "" is the default core
}

// Table says where domains go. A nil *Table sends all to the default core. It is only read once it is
// made, and safe for use by many goroutines.
type Table struct {
	destinations policy.DomainMap[string]
}

// New makes a table. The names of the domains are unique. It is nil if all go to the default core.
func New(domains []Domain) *Table {
	t := &Table{destinations: policy.NewDomainMap[string]()}
	groups := map[string]string{}
	for _, d := range domains {
		if d.Core == "" {
			continue
		}
		if groups[d.Core] == "" {
			groups[d.Core] = CoreGroup(d.Core)
		}
		t.destinations.Set(d.Name, groups[d.Core])
	}
	if t.destinations.Len() == 0 {
		return nil
	}
	// A domain of the default core needs an entry only where a wildcard would send it elsewhere, so
	// that a table is as large as the groups and not as the config.
	for _, d := range domains {
		if d.Core == "" && t.Destination(asciiName(d.Name)) != Core {
			t.destinations.Set(d.Name, Core)
		}
	}
	return t
}

// asciiName returns the name of a configured domain or wildcard as one that Destination can look up:
// for a wildcard, that of a domain below it which isn't configured by itself.
func asciiName(name string) string {
	parent, wild := strings.CutPrefix(name, "*.")
	parent = mail.Path{Domain: parent}.Key().Domain
	if wild {
		return "*." + parent
	}
	return parent
}

// Destination returns where mail for a domain goes.
func (t *Table) Destination(domain string) string {
	if t == nil {
		return Core
	}
	destination, _ := t.destinations.Lookup(domain)
	return destination
}

// Legs returns the legs of a message in the order of their first recipients, nil if all recipients go
// to the default core. It doesn't allocate then, as long as the domains are in lower-case ASCII.
func (t *Table) Legs(env *mail.Envelope) []mail.Leg {
	if t == nil || len(env.Recipients) == 0 {
		return nil
	}
	domain := env.Recipients[0].Path.Domain
	first := t.Destination(domain)
	last := first
	for i := 1; i < len(env.Recipients); i++ {
		if d := env.Recipients[i].Path.Domain; d != domain { // most are of one domain
			domain, last = d, t.Destination(d)
		}
		if last != first {
			return t.divide(env, first, i)
		}
	}
	if first == Core {
		return nil
	}
	return []mail.Leg{{Destination: first}}
}

// divide returns the legs of a message whose first n recipients go to first, and the next one
// elsewhere.
func (t *Table) divide(env *mail.Envelope, first string, n int) []mail.Leg {
	legs := []mail.Leg{{Destination: first}}
	for i := range n {
		legs[0].Recipients = append(legs[0].Recipients, i)
	}
	domain, at := "", -1
	for i := n; i < len(env.Recipients); i++ {
		if d := env.Recipients[i].Path.Domain; at < 0 || d != domain {
			domain = d
			legs, at = legTo(legs, t.Destination(d))
		}
		legs[at].Recipients = append(legs[at].Recipients, i)
	}
	return legs
}

// legTo returns the index of the leg to a destination, and adds one if there is none.
func legTo(legs []mail.Leg, destination string) ([]mail.Leg, int) {
	for i := range legs {
		if legs[i].Destination == destination {
			return legs, i
		}
	}
	return append(legs, mail.Leg{Destination: destination}), len(legs)
}
