package wire

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"anymx/edge/mail"
)

// outgoing gathers replies until there is nothing left to read. The zero
// outgoing holds no buffer.
type outgoing struct {
	lent  *[]byte
	reply int // where the reply to the command in hand begins
	// mu is for LMTP, where go-smtp writes its replies while another of its
	// goroutines is still in Read for the end of the message.
	mu sync.Mutex
}

var outPool = sync.Pool{New: func() any { b := make([]byte, 0, smallBuffer); return &b }}

// maxOut is how much is gathered before it is sent although there is more to
// read, and the largest buffer that is kept for the next user.
const maxOut = 16 << 10

func (o *outgoing) bytes() []byte {
	if o.lent == nil {
		return nil
	}
	return *o.lent
}

func (o *outgoing) add(parts ...string) {
	b := o.take()
	for _, p := range parts {
		*b = append(*b, p...)
	}
}

func (o *outgoing) take() *[]byte {
	if o.lent == nil {
		o.lent = outPool.Get().(*[]byte)
	}
	return o.lent
}

// last is the reply in hand, all its lines.
func (o *outgoing) last() []byte { return o.bytes()[min(o.reply, len(o.bytes())):] }

// mark ends the reply in hand: the next begins here.
func (o *outgoing) mark() { o.reply = len(o.bytes()) }

// drop forgets the reply in hand.
func (o *outgoing) drop() {
	if o.lent != nil {
		*o.lent = (*o.lent)[:min(o.reply, len(*o.lent))]
	}
}

func (o *outgoing) put() {
	if o.lent != nil && cap(*o.lent) <= maxOut {
		*o.lent = (*o.lent)[:0]
		outPool.Put(o.lent)
	}
	o.lent, o.reply = nil, 0
}

// Write takes go-smtp's reply. It is sent before the next wait for the client.
func (c *Conn) Write(p []byte) (int, error) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	asks := bytes.HasPrefix(p, []byte("354 ")) && (c.cmd.Verb == "DATA" || c.cmd.Verb == "BDAT")
	if asks {
		c.phase = inMessage // whatever the session makes of it
	}
	if asks && !c.body.dot {
		return len(p), nil // a BDAT gets no 354
	}
	b := c.out.take()
	*b = append(*b, p...)
	if asks {
		c.out.mark()
	}
	return len(p), nil
}

// flush sends all that was gathered in one write. If it can't, it ends the
// connection.
func (c *Conn) flush() error {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	b := c.out.bytes()
	if len(b) == 0 {
		return nil
	}
	timeout := orDefault(c.settings.Limits.WriteTimeout, time.Minute)
	err := c.sock.SetWriteDeadline(time.Now().Add(timeout))
	switch {
	case err != nil: // closed
	case c.tls != nil:
		_, err = c.tls.Write(b)
	default:
		_, err = c.sock.Write(b)
	}
	c.stats.Out += int64(len(b))
	c.out.put()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.end("timeout")
	case err != nil:
		c.end("disconnect")
	}
	return err
}

// say adds a reply of wire's own, which go-smtp does not know of.
func (c *Conn) say(code, enhanced, text string) {
	c.out.add(code, " ", enhanced, " ", text, "\r\n")
	c.count(code)
	c.out.mark()
}

// reject says why, and ends the connection.
func (c *Conn) reject(code, enhanced, text, reason string) {
	c.end(reason)
	c.say(code, enhanced, text+", closing")
}

// Answer replaces the reply that go-smtp is about to give to the command in
// hand, in LMTP all replies to a message. A code of 421 ends the connection.
func (c *Conn) Answer(r mail.Reply) { c.answer = r }

// append adds r, a line for each of its own. Control characters in its text, if
// some client's word should have got there, can't break the line.
func (c *Conn) append(r mail.Reply) {
	b := c.out.take()
	for text := r.Text; ; {
		line, rest, more := strings.Cut(text, "\n")
		*b = strconv.AppendInt(*b, int64(r.Code), 10)
		if more {
			*b = append(*b, '-')
		} else {
			*b = append(*b, ' ')
		}
		if r.Enhanced != (mail.Enhanced{}) {
			*b = append(r.Enhanced.AppendTo(*b), ' ')
		}
		for i := 0; i < len(line); i++ {
			if line[i] < ' ' || line[i] == 0x7f {
				*b = append(*b, '?')
			} else {
				*b = append(*b, line[i])
			}
		}
		*b = append(*b, '\r', '\n')
		if !more {
			return
		}
		text = rest
	}
}

