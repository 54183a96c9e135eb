package mail

import (
	"net/netip"
	"strings"
	"time"
)

// foldAt is the column after which a header line is folded where possible (RFC 5322 section 2.1.1:
// 78 preferred, 998 allowed).
const foldAt = 78

// AppendReceived appends the trace field of RFC 5321 section 4.4, which goes in front of the
// message:
//
//	Received: from helo.example (name.example [192.0.2.1])
//		(TLS1.3 TLS_AES_128_GCM_SHA256)
//		by mx.example.net (anymx ams1) with ESMTPS id 06fwjm7e0r002pzg
//		for <b@example.net>; Sat, 21 Nov 2026 22:58:52 +0000
//
// It uses env.ID, Arrived, Client and Recipients. "for" is written only for a single recipient, so
// that recipients don't learn of each other. What the client said about itself is forced into the
// grammar: it can't end its token, its comment or its line. The field is always ASCII, so that it
// never makes a message need SMTPUTF8: domains are written as A-labels, and a recipient without an
// ASCII form is left out.
func AppendReceived(b []byte, env *Envelope, hostname, node string) []byte {
	c := &env.Client
	b = append(b, "Received: from "...)
	mark := len(b)
	b = appendHelo(b, c.Helo)
	if c.Addr.IsValid() {
		name := asciiName(c.Name)
		if len(b)-mark+len(name) > foldAt-len("Received: from  ( [192.0.2.100])") {
			b = append(b, "\r\n\t("...)
		} else {
			b = append(b, " ("...)
		}
		if name != "" {
			b = append(append(b, name...), ' ')
		}
		b = append(appendLiteral(b, c.Addr.Addr()), ')')
	}
	if c.TLS != "" {
		b = append(b, "\r\n\t("...)
		b = appendToken(b, cut(c.TLS, 64), " ._-", false)
		b = append(b, ')')
	}
	b = append(b, "\r\n\tby "...)
	b = append(b, hostname...)
	b = append(b, " (anymx "...)
	b = appendToken(b, node, " ._-", false)
	b = append(b, ") with "...)
	if c.Proto == "" {
		b = append(b, "SMTP"...)
	}
	b = appendToken(b, cut(c.Proto, 16), "", false) // UTF8SMTPSA is the longest
	b = append(b, " id "...)
	b = env.ID.AppendTo(b)
	if p, ok := soleRecipient(env); ok {
		b = append(b, "\r\n\tfor <"...)
		b = p.AppendTo(b)
		b = append(b, '>')
		if len(p.Local)+len(p.Domain) <= foldAt-len("\tfor <@>; Sat, 21 Nov 2026 22:58:52 +0000")-8 {
			return appendDate(append(b, "; "...), env.Arrived)
		}
	}
	return appendDate(append(b, ";\r\n\t"...), env.Arrived)
}

// soleRecipient returns the ASCII form of the only recipient. It reports false if there are
// several, or if the only one has no such form.
func soleRecipient(env *Envelope) (Path, bool) {
	if len(env.Recipients) != 1 {
		return Path{}, false
	}
	return env.Recipients[0].Path.ToASCII()
}

// asciiName returns a host name in its ASCII form, "" if it has none or is not a name.
func asciiName(name string) string {
	if !isDomain(name) {
		return ""
	}
	p, _ := Path{Local: "x", Domain: name}.ToASCII()
	return p.Domain
}

// appendDate writes t and ends the line.
func appendDate(b []byte, t time.Time) []byte {
	b = t.UTC().AppendFormat(b, dateFormat)
	return append(b, "\r\n"...)
}

// dateFormat is RFC 5322's date-time.
const dateFormat = "Mon, 2 Jan 2006 15:04:05 -0700"

// AppendReturnPath appends the header field that is added at final delivery (RFC 5321 section 4.4).
func AppendReturnPath(b []byte, sender Path) []byte {
	b = append(b, "Return-Path: <"...)
	b = sender.AppendTo(b)
	return append(b, ">\r\n"...)
}

// appendHelo writes the client's HELO name as a domain or an address literal, else as an atom with
// "?" for each byte that an atom can't hold.
func appendHelo(b []byte, helo string) []byte {
	if helo == "" {
		return append(b, "unknown"...)
	}
	if isLiteral(helo) {
		return append(b, helo...)
	}
	if name := asciiName(helo); name != "" {
		helo = name
	}
	return appendToken(b, cut(helo, MaxDomain), "._-", false)
}

// appendToken writes s with "?" for each byte that is neither a letter, a digit, in extra, nor (if
// utf8ok) outside ASCII.
func appendToken(b []byte, s, extra string, utf8ok bool) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' ||
			utf8ok && c >= 0x80 || strings.IndexByte(extra, c) >= 0) {
			c = '?'
		}
		b = append(b, c)
	}
	return b
}

// appendLiteral writes addr as RFC 5321 section 4.1.3 does: [192.0.2.1], [IPv6:2001:db8::1]. An
// IPv4-mapped address is written as IPv4.
func appendLiteral(b []byte, addr netip.Addr) []byte {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		b = append(b, "[IPv6:"...)
	} else {
		b = append(b, '[')
	}
	b = addr.AppendTo(b)
	return append(b, ']')
}
