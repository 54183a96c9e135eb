package wire

import (
	"bytes"
	"unicode/utf8"
)

// take looks at one line with its end, and says whether go-smtp gets it. What
// it does not get was answered.
func (c *Conn) take(line []byte) bool {
	if c.ended || !c.command(line) {
		return false
	}
	switch c.cmd.Verb {
	case "EHLO", "HELO", "LHLO", "QUIT":
	default:
		c.asked = true
	}
	if c.registry.draining.Load() && !c.finishes() {
		c.end("draining")
		c.say("421", "4.3.2", c.settings.Hostname+" is going out of service, try again")
		return false
	}
	if c.cmd.Verb == "BDAT" && !c.chunk() {
		return false // before anything can refuse it: its chunk must be read away then
	}
	var a Answer
	if c.settings.Command != nil {
		a = c.settings.Command(c, c.cmd)
	}
	if a.Reply.Code != 0 {
		c.append(a.Reply)
		c.settle()
		return false
	}
	line = append(c.cmd.Line, '\r', '\n') // where it stands, for it is no longer than it was
	if a.Line != "" {
		line = append([]byte(a.Line), '\r', '\n')
	}
	return c.dispatch(line, a.Line != "")
}

// command counts a line, refuses it or sets cmd.
func (c *Conn) command(line []byte) bool {
	c.cmd = Command{}
	c.stats.Commands++
	if max := c.settings.Limits.MaxCommands; max > 0 && c.stats.Commands > max {
		c.end("commands")
		c.say("421", "4.7.0", c.settings.Hostname+" too many commands")
		return false
	}
	text, ok := c.clean(line)
	if ok {
		c.parse(text)
	}
	return ok
}

// clean refuses what two servers could read differently, and what is no text.
// It returns the line without its end and the white space there (RFC 5321
// section 4.1.1).
func (c *Conn) clean(line []byte) ([]byte, bool) {
	text, crlf := bytes.CutSuffix(line, []byte("\r\n"))
	if !crlf || bytes.IndexByte(text, '\r') >= 0 || bytes.IndexByte(text, 0) >= 0 {
		c.reject("500", "5.5.2", "bare CR, bare LF or NUL in command", "bare line end")
		return nil, false
	}
	ascii := true
	for _, b := range text {
		if b >= 0x80 {
			ascii = false
		} else if b < ' ' && b != '\t' || b == 0x7f {
			c.say("500", "5.5.2", "control character in command")
			return nil, false
		}
	}
	if !ascii && !utf8.Valid(text) {
		c.say("500", "5.5.2", "command is not UTF-8")
		return nil, false
	}
	return bytes.TrimRight(text, " \t"), true
}

// verbs are those that are used all the time: naming one of them costs no
// allocation.
var verbs = [...]string{"MAIL", "RCPT", "DATA", "BDAT", "EHLO", "QUIT", "RSET", "NOOP", "STARTTLS", "XFORWARD"}

// parse sets cmd. The verb is what stands before the first space, in upper
// case; one that is longer than any we know is left empty.
func (c *Conn) parse(text []byte) {
	verb, arg, _ := bytes.Cut(text, []byte{' '})
	c.cmd = Command{Line: text, Arg: bytes.Trim(arg, " \t")}
	var upper [16]byte
	if len(verb) > len(upper) {
		return
	}
	for i, b := range verb {
		if b >= 'a' && b <= 'z' {
			b -= 'a' - 'A'
		}
		upper[i] = b
	}
	for _, known := range verbs {
		if string(upper[:len(verb)]) == known {
			c.cmd.Verb = known
			return
		}
	}
	c.cmd.Verb = string(upper[:len(verb)])
}

// finishes says whether the command in hand may still be done while draining:
// the rest of a transaction, and goodbye.
func (c *Conn) finishes() bool {
	switch c.cmd.Verb {
	case "RCPT", "DATA", "BDAT":
		return c.mail
	case "QUIT":
		return true
	}
	return false
}

// maxHelo bounds the name that a client gives itself: a domain name has 255
// octets at most (RFC 5321 section 4.5.3.1.2).
const maxHelo = 255

// dispatch hands line to go-smtp, or answers what is wire's own. own says that
// line is not the client's.
func (c *Conn) dispatch(line []byte, own bool) bool {
	switch c.cmd.Verb {
	case "EHLO", "HELO", "LHLO":
		if len(c.cmd.Arg) > maxHelo {
			c.say("501", "5.5.4", "that is too long for a host name")
			return false
		}
	case "RSET", "NOOP", "VRFY", "QUIT":
	case "MAIL":
		if !c.greeted {
			return c.disorder("EHLO first")
		}
	case "RCPT":
		if !c.mail {
			return c.disorder("MAIL first")
		}
	case "DATA":
		if len(c.in.unread()) > 0 {
			// RFC 2920 section 3.1: DATA ends a group. A message that was sent
			// before it was asked for is how smuggled mail arrives.
			c.reject("503", "5.5.0", "message sent before it was asked for", "pipelining")
			return false
		}
		if !c.rcpt {
			return c.disorder("RCPT first")
		}
		c.body.begin(true)
	case "BDAT":
		if !c.rcpt {
			c.disorder("RCPT first")
			c.body.refuse()
			return false
		}
		line = dataLine
	case "STARTTLS":
		c.startTLS()
		return c.line != nil
	case "AUTH":
		return c.disorder("AUTH is not offered here")
	case "EXPN", "HELP", "TURN", "SEND", "SOML", "SAML":
		c.say("502", "5.5.1", "not implemented")
		return false
	case "PROXY", "GET", "POST", "PUT", "CONNECT":
		// No mail client: what follows is another protocol's, and its lines must
		// not be tried as commands one after the other.
		c.reject("500", "5.5.2", "this is SMTP", "not SMTP")
		return false
	default:
		if !own {
			c.say("500", "5.5.2", "no such command")
			return false
		}
	}
	c.line = line
	return true
}

// disorder refuses a command that can't be said now.
func (c *Conn) disorder(why string) bool {
	c.say("503", "5.5.1", why)
	return false
}

// chunk reads the arguments of BDAT (RFC 3030). go-smtp is told DATA, and the
// session reads the body, chunk by chunk. Where one of them refuses it, or wire
// does, the chunk is read away.
func (c *Conn) chunk() bool {
	size, last, ok := parseChunk(c.cmd.Arg)
	if !ok {
		// Nobody knows where the chunk ends that stands behind this.
		c.reject("501", "5.5.4", "BDAT wants a size and perhaps LAST", "BDAT arguments")
		return false
	}
	c.body.begin(false)
	c.body.chunk, c.body.last = size, last
	return true
}

var dataLine = []byte("DATA\r\n")

// parseChunk reads "SIZE" or "SIZE LAST".
func parseChunk(arg []byte) (size int64, last, ok bool) {
	digits, rest, more := bytes.Cut(arg, []byte{' '})
	if len(digits) == 0 || len(digits) > 18 {
		return 0, false, false
	}
	for _, d := range digits {
		if d < '0' || d > '9' {
			return 0, false, false
		}
		size = size*10 + int64(d-'0')
	}
	if more {
		last = bytes.EqualFold(bytes.TrimLeft(rest, " "), []byte("LAST"))
	}
	return size, last, last == more
}