// settle ends the reply to the command in hand, which is complete now: it is
// amended, swallowed, counted.
func (c *Conn) settle() {
	if c.phase == inMessage || len(c.out.last()) < 4 {
		return // nothing but a 354, or nothing, was said yet
	}
	answer := c.answer
	c.answer = mail.Reply{}
	switch {
	case c.swallow:
		c.swallow = false
		c.out.drop()
		return
	case c.replayed:
		c.replayed = false
		if c.out.last()[0] == '2' {
			c.out.drop()
			return
		}
		c.end("refused") // the session did not want this client, who hears it now
	}
	if answer.Code != 0 {
		c.out.drop()
		c.append(answer)
	}
	if reply := c.out.last(); reply[0] == '2' {
		c.accepted(reply)
	}
	c.count(string(c.out.last()[:3]))
	c.out.mark()
	if c.cmd.Verb == "BDAT" {
		c.body.refuse()
	}
}

// accepted is what a positive reply to the command in hand changes.
func (c *Conn) accepted(reply []byte) {
	switch c.cmd.Verb {
	case "EHLO", "LHLO":
		c.greet()
		c.extend(reply)
	case "HELO":
		c.greet()
		c.out.drop()
		c.out.add("250 ", c.settings.Hostname, "\r\n")
	case "MAIL":
		c.mail, c.rcpt = true, false
	case "RCPT":
		c.rcpt = true
	case "RSET":
		c.mail, c.rcpt = false, false
	}
}

// count looks at the code of a reply: errors add up, and 421 is the last.
// Refused recipients are counted by the session, with a limit of their own.
func (c *Conn) count(code string) {
	failed := code[0] == '5' && c.cmd.Verb != "RCPT"
	if failed {
		c.stats.Errors++
		c.registry.metrics.errors.Inc()
	}
	max := c.settings.Limits.MaxErrors
	switch {
	case c.ended:
	case code == "421":
		c.end("refused")
	case failed && max > 0 && c.stats.Errors >= max:
		c.end("errors")
		c.out.add("421 4.7.0 ", c.settings.Hostname, " too many errors\r\n")
	}
}

// greet begins the session anew (RFC 5321 section 4.1.4).
func (c *Conn) greet() {
	c.greeted, c.mail, c.rcpt = true, false, false
	domain, _, _ := bytes.Cut(c.cmd.Arg, []byte{' '}) // as go-smtp does
	c.hello, c.helo = c.cmd.Verb, string(domain)
}

// extend rewrites go-smtp's reply to EHLO: our name first, as RFC 5321 section
// 4.1.1.1 asks, and the extensions that are wire's.
func (c *Conn) extend(reply []byte) {
	first := bytes.IndexByte(reply, '\n') + 1
	if first == 0 || reply[3] != '-' {
		return
	}
	keywords := string(reply[first:])
	c.listener.learn(keywords, c.hello == "LHLO")
	if c.settings.Withheld != nil {
		keywords = withhold(keywords, c.settings.Withheld())
	}
	if max := c.settings.Limits.MaxMessage; max > 0 {
		// RFC 1870: go-smtp says SIZE without the number that it is not told, for
		// only the limits of wire may change while it runs.
		keywords = strings.Replace(keywords, "SIZE\r\n", "SIZE "+strconv.FormatInt(max, 10)+"\r\n", 1)
	}
	c.out.drop()
	c.out.add("250-", c.settings.Hostname, "\r\n")
	if c.tls == nil && c.settings.TLS != nil {
		c.out.add("250-STARTTLS\r\n")
	}
	if c.settings.Extensions != nil {
		for _, keyword := range c.settings.Extensions(c) {
			c.out.add("250-", keyword, "\r\n")
		}
	}
	c.out.add(keywords)
}

// withhold returns the lines of an EHLO reply without those of some keywords. The last line stays
// what it is, for it ends the reply.
func withhold(lines string, keywords []string) string {
	for _, keyword := range keywords {
		if before, after, found := strings.Cut(lines, "250-"+keyword+"\r\n"); found {
			lines = before + after
		}
	}
	return lines
}
