package smtpc

import (
	"context"
	"strings"

	"anymx/edge/mail"
)

const (
	// burstLine is the length of a line in a group, CRLF included; a server takes
	// 512 octets (RFC 5321 section 4.5.3.1.4).
	burstLine = 500
	// burstAlone is that of a line alone, which has to fill a packet by itself.
	// Most servers take it; one that does not has it all the same.
	burstAlone = 2000
	// burstGroup bounds the octets that are written before replies are read, so
	// that neither side waits for the other.
	burstGroup = 16 << 10
	// burstLines bounds the lines of one call: after 100 commands without a
	// message Postfix takes its client for a bad one.
	burstLines = 96
)

// Burst sends octets, or a few more, as many at once as it can, and returns when
// all of them were answered: it shows that packets of full size get there. It
// can be called between two messages. sent is how much was answered, at most
// 48,000 octets. The error is the *mail.Failure that made the connection dead;
// the end of ctx does that too.
//
// The octets are RSET commands with white space behind them, which servers have
// to bear (RFC 5321 section 4.1.1). They go in groups to a server that offers
// PIPELINING (RFC 2920 section 3.1, which allows RSET anywhere in a group, and
// NOOP at its end alone), else as longer lines, one by one.
func (c *Conn) Burst(ctx context.Context, octets int) (sent int, err error) {
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
	for lines := min((octets+length-1)/length, burstLines); lines > 0; lines -= group {
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

// burst writes a group of n commands and reads their replies. again says that
// the server liked it.
func (c *Conn) burst(group string, n int) (again bool, f *mail.Failure) {
	if err := c.write([]byte(group)); err != nil {
		return false, c.die(c.lost(cmdRSET, err))
	}
	again = true
	for range n {
		c.await(c.o.Timeouts.Command)
		r, f := c.read(cmdRSET, nil)
		if f != nil {
			return false, f
		}
		again = again && r.positive()
	}
	return again, nil
}
