package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// message is one of the messages that are sent to the edge.
type message struct {
	kind     string
	from, to string
	subject  string
	needs    need
	// protocols are those that the edge may name in its trace field (RFC 3848). Some clients use
	// SMTPUTF8 wherever it is offered.
	protocols []string
	data      []byte // with CRLF, as it must arrive
}

// need is what a client must support to send a message.
type need int

const (
	nothing  need = iota
	smtputf8      // RFC 6531: an address outside ASCII
	starttls      // RFC 3207, the certificate verified
)

// messages returns the five messages. Their Message-IDs are random, so each run has its own.
func messages(now time.Time) []message {
	attachment := make([]byte, 20_000)
	_, _ = rand.Read(attachment) // never fails, by its documentation
	plain, utf8, secure := []string{"ESMTP", "UTF8SMTP"}, []string{"UTF8SMTP"}, []string{"ESMTPS", "UTF8SMTPS"}
	list := []message{
		{kind: "plain", from: "sender@example.org", to: "plain@example.net", subject: "A plain message", protocols: plain},
		{kind: "attachment", from: "sender@example.org", to: "attachment@example.net", subject: "A message with an attachment", protocols: plain},
		{kind: "utf-8", from: "отправитель@example.org", to: "postfach-grün@example.net", subject: "Grüße 你好: both addresses are UTF-8", needs: smtputf8, protocols: utf8},
		{kind: "5 MB", from: "sender@example.org", to: "large@example.net", subject: "A message of 5 MB", protocols: plain},
		{kind: "starttls", from: "sender@example.org", to: "secure@example.net", subject: "A message over TLS", needs: starttls, protocols: secure},
	}
	for i := range list {
		m := &list[i]
		head := m.header(now)
		switch m.kind {
		case "attachment":
			m.data = mixed(head, attachment)
		case "5 MB":
			m.data = []byte(head + "Content-Type: text/plain\r\n\r\n" + lines(5_000_000-len(head)))
		default:
			// Careless relays damage lines that begin with a dot.
			m.data = []byte(head + "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" +
				"This message was sent by SMTP and is stored as it was sent.\r\n.\r\n..two dots\r\nEnd of message.\r\n")
		}
	}
	return list
}

func (m *message) header(now time.Time) string {
	id := make([]byte, 8)
	_, _ = rand.Read(id)
	return fmt.Sprintf("Date: %s\r\nFrom: <%s>\r\nTo: <%s>\r\nSubject: %s\r\nMessage-ID: <%s@example.org>\r\nMIME-Version: 1.0\r\n",
		now.Format(time.RFC1123Z), m.from, m.to, m.subject, hex.EncodeToString(id))
}

// mixed returns a message with text and an attachment (RFC 2046 section 5.1.3).
func mixed(head string, attachment []byte) []byte {
	const boundary = "part-of-a-message"
	var b strings.Builder
	b.WriteString(head)
	fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=%q\r\n\r\n", boundary)
	fmt.Fprintf(&b, "--%s\r\nContent-Type: text/plain\r\n\r\nThe attachment is random.\r\n", boundary)
	fmt.Fprintf(&b, "--%s\r\nContent-Type: application/octet-stream\r\n", boundary)
	b.WriteString("Content-Disposition: attachment; filename=random.bin\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	for text := base64.StdEncoding.EncodeToString(attachment); text != ""; {
		n := min(76, len(text))
		b.WriteString(text[:n] + "\r\n")
		text = text[n:]
	}
	fmt.Fprintf(&b, "--%s--\r\n", boundary)
	return []byte(b.String())
}

// lines returns numbered text of about size bytes.
func lines(size int) string {
	var b strings.Builder
	for i := 1; b.Len() < size; i++ {
		fmt.Fprintf(&b, "%09d All lines have the same text, but each has its own number.\r\n", i)
	}
	return b.String()
}
