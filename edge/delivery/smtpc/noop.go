package smtpc

import "context"

// Noop has the server answer NOOP (RFC 5321 section 4.1.1.9), which shows that it serves. It can be called
// between two messages. The error is the *mail.Failure that made the connection dead.
func (c *Conn) Noop(ctx context.Context) error {
	if c.err != nil {
		return c.err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.borrow(ctx)
	defer c.giveBack()
	defer c.watch(ctx)()
	if _, f := c.say("NOOP", "NOOP", nil); f != nil {
		return f
	}
	return nil
}
