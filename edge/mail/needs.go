package mail

import (
	"strings"

	"golang.org/x/net/idna"
)

// Extensions is a set of SMTP extensions: those that a message needs, or those that a server
// supports.
type Extensions uint8

// The extensions that a message can need because of the bytes in it or in its addresses.
const (
	SMTPUTF8     Extensions = 1 << iota // RFC 6531
	EightBitMIME                        // RFC 6152

	// AllExtensions holds every extension above.
	AllExtensions = SMTPUTF8 | EightBitMIME
)

// extensionNames are the EHLO keywords, by bit.
var extensionNames = [...]string{"SMTPUTF8", "8BITMIME"}

// Has reports whether e holds all of other.
func (e Extensions) Has(other Extensions) bool { return e&other == other }

// Keywords lists the EHLO keywords of e.
func (e Extensions) Keywords() []string {
	var list []string
	for i, name := range extensionNames {
		if e.Has(1 << i) {
			list = append(list, name)
		}
	}
	return list
}

// String joins the keywords of e, as in "SMTPUTF8 and 8BITMIME".
func (e Extensions) String() string { return strings.Join(e.Keywords(), " and ") }

// ParseExtensions reads EHLO keywords. It ignores unknown ones.
func ParseExtensions(keywords []string) Extensions {
	var e Extensions
	for _, keyword := range keywords {
		for i, name := range extensionNames {
			if keyword == name {
				e |= 1 << i
			}
		}
	}
	return e
}

// CoreExtensions is what is known about the extensions that core supports. Core can have several
// addresses that support different ones: bit n is set if an address supports exactly Extensions(n).
// The zero CoreExtensions is a core that supports everything.
type CoreExtensions uint8

// CoreUnknown means that the extensions of no address of core are known yet.
const CoreUnknown CoreExtensions = 1 << (AllExtensions + 1)

// Add adds an address that supports e.
func (c CoreExtensions) Add(e Extensions) CoreExtensions { return c&^CoreUnknown | 1<<e }

// Both returns what two cores have in common: a message may have to go to either, so it supports what
// both do, and offers what both offer. Of a core of which nothing is known it takes the other.
func (c CoreExtensions) Both(d CoreExtensions) CoreExtensions {
	switch {
	case c == CoreUnknown:
		return d
	case d == CoreUnknown:
		return c
	case c == 0: // supports everything
		return d
	case d == 0:
		return c
	}
	both := CoreUnknown
	for e := range AllExtensions + 1 {
		for f := range AllExtensions + 1 {
			if c&(1<<e) != 0 && d&(1<<f) != 0 {
				both = both.Add(e & f)
			}
		}
	}
	return both
}

// Supports reports whether a known address supports all of needs.
func (c CoreExtensions) Supports(needs Extensions) bool {
	for e := range AllExtensions + 1 {
		if c&(1<<e) != 0 && e.Has(needs) {
			return true
		}
	}
	return c == 0
}

// Offer returns the extensions to offer to clients: those that every known address supports,
// because a message may have to go to any of them. While nothing is known it returns all.
func (c CoreExtensions) Offer() Extensions {
	offer := AllExtensions
	for e := range AllExtensions + 1 {
		if c&(1<<e) != 0 {
			offer &= e
		}
	}
	return offer
}

// Content says which parts of a message hold 8-bit bytes.
type Content uint8

// Facts about a message's bytes.
const (
	// ContentKnown is set once the message was scanned. Without it, only the sender's declarations
	// are known.
	ContentKnown       Content = 1 << iota
	ContentEightHeader         // in its header: before the first empty line
	ContentEightBody           // after it
)

// Has reports whether fact is set in c.
func (c Content) Has(fact Content) bool { return c&fact != 0 }

// Needs returns the extensions that a server must support to be sent the message, whoever its
// recipients are. A recipient can need more: see Path.Needs. Only what the sender declared can be
// needed: a message with undeclared 8-bit text goes to every server.
func (env *Envelope) Needs() Extensions {
	needs := env.Sender.Needs()
	known := env.Content.Has(ContentKnown)
	if env.SMTPUTF8 && (!known || env.Content.Has(ContentEightHeader)) {
		needs |= SMTPUTF8
	}
	// SMTPUTF8 covers the header of a message that declared it.
	if env.Body == Body8Bit &&
		(!known || env.Content.Has(ContentEightBody) || env.Content.Has(ContentEightHeader) && !env.SMTPUTF8) {
		needs |= EightBitMIME
	}
	return needs
}

// EightBit reports whether the message holds 8-bit bytes. For a message that was not scanned, the
// sender's declaration counts.
func (env *Envelope) EightBit() bool {
	if env.Content.Has(ContentKnown) {
		return env.Content.Has(ContentEightHeader | ContentEightBody)
	}
	return env.Body == Body8Bit || env.SMTPUTF8
}

// Needs returns SMTPUTF8 for an address that can't be sent to a server without it: its local part
// is not ASCII, or its domain has no A-label form.
func (p Path) Needs() Extensions {
	if p.IsASCII() {
		return 0
	}
	if _, ok := p.ToASCII(); ok {
		return 0
	}
	return SMTPUTF8
}

// ToASCII returns p with the U-labels of its domain as A-labels (RFC 5890 section 2.3.2.1), for a
// server without SMTPUTF8. It reports false if p has no such form.
func (p Path) ToASCII() (Path, bool) {
	switch {
	case !isASCII(p.Local):
		return Path{}, false
	case isASCII(p.Domain):
		return p, true
	}
	domain, err := idna.Lookup.ToASCII(strings.ToLower(p.Domain))
	if err != nil || !isASCII(domain) || !isDomain(domain) {
		return Path{}, false
	}
	return Path{Local: p.Local, Domain: domain}, true
}

// ascii returns p.ToASCII, or p if it has no such form.
func (p Path) ascii() Path {
	if ascii, ok := p.ToASCII(); ok {
		return ascii
	}
	return p
}
