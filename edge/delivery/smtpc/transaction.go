package smtpc

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"anymx/edge/mail"
)

// maxGroup is how many commands are written before their replies are read, so
// that neither side can fill the other's window and both stand still (RFC 2920
// section 3.1).
const maxGroup = 100

// lastWords is how long a server that broke off a write is listened to: it may
// have said why.
const lastWords = time.Second

// transaction is one walk from MAIL to the reply behind the message, for some
// of a message's recipients. Recipients are known by their place in results.
type transaction struct {
	c       *Conn
	m       *Message
	results []mail.Result
	rcpts   []int // places, in the order they are said

	group                  // commands and what they were answered
	accepted []int         // places that the server took
	later    []int         // places that it wants in another transaction
	utf8     bool          // MAIL says SMTPUTF8
	begun    bool          // MAIL was accepted
	ready    bool          // 354 was said
	sent     bool          // the message was written whole
	failed   *mail.Failure // why nobody gets the message, unless the server took it all the same
	misfit   *mail.Failure // a reply that can't be one to its command: the connection is not used again
	vec      [2][]byte     // for one writev
}

// question is a command that waits for its reply.
type question struct {
	command string
	place   int // of the recipient, with RCPT
}

// begin readies t for a run; it keeps its slices from the one before.
func (t *transaction) begin(c *Conn, m *Message, results []mail.Result, rcpts []int) {
	*t = transaction{
		c: c, m: m, results: results, rcpts: rcpts, utf8: c.saysUTF8(m, results, rcpts),
		group:    group{asked: t.asked[:0], codes: t.codes[:0]},
		accepted: t.accepted[:0], later: t.later[:0],
	}
}

// forget lets go of the message, and of slices too long to keep.
func (t *transaction) forget() {
	const keep = 16
	asked, codes, accepted := t.asked, t.codes, t.accepted
	*t = transaction{}
	if cap(asked) <= keep && cap(codes) <= 2*keep && cap(accepted) <= keep {
		t.asked, t.codes, t.accepted = asked[:0], codes[:0], accepted[:0]
	}
}

// run carries the transaction out: afterwards each recipient in rcpts has a
// result, but for those in later.
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
	t.settle()
}

