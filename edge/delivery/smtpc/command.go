package smtpc

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"anymx/edge/mail"
)

// appendMail appends the MAIL command for a message of size bytes, with the parameters that the
// server offers and the message needs. utf8ok adds SMTPUTF8.
func appendMail(b []byte, env *mail.Envelope, size int64, ext *extensions, utf8ok bool) []byte {
	b = appendPath(append(b, "MAIL FROM:"...), env.Sender, utf8ok)
	if ext.size {
		b = append(b, " SIZE="...) // RFC 1870 section 6
		b = strconv.AppendInt(b, size, 10)
	}
	if ext.eightBit && env.Body == mail.Body8Bit && env.EightBit() {
		b = append(b, " BODY=8BITMIME"...)
	}
	if utf8ok {
		b = append(b, " SMTPUTF8"...)
	}
	if ext.requireTLS && env.RequireTLS {
		b = append(b, " REQUIRETLS"...)
	}
	if ext.dsn {
		switch env.Return {
		case mail.ReturnFull:
			b = append(b, " RET=FULL"...)
		case mail.ReturnHeaders:
			b = append(b, " RET=HDRS"...)
		}
		if env.EnvID != "" {
			b = append(b, " ENVID="...)
			b = appendXtext(b, env.EnvID)
		}
	}
	return append(b, "\r\n"...)
}

// appendRcpt appends the RCPT command for one recipient; utf8ok says that MAIL has SMTPUTF8.
func appendRcpt(b []byte, r *mail.Recipient, ext *extensions, utf8ok bool) []byte {
	b = appendPath(append(b, "RCPT TO:"...), r.Path, utf8ok)
	if ext.dsn {
		b = appendNotify(b, r.Notify)
		b = appendORcpt(b, r.ORcpt, utf8ok)
	}
	return append(b, "\r\n"...)
}

// appendPath appends p in brackets: unchanged if utf8ok, else in its ASCII form.
func appendPath(b []byte, p mail.Path, utf8ok bool) []byte {
	if !utf8ok {
		if ascii, ok := p.ToASCII(); ok {
			p = ascii
		}
	}
	b = append(b, '<')
	b = append(b, p.String()...)
	return append(b, '>')
}

// isSafe reports whether p can be written in a command. It is the only defense against stored text
// that injects commands.
func isSafe(p mail.Path) bool {
	return !strings.ContainsAny(p.Local, "\r\n\x00") && !strings.ContainsAny(p.Domain, "\r\n\x00 <>")
}

// appendNotify appends the NOTIFY parameter (RFC 3461 section 4.1).
func appendNotify(b []byte, n mail.Notify) []byte {
	if n == 0 {
		return b
	}
	b = append(b, " NOTIFY="...)
	if n&mail.NotifyNever != 0 {
		return append(b, "NEVER"...)
	}
	for _, word := range []struct {
		bit  mail.Notify
		text string
	}{{mail.NotifySuccess, "SUCCESS,"}, {mail.NotifyFailure, "FAILURE,"}, {mail.NotifyDelay, "DELAY,"}} {
		if n&word.bit != 0 {
			b = append(b, word.text...)
		}
	}
	return b[:len(b)-1]
}

// appendORcpt appends the ORCPT parameter (RFC 3461 section 4.2). An address that is not ASCII
// follows RFC 6533 section 3: in UTF-8 if MAIL has SMTPUTF8, else as \x{HEX}.
func appendORcpt(b []byte, orcpt string, utf8ok bool) []byte {
	kind, addr, ok := strings.Cut(orcpt, ";")
	if !ok || kind == "" || addr == "" || !isKeyword(strings.ToUpper(kind)) || !utf8.ValidString(addr) {
		return b
	}
	b = append(b, " ORCPT="...)
	if !strings.EqualFold(kind, "utf-8") && isASCII(addr) {
		b = append(b, kind...)
		return appendXtext(append(b, ';'), addr)
	}
	b = append(b, "utf-8;"...)
	for _, r := range addr {
		switch {
		case r > ' ' && r < 0x7f && r != '+' && r != '=' && r != '\\':
			b = append(b, byte(r))
		case r >= 0x80 && utf8ok:
			b = utf8.AppendRune(b, r)
		default:
			b = append(b, `\x{`...)
			b = fmt.Appendf(b, "%02X", r)
			b = append(b, '}')
		}
	}
	return b
}

