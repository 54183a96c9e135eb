package smtpc

import (
	"context"
	"errors"
	"slices"
	"strings"

	"anymx/edge/mail"
)

// Message is a message to send, to some of its recipients.
type Message struct {
	Envelope *mail.Envelope
	Pending  []int // the recipients to deliver to, as indexes into Envelope.Recipients
	Body     Content
}

// Recipients in one transaction: what every server must accept (RFC 5321 section 4.5.3.1.8), and
// the most for a server that declares a limit.
const (
	rcptDefault = 100
	rcptMost    = 1000
)

// unattempted is the initial result of each recipient, so that a recipient without an outcome
// counts as failed.
var unattempted = &mail.Failure{Enhanced: mail.Enhanced{4, 3, 0}, Cause: errors.New("not attempted")}

// Send sends m and returns one result for each pending recipient, in their order. The error is the
// *mail.Failure that made the connection dead, if any; the results are complete in any case. The
// end of ctx makes the connection dead too.
func (c *Conn) Send(ctx context.Context, m Message) ([]mail.Result, error) {
	c.tookRcpt = false
	results := make([]mail.Result, len(m.Pending))
	todo := make([]int, 0, len(m.Pending))
	for place, rcpt := range m.Pending {
		results[place] = mail.Result{Recipient: rcpt, Failure: unattempted, Remote: c.remote}
		todo = append(todo, place)
	}
	switch {
	case c.err != nil:
		assign(results, todo, c.err)
	case ctx.Err() != nil:
		assign(results, todo, c.local("", mail.Enhanced{4, 4, 2}, context.Cause(ctx)))
	default:
		c.borrow(ctx)
		stop := c.watch(ctx)
		c.send(&m, results, todo)
		stop()
		c.giveBack()
	}
	return results, c.Err()
}

// send sends m, between borrow and giveBack.
func (c *Conn) send(m *Message, results []mail.Result, todo []int) {
	if c.checkIdle(); c.err == nil && c.wantsIdentity(m.Envelope) {
		c.identify(&m.Envelope.Client)
	}
	if c.err == nil {
		if f := c.unfitMessage(m); f != nil {
			assign(results, todo, f)
			return
		}
		todo = slices.DeleteFunc(todo, func(place int) bool {
			f := c.unfitRecipient(&m.Envelope.Recipients[results[place].Recipient])
			if f != nil {
				results[place].Failure = f
			}
			return f != nil
		})
	}
	for len(todo) > 0 {
		switch {
		case c.err != nil:
			assign(results, todo, c.err)
			return
		case c.UsedUp():
			assign(results, todo, c.local(cmdMAIL, mail.Enhanced{4, 4, 5}, ErrUsedUp))
			return
		}
		batch, rest := c.batch(m, results, todo)
		t := &c.tx
		t.prepare(c, m, results, batch)
		t.run()
		todo = rest
		for _, place := range t.later {
			results[place].Failure = unattempted
			todo = append(todo, place)
		}
		t.release()
	}
}

// assign gives the same failure to every recipient without an outcome.
func assign(results []mail.Result, places []int, f *mail.Failure) {
	for _, place := range places {
		if results[place].Failure == unattempted {
			results[place].Failure = f
		}
	}
}

// batch returns the part of todo for one transaction, and the rest.
func (c *Conn) batch(m *Message, results []mail.Result, todo []int) (now, rest []int) {
	limit := rcptDefault
	if c.ext.rcptMax > 0 {
		limit = min(c.ext.rcptMax, rcptMost)
	}
	if c.ext.domainsMax == 0 {
		n := min(limit, len(todo))
		return todo[:n], todo[n:]
	}
	// RFC 9422 section 3.3: no more than so many domains in a transaction.
	domains := make([]string, 0, c.ext.domainsMax)
	for _, place := range todo {
		domain := strings.ToLower(m.Envelope.Recipients[results[place].Recipient].Path.Domain)
		known := slices.Contains(domains, domain)
		if len(now) == limit || !known && len(domains) == c.ext.domainsMax {
			rest = append(rest, place)
			continue
		}
		if !known {
			domains = append(domains, domain)
		}
		now = append(now, place)
	}
	return now, rest
}