// open says what stands before the recipients.
func (t *transaction) open() {
	c := t.c
	if c.reset {
		t.resetState()
	}
	if c.err == nil && c.o.XForward && !c.noXFwd && c.ext.xforward != 0 {
		for i := 0; i < len(attributeNames) && c.err == nil; {
			before := len(c.out)
			if c.out, i = appendXForward(c.out, t.m.Envelope, c.o.Node, c.ext.xforward, i); len(c.out) > before {
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

// resetState clears what an earlier message left at the server, and waits for
// the reply. RFC 2920 section 3.1 would let RSET go in one group with the message.
// But a server that refuses it may still hold the recipients of before, add those
// that follow, and give the message to all of them.
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

// ask notes that a command stands in c.out, and waits for its reply where the
// protocol or the size of the group asks for it.
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
	t.readAnswers()
	t.checkSurplus() // where every reply is waited for, none can be early
	switch {
	case c.err != nil:
	case t.written != nil:
		c.die(c.lost(t.asked[0].command, t.written))
	case t.ended != nil:
		c.die(t.closing)
	}
	t.asked, t.codes = t.asked[:0], t.codes[:0]
}

// answer takes one reply. It never ends the connection: the replies that follow
// belong to commands that are written already, the message among them, and each
// has to be read (RFC 2920 section 3.1).
func (t *transaction) answer(q question, r *reply) {
	c := t.c
	switch q.command {
	case cmdXFORWARD:
		// Refused: the message goes without. A 501 is about this message's
		// attributes (a core without IPv6 refuses such an address); anything
		// else will not change, and it is said no more here.
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

// recipient takes the reply to a RCPT. Without a MAIL that was accepted a
// refusal says nothing. A server that accepts one all the same may take the
// message for it too, and is believed then.
func (t *transaction) recipient(q question, r *reply) {
	switch {
	case r.positive():
		t.accepted = append(t.accepted, q.place)
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

// tooMany says whether a reply to RCPT asks for another transaction (RFC 5321
// section 4.5.3.1.10).
func tooMany(r *reply) bool {
	e := r.enhanced
	return (r.code == 452 || r.code == 552) && (e == mail.Enhanced{} || e[1] == 5 && e[2] == 3)
}

// refuse is a reply that ends the transaction for all.
func (t *transaction) refuse(command string, r *reply) {
	switch {
	case !r.negative():
		t.failed = or(t.failed, t.unfit(command, r))
	case t.failed == nil:
		t.failed = t.refusal(command, r)
	}
}

// refusal is the failure that a reply of 4xx or 5xx makes. That of a server that
// closes is the connection's too, which tells who can go over another at once.
func (t *transaction) refusal(command string, r *reply) *mail.Failure {
	if r.code == 421 && t.closing != nil {
		return t.closing
	}
	return t.c.refused(command, r)
}

// unfit is the failure of a reply that can't be one to command. The connection
// is not used for another message.
func (t *transaction) unfit(command string, r *reply) *mail.Failure {
	f := t.c.unfit(command, r)
	if t.sent {
		f.Command = cmdDataEnd // nobody knows what becomes of the message
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

// nobody says whether the message has nowhere to go.
func (t *transaction) nobody() bool {
	return t.c.err != nil || t.failed != nil || t.misfit != nil || len(t.accepted) == 0
}

// chunk sends the message by BDAT (RFC 3030), together with all commands
// before it where pipelining allows that and the body is not too long to be
// sent in vain.
func (t *transaction) chunk() {
	c, size := t.c, t.m.Body.Size()
	if !c.ext.pipelining || size > eagerMax {
		if t.sync(); t.nobody() {
			return
		}
	}
	c.out = append(c.out, "BDAT "...)
	c.out = strconv.AppendInt(c.out, size, 10)
	c.out = append(c.out, " LAST\r\n"...)
	err := t.writeChunk()
	c.out = c.out[:0]
	if errors.Is(err, ErrContent) {
		c.die(c.local(cmdDATA, mail.Enhanced{4, 3, 0}, err))
		return
	}
	t.written, t.sent, t.ending = err, err == nil, true
	c.reset = true // RFC 3030 section 3: needed unless all goes well
	t.readAnswers()
	t.readEnds()
}

// writeChunk writes c.out and the body: in one write where the body is in
// memory.
func (t *transaction) writeChunk() error {
	c := t.c
	b, ok := t.m.Body.Bytes()
	switch {
	case ok && c.tcp != nil && len(b) <= writeBlock && int64(len(b)) == t.m.Body.Size():
		if err := c.armWrite(); err != nil {
			return err
		}
		t.vec = [2][]byte{c.out, b}
		bufs := net.Buffers(t.vec[:])
		_, err := bufs.WriteTo(c.tcp)
		return err
	case ok && len(c.out)+len(b) <= copyBuffer && int64(len(b)) == t.m.Body.Size():
		buf := copyBuffers.Get().(*[copyBuffer]byte)
		defer copyBuffers.Put(buf)
		return c.write(append(append(buf[:0], c.out...), b...))
	}
	if err := c.write(c.out); err != nil {
		return err
	}
	return c.writeBody(t.m.Body, false)
}

// data sends the message by DATA.
func (t *transaction) data() {
	c := t.c
	if !c.ext.pipelining {
		if t.nobody() {
			return
		}
	}
	c.out = append(c.out, "DATA\r\n"...)
	t.ask(cmdDATA, 0)
	t.sync()
	if c.err != nil || !t.ready {
		return
	}
	if t.nobody() {
		t.nothing()
		return
	}
	err := c.writeBody(t.m.Body, true)
	if errors.Is(err, ErrContent) {
		c.die(c.local(cmdDATA, mail.Enhanced{4, 3, 0}, err))
		return
	}
	t.written, t.sent, t.ending = err, err == nil, true
	t.readEnds()
}

// nothing answers a 354 that nobody is there to use: an empty message, as RFC
// 2920 section 3.1 asks. LMTP has no reply to that, and a server that accepted a
// recipient of what it refused might deliver it, so there the connection ends.
func (t *transaction) nothing() {
	c := t.c
	if c.o.LMTP || len(t.accepted) > 0 {
		c.die(or(t.misfit, c.lost(cmdDATA, errReplyUnfit)))
		return
	}
	err := c.write(dotLine)
	t.written, t.sent, t.ending = err, err == nil, true
	t.readEnds()
}

// readEnds reads what the server says behind the message: one reply, in LMTP one
// for each recipient that it took, in their order (RFC 2033 section 4.2). Whose
// reply does not come is unknown, which is neither delivered nor refused.
func (t *transaction) readEnds() {
	c := t.c
	if c.err != nil {
		return
	}
	command, n := cmdDataEnd, t.ends(len(t.accepted))
	if !t.sent {
		command = cmdDATA
	}
	for i := range n {
		r, ok := t.nextReply(command)
		if !ok {
			t.doubtOnly(command, i, n)
			return
		}
		t.end(command, i, n, &r)
	}
	if t.written != nil {
		c.die(c.lost(command, t.written))
	}
}

// doubtOnly takes back a first reply of 500 to 504 that remained the only one of
// n. RFC 5321 section 4.2.2 has these codes for commands that can't be understood
// or come out of turn, and such a command is answered once, however many replies
// RFC 2033 section 4.2 has for the message. So it may be nobody's. Any other code
// speaks of the message, and is the first recipient's in both cases.
func (t *transaction) doubtOnly(command string, heard, n int) {
	if heard != 1 || n == 1 {
		return
	}
	if f := t.results[t.accepted[0]].Failure; f != nil && f.Reply.Code >= 500 && f.Reply.Code <= 504 {
		t.results[t.accepted[0]].Failure = t.c.lost(command, fmt.Errorf("%w: only one for %d recipients: %s", errReplyUnfit, n, f.Reply))
	}
}

// end takes reply i of n behind the message.
func (t *transaction) end(command string, i, n int, r *reply) {
	c := t.c
	switch {
	case len(t.accepted) == 0:
		if !r.negative() {
			t.unfit(command, r) // it took what was sent to nobody: it is not in step
		}
	case !r.negative() && !(r.positive() && t.sent):
		t.undelivered(i, n, t.unfit(command, r))
	case r.positive():
		// The server has the message, whatever it said of MAIL.
		c.reset = c.reset && i < n-1
		t.deliver(i, n, r.mail())
		t.misfit = or(t.misfit, t.failed)
	case t.failed == nil:
		t.undelivered(i, n, t.refusal(command, r))
	}
}

// span is the part of accepted that reply i of n speaks for.
func (t *transaction) span(i, n int) []int {
	if n == 1 {
		return t.accepted
	}
	return t.accepted[i : i+1]
}

func (t *transaction) deliver(i, n int, r mail.Reply) {
	for _, place := range t.span(i, n) {
		t.results[place].Failure = nil
		t.results[place].Reply = r
		t.results[place].Relayed = !t.c.ext.dsn
	}
}

func (t *transaction) undelivered(i, n int, f *mail.Failure) {
	for _, place := range t.span(i, n) {
		t.results[place].Failure = f
	}
}

// settle gives the reason to everybody who is still without a result, and ends
// a connection that another message must not go over.
func (t *transaction) settle() {
	c := t.c
	for _, f := range []*mail.Failure{t.closing, t.misfit} {
		if c.err == nil && f != nil {
			c.die(f)
		}
	}
	if t.unheard != nil {
		for _, place := range t.accepted { // they may have it, whatever was said of MAIL
			if r := &t.results[place]; r.Failure == untried {
				r.Failure = t.unheard
			}
		}
	}
	f := or(or(t.failed, t.unheard), or(t.misfit, c.err))
	for _, place := range t.rcpts {
		if r := &t.results[place]; r.Failure == untried && f != nil {
			r.Failure = f
		}
	}
	if len(t.accepted) == 0 || c.err != nil {
		t.later = t.later[:0]
	}
}
