package smtpc

import (
	"time"

	"anymx/edge/mail"
)

// maxGroup is how many commands are written before their replies are read, so that the two sides
// can't block by filling each other's window (RFC 2920 section 3.1).
const maxGroup = 100

// lastWords is how long to wait for a reply of a server that broke off a write: it may say why.
const lastWords = time.Second

// transaction is one SMTP transaction, from MAIL to the reply to the message, for some of a
// message's recipients. Each recipient is identified by its place, the index in results.
type transaction struct {
	c       *Conn
	m       *Message
	results []mail.Result
	rcpts   []int // places, in the order of their RCPTs

	group                  // commands and their replies
	accepted []int         // places that the server accepted
	later    []int         // places that need another transaction
	utf8     bool          // MAIL has SMTPUTF8
	begun    bool          // MAIL was accepted
	ready    bool          // the server sent 354
	sent     bool          // the whole message was written
	failed   *mail.Failure // why the transaction failed for all, unless the server accepts the message anyway
	misfit   *mail.Failure // a reply that doesn't fit its command: the connection is not reused
	pieces   [][]byte      // memory for those of one write; empty between writes
}

// question is a command whose reply is due.
type question struct {
	command string
	place   int // of the recipient, for RCPT
}

// prepare resets t for a run. It reuses the slices of the previous one.
func (t *transaction) prepare(c *Conn, m *Message, results []mail.Result, rcpts []int) {
	*t = transaction{
		c: c, m: m, results: results, rcpts: rcpts, utf8: c.usesUTF8(m, results, rcpts),
		group:    group{asked: t.asked[:0], codes: t.codes[:0]},
		accepted: t.accepted[:0], later: t.later[:0], pieces: t.pieces[:0],
	}
	if cap(t.pieces) == 0 {
		t.pieces = make([][]byte, 0, 4) // commands, front, body
	}
}

// release drops the message, and slices that are too long to keep.
func (t *transaction) release() {
	const keep = 16
	asked, codes, accepted, pieces := t.asked, t.codes, t.accepted, t.pieces
	*t = transaction{}
	if cap(pieces) <= keep {
		clear(pieces[:cap(pieces)]) // the messages' memory is not ours
		t.pieces = pieces[:0]
	}
	if cap(asked) <= keep && cap(codes) <= 2*keep && cap(accepted) <= keep {
		t.asked, t.codes, t.accepted = asked[:0], codes[:0], accepted[:0]
	}
}

// run performs the transaction. Afterwards each recipient in rcpts has a result, except for those
// in later.
func (t *transaction) run() {
	c := t.c
	c.mails++
	t.open()
	t.recipients()
	switch {
	case c.err != nil:
	case t.failed != nil:
		t.sync()
	case c.ext.chunking:
		t.chunk()
	default:
		t.data()
	}
	t.checkSurplus()
	t.completeResults()
}

// open sends the commands before the recipients.
func (t *transaction) open() {
	c := t.c
	if c.reset {
		t.resetState()
	}
	if c.err == nil && c.options.XForward && !c.noXFwd && c.ext.xforward != 0 {
		for i := 0; i < len(attributeNames) && c.err == nil; {
			before := len(c.out)
			if c.out, i = appendXForward(c.out, t.m.Envelope, c.options.Node, c.ext.xforward, i); len(c.out) > before {
				t.ask(cmdXFORWARD, 0)
			}
		}
	}
	if c.err != nil {
		return
	}
	c.out = appendMail(c.out, t.m.Envelope, t.m.Body.Size(), &c.ext, t.utf8)
	t.ask(cmdMAIL, 0)
}

// resetState clears what an earlier message left at the server, and waits for the reply. RFC 2920
// section 3.1 allows RSET in the same group as the message. But a server that refuses it may still
// hold the earlier recipients, add the new ones, and deliver the message to all of them.
func (t *transaction) resetState() {
	c := t.c
	r, f := c.say(cmdRSET, "RSET", nil)
	switch {
	case f != nil:
	case !r.positive():
		c.die(c.unfit(cmdRSET, &r))
	default:
		c.reset = false
		t.checkSurplus()
	}
}

func (t *transaction) recipients() {
	c := t.c
	for _, place := range t.rcpts {
		if t.failed != nil || t.misfit != nil || c.err != nil {
			return
		}
		c.out = appendRcpt(c.out, &t.m.Envelope.Recipients[t.results[place].Recipient], &c.ext, t.utf8)
		t.ask(cmdRCPT, place)
	}
}

// ask records a command that was appended to c.out. It waits for the reply if the protocol or the
// size of the group requires it.
func (t *transaction) ask(command string, place int) {
	t.asked = append(t.asked, question{command, place})
	if !t.c.ext.pipelining || len(t.asked) >= maxGroup {
		t.sync()
	}
}

