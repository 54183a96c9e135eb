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

// mailboxOf returns the directory of p's Maildir below mail/: domain, local part. Addresses that
// differ only in case, or in the spelling of their domain, have the same mailbox.
func mailboxOf(p mail.Path) string {
	p = p.Key()
	return path.Join(component(p.Domain), component(p.Local))
}

// maxComponent is the longest directory name in bytes, below the 255 that file systems allow.
const maxComponent = 200

// component returns the directory name for a part of an address: in lower case, with everything
// escaped that is special in a path, to a shell or to Maildir readers. Parts that differ in more
// than case have different names.
func component(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], string(utf8.RuneError)):
			escape(&b, s[i]) // invalid UTF-8
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
	// An escape has hexadecimal digits after its "%", so this can't be one.
	sum := sha256.Sum256([]byte(name))
	tail := "%-" + hex.EncodeToString(sum[:8])
	head := name[:min(len(name), maxComponent-len(tail))]
	for len(head) > 0 && !utf8.ValidString(head) {
		head = head[:len(head)-1] // don't split a rune
	}
	return head + tail
}

func escape(b *strings.Builder, c byte) {
	b.WriteByte('%')
	b.WriteString(hex.EncodeToString([]byte{c}))
}

// lower returns r in lower case. A letter that looks like an ASCII letter, such as the Kelvin sign,
// doesn't become one.
func lower(r rune) rune {
	if l := unicode.ToLower(r); r < utf8.RuneSelf || l >= utf8.RuneSelf {
		return l
	}
	return r
}