// unfitMessage returns why m can't be sent to this server, before a byte is sent. Messages are
// never rewritten.
func (c *Conn) unfitMessage(m *Message) *mail.Failure {
	env := m.Envelope
	switch {
	case !isSafe(env.Sender):
		return c.local(cmdMAIL, mail.Enhanced{5, 1, 7}, errors.New("sender address contains a line end or NUL"))
	case env.RequireTLS && !c.verified():
		if c.tlsFailed { // TLS may work again later
			return c.local(cmdMAIL, mail.Enhanced{4, 7, 5}, errors.New("message requires TLS, which failed"))
		}
		return c.local(cmdMAIL, mail.Enhanced{5, 7, 30}, errors.New("message requires verified TLS (REQUIRETLS)"))
	case c.ext.sizeLimit > 0 && m.Body.Size() > c.ext.sizeLimit:
		return c.local(cmdMAIL, mail.Enhanced{5, 3, 4}, errors.New("message is larger than the server's SIZE limit"))
	}
	switch lacks := env.Needs() &^ c.Extensions(); {
	case lacks.Has(mail.SMTPUTF8):
		return c.local(cmdMAIL, mail.Enhanced{5, 6, 7}, lacksError("message needs SMTPUTF8, which the server does not offer"))
	case lacks.Has(mail.EightBitMIME):
		return c.local(cmdMAIL, mail.Enhanced{5, 6, 3}, lacksError("message has 8-bit text, and the server does not offer 8BITMIME"))
	}
	return nil
}

// usesUTF8 reports whether the MAIL of a transaction has SMTPUTF8: if the message needs it, or to
// write an address without converting it.
func (c *Conn) usesUTF8(m *Message, results []mail.Result, places []int) bool {
	if !c.ext.utf8 {
		return false
	}
	if !m.Envelope.Sender.IsASCII() || m.Envelope.Needs().Has(mail.SMTPUTF8) {
		return true
	}
	return slices.ContainsFunc(places, func(place int) bool {
		return !m.Envelope.Recipients[results[place].Recipient].Path.IsASCII()
	})
}

// unfitRecipient returns why r can't be sent to this server.
func (c *Conn) unfitRecipient(r *mail.Recipient) *mail.Failure {
	switch {
	case r.Path.IsNull() || !isSafe(r.Path):
		return c.local(cmdRCPT, mail.Enhanced{5, 1, 3}, errors.New("address can't be written in a command"))
	case !c.Extensions().Has(r.Path.Needs()):
		return c.local(cmdRCPT, mail.Enhanced{5, 6, 7}, lacksError("address needs SMTPUTF8, which the server does not offer"))
	}
	return nil
}

// checkIdle checks whether the server has closed the connection, or sent something, since the last
// message.
func (c *Conn) checkIdle() {
	waiting, err := c.pulse.check()
	switch {
	case err != nil:
		c.die(c.lost("", err))
	case waiting && c.tls == nil:
		c.await(lastWords)
		if _, f := c.read("", nil); f == nil {
			c.die(c.lost("", errUnasked))
		}
	}
}

// wantsIdentity reports whether an XCLIENT is needed before env.
func (c *Conn) wantsIdentity(env *mail.Envelope) bool {
	return c.options.XClient && !c.noXCli && c.ext.xclient != 0 && (c.ext.xforward == 0 || !c.options.XForward) &&
		env.Client != c.identity
}

// identify sends XCLIENT. The server then restarts the session, with a greeting for that client.
func (c *Conn) identify(client *mail.Client) {
	r, f := c.say(cmdXCLIENT, string(appendXClient(nil, client, c.ext.xclient)), nil)
	switch {
	case f != nil:
	case r.negative():
		c.noXCli = true
	case r.code != 220:
		c.die(c.unfit(cmdXCLIENT, &r))
	default:
		c.identity, c.reset = *client, false
		c.hello()
	}
}
