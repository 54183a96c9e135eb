package smtpc

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"anymx/edge/mail"
)

// chunk sends the message by BDAT (RFC 3030). It goes in one group with all commands if pipelining
// allows that and the body is not too long to be sent in vain.
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
	c.reset = true // RFC 3030 section 3: needed after any failure
	t.readReplies()
	t.readEnds()
}

// writeChunk writes c.out and the body, in one write if the body is in memory.
func (t *transaction) writeChunk() error {
	c, size := t.c, t.m.Body.Size()
	pieces, ok := t.m.Body.Pieces(append(t.pieces[:0], c.out))
	t.pieces = pieces[:0]
	defer clear(pieces)
	switch ok = ok && total(pieces) == int64(len(c.out))+size; {
	case ok && c.tcp != nil && size <= writeBlock:
		if err := c.armWrite(); err != nil {
			return err
		}
		bufs := net.Buffers(pieces)
		_, err := bufs.WriteTo(c.tcp)
		return err
	case ok && int64(len(c.out))+size <= copyBuffer:
		buf := copyBuffers.Get().(*[copyBuffer]byte)
		defer copyBuffers.Put(buf)
		all := buf[:0]
		for _, p := range pieces {
			all = append(all, p...)
		}
		return c.write(all)
	}
	if err := c.write(c.out); err != nil {
		return err
	}
	return c.writeBody(t.m.Body, t.pieces, false)
}

// total returns how many bytes the pieces hold.
func total(pieces [][]byte) (n int64) {
	for _, p := range pieces {
		n += int64(len(p))
	}
	return n
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
		t.sendEmpty()
		return
	}
	err := c.writeBody(t.m.Body, t.pieces, true)
	if errors.Is(err, ErrContent) {
		c.die(c.local(cmdDATA, mail.Enhanced{4, 3, 0}, err))
		return
	}
	t.written, t.sent, t.ending = err, err == nil, true
	t.readEnds()
}

// sendEmpty sends an empty message after a 354 without recipients, as RFC 2920 section 3.1
// requires. LMTP has no reply to that, and a server that refused MAIL but accepted a recipient
// might deliver it. In both cases the connection ends instead.
func (t *transaction) sendEmpty() {
	c := t.c
	if c.options.LMTP || len(t.accepted) > 0 {
		c.die(or(t.misfit, c.lost(cmdDATA, errReplyUnfit)))
		return
	}
	err := c.write(dotLine)
	t.written, t.sent, t.ending = err, err == nil, true
	t.readEnds()
}

// readEnds reads the replies to the message: one, or in LMTP one for each accepted recipient, in
// their order (RFC 2033 section 4.2). A recipient without a reply is neither delivered nor refused.
func (t *transaction) readEnds() {
	c := t.c
	if c.err != nil {
		return
	}
	command, n := cmdDataEnd, t.endReplies(len(t.accepted))
	if !t.sent {
		command = cmdDATA
	}
	for i := range n {
		r, ok := t.nextReply(command)
		if !ok {
			t.doubtOnly(command, i, n)
			return
		}
		t.handleEnd(command, i, n, &r)
	}
	if t.written != nil {
		c.die(c.lost(command, t.written))
	}
}

// doubtOnly discards a first reply of 500 to 504 that remained the only one of n. RFC 5321 section
// 4.2.2 defines these codes for commands that are not understood or out of sequence, and such a
// command gets one reply, however many RFC 2033 section 4.2 requires for the message. So it may not
// belong to the first recipient. Any other code is about the message, and belongs to the first
// recipient in both cases.
func (t *transaction) doubtOnly(command string, read, n int) {
	if read != 1 || n == 1 {
		return
	}
	if f := t.results[t.accepted[0]].Failure; f != nil && f.Reply.Code >= 500 && f.Reply.Code <= 504 {
		t.results[t.accepted[0]].Failure = t.c.lost(command, fmt.Errorf("%w: only one for %d recipients: %s", errReplyUnfit, n, f.Reply))
	}
}

// handleEnd handles reply i of n to the message.
func (t *transaction) handleEnd(command string, i, n int, r *reply) {
	c := t.c
	switch {
	case len(t.accepted) == 0:
		if !r.negative() {
			t.unfit(command, r) // it accepted a message without recipients: it is out of step
		}
	case !r.negative() && !(r.positive() && t.sent):
		t.undelivered(i, n, t.unfit(command, r))
	case r.positive():
		// The server has the message, whatever it replied to MAIL.
		c.reset = c.reset && i < n-1
		t.deliver(i, n, r.mail())
		t.misfit = or(t.misfit, t.failed)
	case t.failed == nil:
		t.undelivered(i, n, t.refusal(command, r))
	}
}

// span returns the part of accepted that reply i of n applies to.
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
