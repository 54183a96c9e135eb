package policy

import "strings"

// DomainMap has a value for each domain that is configured, by itself or by a wildcard. All that
// depends on a recipient's domain is looked up in one, so that it matches alike. It is filled once
// and then only read. The zero DomainMap is empty and can't be filled.
type DomainMap[V any] struct {
	exact map[string]V
	wild  map[string]V // of "*.example.net", by "example.net"
}

// NewDomainMap returns an empty map.
func NewDomainMap[V any]() DomainMap[V] {
	return DomainMap[V]{exact: make(map[string]V), wild: make(map[string]V)}
}

// Set sets the value of name: a domain, or "*.example.net" for all below example.net.
func (m DomainMap[V]) Set(name string, value V) {
	if parent, ok := strings.CutPrefix(name, "*."); ok {
		m.wild[asciiDomain(parent)] = value
	} else {
		m.exact[asciiDomain(name)] = value
	}
}

// Lookup returns the value of domain: its own, or that of the nearest wildcard above it.
func (m DomainMap[V]) Lookup(domain string) (value V, ok bool) {
	name := asciiDomain(domain)
	if value, ok = m.exact[name]; ok {
		return value, true
	}
	for len(m.wild) > 0 {
		_, parent, ok := strings.Cut(name, ".")
		if !ok {
			break
		}
		if value, ok := m.wild[parent]; ok {
			return value, true
		}
		name = parent
	}
	return value, false
}

// Len returns how many domains and wildcards there are.
func (m DomainMap[V]) Len() int { return len(m.exact) + len(m.wild) }