// appendXtext encodes s as xtext of RFC 3461 section 4.
func appendXtext(b []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c > ' ' && c < 0x7f && c != '+' && c != '=' {
			b = append(b, c)
		} else {
			b = append(b, '+', hex[c>>4], hex[c&15])
		}
	}
	return b
}

// maxAttribute bounds one XFORWARD or XCLIENT value, maxForward one XFORWARD line, in bytes.
// XCLIENT has to send all attributes in one line, because each XCLIENT restarts the session.
const (
	maxAttribute = 255
	maxForward   = 512
	unavailable  = "[UNAVAILABLE]"
)

// appendXForward appends one XFORWARD command with the client of the message and its spool id. It
// writes the offered attributes from index i on, as many as fit into a line of 512 bytes, and
// returns the index to continue with; len(attributeNames) means that all are written. It appends
// nothing if no attribute is left.
func appendXForward(b []byte, env *mail.Envelope, node string, offered attributes, i int) ([]byte, int) {
	start := len(b)
	for ; i < len(attributeNames); i++ {
		value, ok := forwarded(env, node, offered&(1<<i))
		if !ok {
			continue
		}
		mark := len(b)
		if mark == start {
			b = append(b, "XFORWARD"...)
		}
		b = appendAttribute(b, attributeNames[i], value)
		if len(b)-start+2 > maxForward && mark > start {
			b = b[:mark]
			break
		}
	}
	if len(b) > start {
		b = append(b, "\r\n"...)
	}
	return b, i
}

// forwarded returns the value of one XFORWARD attribute. It reports false if attr is not an
// XFORWARD attribute.
func forwarded(env *mail.Envelope, node string, attr attributes) (string, bool) {
	switch attr {
	case attrName:
		return env.Client.Name, true
	case attrAddr:
		return attributeAddr(env.Client.Addr), true
	case attrPort:
		return attributePort(env.Client.Addr), true
	case attrProto:
		return env.Client.Proto, true
	case attrHelo:
		return env.Client.Helo, true
	case attrIdent:
		if node == "" {
			return env.ID.String(), true
		}
		return env.ID.String() + "." + node, true
	case attrSource:
		if env.Origin == mail.Inbound {
			return "REMOTE", true
		}
		return "LOCAL", true
	}
	return "", false
}

func appendAttribute(b []byte, name, value string) []byte {
	if value == "" {
		value = unavailable
	}
	b = append(b, ' ')
	b = append(b, name...)
	return appendXtext(append(b, '='), value[:min(len(value), maxAttribute)])
}

// appendXClient appends the XCLIENT command, without its line end, that gives the session the
// client's identity. Servers accept only SMTP and ESMTP as its protocol.
func appendXClient(b []byte, c *mail.Client, offered attributes) []byte {
	b = append(b, "XCLIENT"...)
	for i, name := range attributeNames {
		switch offered & (1 << i) {
		case attrName:
			b = appendAttribute(b, name, c.Name)
		case attrAddr:
			b = appendAttribute(b, name, attributeAddr(c.Addr))
		case attrPort:
			b = appendAttribute(b, name, attributePort(c.Addr))
		case attrProto:
			proto := "ESMTP"
			if c.Proto == "SMTP" {
				proto = c.Proto
			}
			b = appendAttribute(b, name, proto)
		case attrHelo:
			b = appendAttribute(b, name, c.Helo)
		case attrDestAddr:
			b = appendAttribute(b, name, attributeAddr(c.Service))
		case attrDestPort:
			b = appendAttribute(b, name, attributePort(c.Service))
		}
	}
	return b
}

func attributeAddr(a netip.AddrPort) string {
	addr := a.Addr().Unmap().WithZone("")
	switch {
	case !addr.IsValid():
		return ""
	case addr.Is6():
		return "IPV6:" + addr.String()
	}
	return addr.String()
}

func attributePort(a netip.AddrPort) string {
	if a.Port() == 0 {
		return ""
	}
	return strconv.Itoa(int(a.Port()))
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