// sync writes the commands and reads all replies that are due.
func (t *transaction) sync() {
	c := t.c
	if c.err != nil || len(t.asked) == 0 {
		return
	}
	t.written = c.write(c.out)
	c.out = c.out[:0]
	t.readReplies()
	t.checkSurplus() // all due replies were read, so there must be no more
	switch {
	case c.err != nil:
	case t.written != nil:
		c.die(c.lost(t.asked[0].command, t.written))
	case t.ended != nil:
		c.die(t.closing)
	}
	t.asked, t.codes = t.asked[:0], t.codes[:0]
}

// handleReply handles the reply to one command. It never ends the connection: the next replies
// belong to commands that are already written, and possibly to the message, and each has to be read
// (RFC 2920 section 3.1).
func (t *transaction) handleReply(q question, r *reply) {
	c := t.c
	switch q.command {
	case cmdXFORWARD:
		// Refused: the message is sent without it. A 501 is about the attributes of this message (a
		// core without IPv6 refuses such an address). Any other refusal is final, and XFORWARD is
		// not sent again on this connection.
		c.noXFwd = c.noXFwd || !r.positive() && r.code != 501
	case cmdMAIL:
		if t.begun = r.positive(); t.begun {
			c.reset = true
		} else {
			t.refuse(q.command, r)
		}
	case cmdRCPT:
		t.recipient(q, r)
	case cmdDATA:
		if t.ready = r.code == 354; !t.ready {
			t.refuse(q.command, r)
		}
	}
}

// recipient handles the reply to a RCPT. If MAIL was refused, a refusal here has no meaning. A
// server that accepts the recipient nevertheless may also accept the message for it.
func (t *transaction) recipient(q question, r *reply) {
	switch {
	case r.positive():
		t.accepted = append(t.accepted, q.place)
		t.c.tookRcpt = true
	case !t.begun:
	case r.negative():
		t.results[q.place].Failure = t.refusal(q.command, r)
		if tooMany(r) {
			t.later = append(t.later, q.place)
		}
	default:
		t.results[q.place].Failure = t.unfit(q.command, r)
	}
}

// tooMany reports whether a reply to RCPT asks for another transaction (RFC 5321 section
// 4.5.3.1.10).
func tooMany(r *reply) bool {
	e := r.enhanced
	return (r.code == 452 || r.code == 552) && (e == mail.Enhanced{} || e[1] == 5 && e[2] == 3)
}

// refuse handles a reply that ends the transaction for all recipients.
func (t *transaction) refuse(command string, r *reply) {
	switch {
	case !r.negative():
		t.failed = or(t.failed, t.unfit(command, r))
	case t.failed == nil:
		t.failed = t.refusal(command, r)
	}
}

// refusal returns the failure for a reply of 4xx or 5xx. The 421 of a closing server is also the
// connection's failure, which shows who can be sent over another connection at once.
func (t *transaction) refusal(command string, r *reply) *mail.Failure {
	if r.code == 421 && t.closing != nil {
		return t.closing
	}
	return t.c.refused(command, r)
}

// unfit returns the failure for a reply that doesn't fit its command. The connection is not used
// for another message.
func (t *transaction) unfit(command string, r *reply) *mail.Failure {
	f := t.c.unfit(command, r)
	if t.sent {
		f.Command = cmdDataEnd // the outcome of the message is unknown
	}
	t.misfit = or(t.misfit, f)
	return f
}

func or(f, otherwise *mail.Failure) *mail.Failure {
	if f == nil {
		return otherwise
	}
	return f
}

// nobody reports whether there is no recipient to send the message to.
func (t *transaction) nobody() bool {
	return t.c.err != nil || t.failed != nil || t.misfit != nil || len(t.accepted) == 0
}

// completeResults gives a result to every recipient that has none, and ends a connection that must
// not be reused.
func (t *transaction) completeResults() {
	c := t.c
	for _, f := range []*mail.Failure{t.closing, t.misfit} {
		if c.err == nil && f != nil {
			c.die(f)
		}
	}
	if t.missing != nil {
		for _, place := range t.accepted { // they may have it, whatever the reply to MAIL was
			if r := &t.results[place]; r.Failure == unattempted {
				r.Failure = t.missing
			}
		}
	}
	f := or(or(t.failed, t.missing), or(t.misfit, c.err))
	for _, place := range t.rcpts {
		if r := &t.results[place]; r.Failure == unattempted && f != nil {
			r.Failure = f
		}
	}
	if len(t.accepted) == 0 || c.err != nil {
		t.later = t.later[:0]
	}
}
