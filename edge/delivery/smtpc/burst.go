package smtpc

import (
	"context"
	"strings"

	"anymx/edge/mail"
)

const (
	// burstLine is the length of a line in a group, including CRLF; a server must accept 512 octets
	// (RFC 5321 section 4.5.3.1.4).
	burstLine = 500
	// burstAlone is the length of a single line, which has to fill a packet by itself. Most servers
	// accept it; one that refuses it has received it all the same.
	burstAlone = 2000
	// burstGroup bounds the bytes that are written before replies are read, so that the two sides
	// can't block each other.
	burstGroup = 16 << 10
	// burstLines bounds the lines of one call: after 100 commands without a message, Postfix treats
	// its client as misbehaving.
	burstLines = 96
)

// Burst sends at least size bytes, as many at once as it can, and returns when all are answered.
// This shows that packets of full size reach the server. It can be called between two messages.
// sent is the number of answered bytes, at most 48,000. The error is the *mail.Failure that made
// the connection dead; the end of ctx does that too.
//
// It sends RSET commands with trailing white space, which servers must tolerate (RFC 5321 section
// 4.1.1). A server with PIPELINING gets them in groups (RFC 2920 section 3.1 allows RSET anywhere
// in a group, but NOOP only at its end), others get longer lines one by one.
func (c *Conn) Burst(ctx context.Context, size int) (sent int, err error) {
	if c.err != nil {
		return 0, c.err
	}
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	c.borrow(ctx)
	defer c.giveBack()
	defer c.watch(ctx)()
	length, group := burstLine, burstGroup/burstLine
	if !c.ext.pipelining {
		length, group = burstAlone, 1
	}
	line := "RSET" + strings.Repeat(" ", length-len("RSET\r\n")) + "\r\n"
	for lines := min((size+length-1)/length, burstLines); lines > 0; lines -= group {
		n := min(lines, group)
		again, f := c.burst(strings.Repeat(line, n), n)
		if f != nil {
			return sent, f
		}
		if sent += n * length; !again {
			break
		}
	}
	return sent, nil
}

// burst writes a group of n commands and reads their replies. again reports whether the server
// accepted all of them.
func (c *Conn) burst(group string, n int) (again bool, f *mail.Failure) {
	if err := c.write([]byte(group)); err != nil {
		return false, c.die(c.lost(cmdRSET, err))
	}
	again = true
	for range n {
		c.await(c.options.Timeouts.Command)
		r, f := c.read(cmdRSET, nil)
		if f != nil {
			return false, f
		}
		again = again && r.positive()
	}
	return again, nil
}
