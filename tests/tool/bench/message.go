package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strconv"
)

const (
	senderDomain    = "example.org" // of the load's sender addresses
	recipientDomain = "example.net" // for which the systems accept mail
	idDigits        = 10            // width of a message's number in Message-ID and recipient
	lineLength      = 76            // characters of a body line, without CRLF
	dotLineEvery    = 40            // every so many lines one starts with a dot
)

// message is what is sent after DATA: dot-stuffed (RFC 5321 section 4.5.2), with CRLF line ends and
// without the end dot. The header has a number of fixed width that differs in every transaction; all
// sessions share the body, which is read-only.
type message struct {
	head    []byte // header and blank line
	body    []byte // dot-stuffed lines, ending in CRLF
	idAt    int    // offset of the number in head
	size    int    // bytes of the whole message before stuffing
	content int    // bytes after the blank line before stuffing: what the sink must count
}

// newMessage returns a message of exactly size bytes before dot-stuffing. The body is base64 of random
// bytes, like an attachment, so that no store gains by compressing it, and some lines start with a dot.
// The same size always gives the same message.
func newMessage(size int) (*message, error) {
	head := fmt.Sprintf("Received: from mua.%[1]s (mua.%[1]s [192.0.2.7])\r\n"+
		"\tby mta.%[1]s with ESMTPS id 4Zk2Wq1yLPz3xq;\r\n"+
		"\tTue, 14 Jan 2025 09:26:53 +0000 (UTC)\r\n"+
		"Date: Tue, 14 Jan 2025 09:26:52 +0000\r\n"+
		"From: Load Generator <load@%[1]s>\r\n"+
		"To: Recipient <recipient@%[2]s>\r\n"+
		"Subject: Figures of the last quarter\r\n"+
		"Message-ID: <%[3]s.load@%[1]s>\r\n"+
		"MIME-Version: 1.0\r\n"+
		"Content-Type: application/octet-stream; name=\"figures.bin\"\r\n"+
		"Content-Transfer-Encoding: base64\r\n"+
		"\r\n", senderDomain, recipientDomain, idText(0))
	content := size - len(head)
	if content < 2 {
		return nil, fmt.Errorf("message of %d bytes: the header alone has %d", size, len(head))
	}
	m := &message{head: []byte(head), size: size, content: content}
	m.idAt = bytes.Index(m.head, []byte(idText(0)))
	m.body = bodyLines(content)
	return m, nil
}

// bodyLines returns dot-stuffed lines that are n bytes long before stuffing; n is at least 2.
func bodyLines(n int) []byte {
	src := rand.New(rand.NewPCG(10, uint64(n)))
	raw := make([]byte, lineLength/4*3)
	line := make([]byte, lineLength)
	out := make([]byte, 0, n+n/(dotLineEvery*lineLength)+2)
	for count := 1; n > 0; count++ {
		for i := range raw {
			raw[i] = byte(src.Uint32())
		}
		base64.StdEncoding.Encode(line, raw)
		length := min(lineLength, n-2)
		if rest := n - 2 - length; rest == 1 {
			length-- // a rest of one byte has no room for CRLF
		}
		if count%dotLineEvery == 0 && length > 0 {
			line[0] = '.'
			out = append(out, '.')
		}
		out = append(append(out, line[:length]...), "\r\n"...)
		n -= length + 2
	}
	return out
}

// wire appends the whole message with number id to dst, without the end dot.
func (m *message) wire(dst []byte, id uint64) []byte {
	return append(m.header(dst, id), m.body...)
}

// header appends the header with number id to dst.
func (m *message) header(dst []byte, id uint64) []byte {
	at := len(dst) + m.idAt
	dst = append(dst, m.head...)
	appendID(dst[at:at], id)
	return dst
}

// idText is the number in its fixed width.
func idText(id uint64) string { return string(appendID(nil, id)) }

// appendID appends the number in its fixed width.
func appendID(dst []byte, id uint64) []byte {
	var digits [idDigits]byte
	for i := idDigits - 1; i >= 0; i-- {
		digits[i] = byte('0' + id%10)
		id /= 10
	}
	return append(dst, digits[:]...)
}

// appendGroup appends the commands that open the transaction of message id. In one write they are a
// pipelined group, with DATA last as RFC 2920 section 3.1 requires.
func appendGroup(dst []byte, id uint64, size int) []byte {
	dst = append(dst, "MAIL FROM:<load@"+senderDomain+"> SIZE="...)
	dst = strconv.AppendInt(dst, int64(size), 10)
	dst = append(dst, "\r\nRCPT TO:<r"...)
	dst = appendID(dst, id)
	return append(dst, "@"+recipientDomain+">\r\nDATA\r\n"...)
}

// recipientID reads the message number from a RCPT command; ok is false if the recipient has none.
func recipientID(line []byte) (id uint64, ok bool) {
	at := bytes.IndexByte(line, '<')
	if at < 0 || len(line) < at+2+idDigits || line[at+1] != 'r' {
		return 0, false
	}
	for _, c := range line[at+2 : at+2+idDigits] {
		if c < '0' || c > '9' {
			return 0, false
		}
		id = id*10 + uint64(c-'0')
	}
	return id, true
}
