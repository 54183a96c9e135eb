package smtpc

import (
	"errors"
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

	asked    []question    // commands whose replies were not read yet
	accepted []int         // places that the server took
	later    []int         // places that it wants in another transaction
	begun    bool          // MAIL was accepted
	ready    bool          // 354 was said
	sent     bool          // the message was written whole
	heard    bool          // the server answered something
	failed   *mail.Failure // why nobody gets the message
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
		c: c, m: m, results: results, rcpts: rcpts,
		asked: t.asked[:0], accepted: t.accepted[:0], later: t.later[:0],
	}
}

// forget lets go of the message, and of slices too long to keep.
func (t *transaction) forget() {
	const keep = 16
	asked, accepted := t.asked, t.accepted
	*t = transaction{}
	if cap(asked) <= keep && cap(accepted) <= keep {
		t.asked, t.accepted = asked[:0], accepted[:0]
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
	t.stray()
	t.settle()
}

// open says what stands before the recipients.
func (t *transaction) open() {
	c := t.c
	if c.reset {
		c.out = append(c.out, "RSET\r\n"...)
		t.ask(cmdRSET, 0)
		c.reset = false
	}
	if c.o.XForward && !c.noXFwd && c.ext.xforward != 0 {
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
	c.out = appendMail(c.out, t.m.Envelope, t.m.Body.Size(), &c.ext)
	t.ask(cmdMAIL, 0)
}

func (t *transaction) recipients() {
	c := t.c
	for _, place := range t.rcpts {
		if t.failed != nil || c.err != nil {
			return
		}
		c.out = appendRcpt(c.out, &t.m.Envelope.Recipients[t.results[place].Recipient], &c.ext)
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
	err := c.write(c.out)
	c.out = c.out[:0]
	t.answers(err)
	t.stray() // where every reply is waited for, none can be early
}

// answers reads a reply for each question. After a write that failed it takes
// what the server still said, then the connection is dead.
func (t *transaction) answers(written error) {
	c := t.c
	for _, q := range t.asked {
		if c.err != nil {
			break
		}
		c.await(t.patience(c.o.Timeouts.Command, written))
		r, f := c.read(q.command, nil)
		if f == nil {
			t.heard = true
			t.answer(q, &r)
			continue
		}
		if t.sent && f.Reply.Code == 0 && (t.heard || !isHangup(f)) {
			// The whole message is there. Only a server that hung up without
			// a word is taken not to have read it.
			f.Command = cmdDataEnd
		}
	}
	t.asked = t.asked[:0]
}

func (t *transaction) patience(d time.Duration, written error) time.Duration {
	if written != nil {
		return min(d, lastWords)
	}
	return d
}

// answer takes one reply.
func (t *transaction) answer(q question, r *reply) {
	c := t.c
	switch q.command {
	case cmdRSET:
		if !r.positive() {
			c.die(c.unfit(q.command, r))
		}
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
		switch {
		case r.code == 354:
			t.ready = true
		case r.positive():
			c.die(c.unfit(q.command, r))
		default:
			t.refuse(q.command, r)
		}
	}
}

// recipient takes the reply to a RCPT. Without a MAIL that was accepted it says
// nothing.
func (t *transaction) recipient(q question, r *reply) {
	c := t.c
	switch {
	case !t.begun:
	case r.positive():
		t.accepted = append(t.accepted, q.place)
	case r.negative():
		t.results[q.place].Failure = c.refused(q.command, r)
		if tooMany(r) {
			t.later = append(t.later, q.place)
		}
	default:
		c.die(c.unfit(q.command, r))
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
		t.c.die(t.c.unfit(command, r))
	case t.failed == nil:
		t.failed = t.c.refused(command, r)
	}
}

// nobody says whether the message has nowhere to go.
func (t *transaction) nobody() bool {
	return t.c.err != nil || t.failed != nil || len(t.accepted) == 0
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
	t.sent = err == nil
	c.reset = true // RFC 3030 section 3: needed unless all goes well
	t.answers(err)
	t.ends(err)
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
	if t.failed != nil || len(t.accepted) == 0 {
		t.nothing()
		return
	}
	err := c.writeBody(t.m.Body, true)
	if errors.Is(err, ErrContent) {
		c.die(c.local(cmdDATA, mail.Enhanced{4, 3, 0}, err))
		return
	}
	t.sent = err == nil
	t.ends(err)
}

// nothing answers a 354 that nobody is there to use: an empty message, as RFC
// 2920 section 3.1 asks. LMTP has no reply to that, so the connection ends.
func (t *transaction) nothing() {
	c := t.c
	if c.o.LMTP {
		c.die(c.lost(cmdDATA, errReplyUnfit))
		return
	}
	err := c.write(dotLine)
	t.sent = err == nil
	t.ends(err)
}

// ends reads what the server says behind the message: one reply, in LMTP one
// for each recipient that it took (RFC 2033 section 4.2).
func (t *transaction) ends(written error) {
	c := t.c
	if c.err != nil {
		return
	}
	command, n := cmdDataEnd, 1
	if !t.sent {
		command = cmdDATA
	} else if c.o.LMTP && t.begun {
		n = max(n, len(t.accepted))
	}
	for i := range n {
		c.await(t.patience(c.o.Timeouts.DataEnd, written))
		r, f := c.read(command, nil)
		if f != nil {
			return
		}
		t.end(command, i, n, &r)
		if c.err != nil {
			return
		}
	}
	if written != nil {
		c.die(c.lost(command, written))
	}
}

// end takes reply i of n behind the message.
func (t *transaction) end(command string, i, n int, r *reply) {
	c := t.c
	switch {
	case t.failed != nil || len(t.accepted) == 0 || !t.sent:
		if r.positive() {
			// It took what was sent to nobody, or in part: it is not in step.
			c.die(c.unfit(command, r))
		} else {
			t.refuse(command, r)
		}
	case n > 1 && i == 0 && r.code >= 500 && r.code <= 504:
		// The command itself was refused. That may be the only reply.
		t.refuse(command, r)
		c.die(c.lost(command, errReplyUnfit))
	case r.positive():
		c.reset = c.reset && i < n-1
		t.deliver(i, n, r.mail())
	case r.negative():
		t.undelivered(i, n, c.refused(command, r))
	default:
		c.die(c.unfit(command, r))
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

// stray looks at what came behind the last reply. A 421 tells that the server
// is about to close. Anything else means that the replies were shifted against
// the commands, so none of them can be believed.
func (t *transaction) stray() {
	c := t.c
	if c.err != nil || c.in.buffered() == 0 {
		return
	}
	c.await(lastWords)
	if _, f := c.read("", nil); f != nil && f.Reply.Code == 421 {
		return
	}
	f := c.die(c.lost(cmdDataEnd, errUnasked))
	for _, place := range t.accepted {
		t.results[place] = mail.Result{Recipient: t.results[place].Recipient, Failure: f, Remote: c.remote}
	}
}

// settle gives the reason to everybody who is still without a result.
func (t *transaction) settle() {
	f := t.failed
	if f == nil {
		f = t.c.err
	}
	for _, place := range t.rcpts {
		if r := &t.results[place]; r.Failure == untried && f != nil {
			r.Failure = f
		}
	}
	if len(t.accepted) == 0 || t.c.err != nil {
		t.later = t.later[:0]
	}
}
