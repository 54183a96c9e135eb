package mail

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxLine is the longest line that RFC 5322 allows, without its CRLF.
const maxLine = 998

// dsnWriter writes the parts. The bufio.Writer keeps its first error until Flush.
type dsnWriter struct {
	*bufio.Writer
	hideRemote bool
}

func (b *dsnWriter) line(parts ...string) {
	for _, s := range parts {
		b.WriteString(s)
	}
	b.WriteString("\r\n")
}

// part starts a part that has no header field but its type.
func (b *dsnWriter) part(boundary, kind string) {
	b.line("\r\n--", boundary)
	b.line("Content-Type: ", kind)
	b.line()
}

// textPart writes a part of a text type. Content that is not 7-bit is encoded as quoted-printable, so that decoding restores it byte for byte.
//
// A header with UTF-8 is text/rfc822-headers too, which RFC 6522 allows to be encoded. message/global-headers of RFC 6533 could also be encoded, but mail readers that don't know it treat any message type as an undecoded message, or offer it as a file. As text it is displayed with the right charset.
func (b *dsnWriter) textPart(boundary, kind string, content []byte) {
	if isSevenBit(content) {
		b.part(boundary, kind+"; charset=us-ascii")
		b.Write(content)
		return
	}
	if utf8.Valid(content) {
		kind += "; charset=utf-8"
	}
	b.line("\r\n--", boundary)
	b.line("Content-Type: ", kind)
	b.line("Content-Transfer-Encoding: quoted-printable")
	b.line()
	b.quotedPrintable(content)
}

// field writes a header field with an untrusted value: as ASCII, bounded, and folded between words.
func (b *dsnWriter) field(name, value string) {
	const maxField = 2000
	b.WriteString(name)
	b.WriteByte(':')
	col := len(name) + len(":")
	for i, word := range strings.Fields(cut(escaped(value), maxField)) {
		word = cut(word, maxLine-len(name)-len(": "))
		if i > 0 && col+1+len(word) > foldAt {
			b.WriteString("\r\n")
			col = 0
		}
		b.WriteByte(' ')
		b.WriteString(word)
		col += 1 + len(word)
	}
	b.line()
}

// escaped returns s cleaned, with characters outside ASCII as \x{HEX}.
func escaped(s string) string {
	if s = clean(s, true); isASCII(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if r < utf8.RuneSelf {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\x{%X}`, r)
		}
	}
	return b.String()
}

// quotedPrintable writes p in the encoding of RFC 2045 section 6.7. CRLF ends a line; a bare CR or LF is encoded like any other special byte.
func (b *dsnWriter) quotedPrintable(p []byte) {
	const hex = "0123456789ABCDEF"
	const maxQP = 75 // plus the "=" of a soft line break
	col := 0
	for i := 0; i < len(p); i++ {
		c := p[i]
		if bytes.HasPrefix(p[i:], crlf) {
			b.Write(crlf)
			i, col = i+1, 0
			continue
		}
		literal := c > ' ' && c < 0x7f && c != '='
		if c == ' ' || c == '\t' {
			literal = i+1 < len(p) && !bytes.HasPrefix(p[i+1:], crlf)
		}
		if col == maxQP || !literal && col > maxQP-len("=XX") {
			b.WriteString("=\r\n")
			col = 0
		}
		// mbox files and SMTP treat these specially (RFC 2049 section 3).
		if col == 0 && (c == '.' || bytes.HasPrefix(p[i:], []byte("From "))) {
			literal = false
		}
		if literal {
			b.WriteByte(c)
			col++
			continue
		}
		b.WriteByte('=')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
		col += len("=XX")
	}
}

var crlf = []byte("\r\n")

// endLine returns p with its last line ended.
func endLine(p []byte) []byte {
	if len(p) == 0 || bytes.HasSuffix(p, crlf) {
		return p
	}
	return append(p, crlf...)
}

// isSevenBit reports whether p is 7bit data (RFC 2045 section 2.7): ASCII without
// NUL in lines of at most 998 bytes that end in CRLF.
func isSevenBit(p []byte) bool {
	for line := range bytes.SplitSeq(p, crlf) {
		if len(line) > maxLine {
			return false
		}
		for _, c := range line {
			if c >= utf8.RuneSelf || c == 0 || c == '\r' || c == '\n' {
				return false
			}
		}
	}
	return true
}
