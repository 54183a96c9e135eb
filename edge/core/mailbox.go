package core

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"anymx/edge/mail"
)

// mailboxOf is the directory of p's Maildir below mail/: domain, local part.
// Addresses that differ in case only, or in how their domain is written, are
// one mailbox.
func mailboxOf(p mail.Path) string {
	p = p.Key()
	return path.Join(component(p.Domain), component(p.Local))
}

// maxComponent is the longest directory name in octets, below the 255 that file
// systems take.
const maxComponent = 200

// component makes a directory name of a part of an address: in lower case, with
// everything escaped that a path, a shell or a reader of Maildirs could take for
// its own. Parts that differ in more than case have different names.
func component(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], string(utf8.RuneError)):
			escape(&b, s[i]) // no UTF-8
		case r < ' ', r == 0x7f, strings.ContainsRune(`/\%`, r), r == '.' && i == 0:
			escape(&b, byte(r))
		default:
			b.WriteRune(lower(r))
		}
	}
	name := b.String()
	if len(name) <= maxComponent && name != "" {
		return name
	}
	// An escape has hexadecimal digits behind its "%", so this is none.
	sum := sha256.Sum256([]byte(name))
	tail := "%-" + hex.EncodeToString(sum[:8])
	head := name[:min(len(name), maxComponent-len(tail))]
	for len(head) > 0 && !utf8.ValidString(head) {
		head = head[:len(head)-1] // not within a rune
	}
	return head + tail
}

func escape(b *strings.Builder, c byte) {
	b.WriteByte('%')
	b.WriteString(hex.EncodeToString([]byte{c}))
}

// lower is the lower case of r, unless that turns a letter that only looks like
// an ASCII one, such as the Kelvin sign, into it.
func lower(r rune) rune {
	if l := unicode.ToLower(r); r < utf8.RuneSelf || l >= utf8.RuneSelf {
		return l
	}
	return r
}
