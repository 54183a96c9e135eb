package wire

import "bytes"

// The lobby is where a client is before its first transaction. It needs no
// session for its banner, EHLO, STARTTLS, NOOP, RSET and QUIT: they are answered
// on a goroutine with a small stack, and without the buffers that go-smtp holds
// for each connection. Many clients never say more than that, and those that
// keep us waiting cost little. With the first other command go-smtp accepts the
// connection; its banner and its answer to the greeting are swallowed.

// dialect is what a Listener has learned of its go-smtp from the first greeting
// that it accepted, so that the lobby says the same. Before that there is no
// lobby.
type dialect struct {
	keywords string // of EHLO's reply: all lines but the first
	lmtp     bool
}

// lobby serves c until it ends or until go-smtp is needed.
func (c *Conn) lobby(d *dialect) {
	protocol := " ESMTP Service Ready\r\n"
	if d.lmtp {
		protocol = " LMTP Service Ready\r\n"
	}
	c.out.add("220 ", c.settings.Hostname, protocol)
	c.start()
	for !c.ended {
		line, err := c.readLine()
		if err != nil {
			_ = c.lost(err)
			break
		}
		if !c.ended && !c.receive(line, d) {
			c.in.r -= len(line) // read again once go-smtp is there
			c.phase = atEntry
			if c.listener.enter(c) {
				return // it is another goroutine's from here on
			}
			c.end("draining")
			c.say("421", "4.3.2", c.settings.Hostname+" is going out of service, try again")
		}
	}
	_ = c.Close()
}

// receive answers line if the lobby can.
func (c *Conn) receive(line []byte, d *dialect) bool {
	c.parse(bytes.TrimRight(line, "\r\n"))
	switch c.cmd.Verb {
	case "NOOP", "RSET", "QUIT", "STARTTLS":
	case "EHLO", "HELO":
		if d.lmtp {
			return false
		}
	case "LHLO":
		if !d.lmtp {
			return false
		}
	default:
		return false
	}
	if !c.take(line) {
		return true
	}
	c.line = nil
	switch {
	case c.cmd.Verb == "NOOP":
		c.out.add("250 2.0.0 I have successfully done nothing\r\n")
	case c.cmd.Verb == "RSET":
		c.out.add("250 2.0.0 Session reset\r\n")
	case c.cmd.Verb == "QUIT":
		c.out.add("221 2.0.0 Bye\r\n")
		c.end("quit")
	case len(c.cmd.Arg) == 0:
		c.out.add("501 5.5.2 Domain/address argument required for HELO\r\n")
	case c.cmd.Verb == "HELO":
		c.out.add("250 Hello\r\n")
	default:
		c.out.add("250-Hello\r\n", d.keywords)
	}
	c.settle()
	return true
}

// enterSMTP is the first thing that go-smtp reads of a connection that comes
// from the lobby: who its client said it was. The shorter greeting will do, for
// the reply is not for the client.
func (c *Conn) enterSMTP() {
	c.out.drop() // the banner
	c.phase = atCommand
	if !c.greeted {
		return
	}
	verb := "HELO "
	if c.hello == "LHLO" {
		verb = "LHLO "
	}
	c.replayed = true
	c.line = []byte(verb + c.helo + "\r\n")
}
