package smtpc

import (
	"slices"
	"time"

	"anymx/edge/mail"
)

// group holds commands that were written together, and which of their replies were read. All
// replies are read, whatever the first ones say: the server may have accepted the message that was
// sent with the commands (RFC 2920 section 3.1).
type group struct {
	asked    []question // commands whose replies are not yet matched
	codes    []int      // of the matched replies: to asked, then to the message
	ending   bool       // the message was at least partly written: it has replies too
	written  error      // error of the last write
	answered bool       // the server sent a reply

	closing *mail.Failure // the first 421: the connection is not reused
	closed  int           // its index in codes
	ahead   []mail.Reply  // read after it and not yet matched
	ended   error         // why no reply follows those in ahead
	missing *mail.Failure // of recipients whose reply did not arrive
}

// readReplies reads a reply for each question. After a failed write it reads what the server still
// sends.
func (t *transaction) readReplies() {
	for _, q := range t.asked {
		r, ok := t.nextReply(q.command)
		if !ok {
			return
		}
		t.handleReply(q, &r)
	}
}

// nextReply returns the next reply in order, the one to command. It reports false if there can't be
// any more; the connection is dead then.
func (t *transaction) nextReply(command string) (reply, bool) {
	c := t.c
	var r reply
	var err error
	if len(t.ahead) == 0 && t.ended == nil {
		c.await(t.replyTimeout(len(t.codes)))
		if r, err = c.in.next(nil); err == nil && r.code == 421 && t.closing == nil {
			t.closing, t.closed = c.refused(command, &r), len(t.codes)
			if r = heldReply(t.closing.Reply); t.readAhead() {
				r, err = t.nextAhead()
			}
		}
	} else {
		r, err = t.nextAhead()
	}
	if err != nil {
		t.loseReply(command, err)
		return reply{}, false
	}
	t.answered = true
	t.codes = append(t.codes, r.code)
	return r, true
}

// readAhead reads the replies after a 421, which a server may send at any time before it closes
// (RFC 5321 section 3.8): as the reply to a command, or between two replies. Only the number of
// replies tells which it is. readAhead reports whether the 421 is not the reply to a command,
// because every command has another one.
func (t *transaction) readAhead() (unasked bool) {
	c, at := t.c, len(t.codes)
	for {
		if len(t.ahead) >= t.due(at) {
			return true
		}
		wait, all := t.replyTimeout(at+1+len(t.ahead)), len(t.ahead) >= t.due(at+1)
		if all {
			wait = min(wait, lastWords)
		}
		c.await(wait)
		r, err := c.in.next(nil)
		if err != nil {
			if f := c.lost("", err); !all || !IsTimeout(f) {
				t.ended = err
			}
			return false
		}
		t.ahead = append(t.ahead, r.mail())
	}
}

// due returns how many replies are due from index at on, if those in ahead are the first of them.
func (t *transaction) due(at int) int {
	accepted, n := len(t.accepted), 0
	if at < len(t.asked) {
		n = len(t.asked) - at
		for i, q := range t.asked[at:] {
			if q.command == cmdRCPT && i < len(t.ahead) && t.ahead[i].Code/100 == 2 {
				accepted++
			}
		}
	}
	if !t.ending {
		return n
	}
	return n + t.endReplies(accepted) - max(at-len(t.asked), 0)
}

// endReplies returns how many replies a message to so many recipients has.
func (t *transaction) endReplies(accepted int) int {
	if t.c.options.LMTP {
		return max(accepted, 1)
	}
	return 1
}

// nextAhead returns the next reply that was read ahead.
func (t *transaction) nextAhead() (reply, error) {
	if len(t.ahead) == 0 {
		return reply{}, t.ended
	}
	r := heldReply(t.ahead[0])
	t.ahead = t.ahead[1:]
	return r, nil
}

// heldReply converts a reply that was read ahead.
func heldReply(r mail.Reply) reply { return reply{r.Code, r.Enhanced, []byte(r.Text)} }

// replyTimeout returns how long to wait for the reply at index at in codes. A server may hold its
// replies back until the one to the message (RFC 2920 section 3.2), so if the message was sent with
// its commands, each of them has the timeout of the message. A server that closes, or that broke
// off a write, gets only lastWords, unless it may be processing the message.
func (t *transaction) replyTimeout(at int) time.Duration {
	timeouts := &t.c.options.Timeouts
	d := timeouts.Command
	switch {
	case at >= len(t.asked):
		d = timeouts.DataEnd
	case t.ending:
		d = max(d, timeouts.DataEnd)
	}
	if t.written != nil || t.closing != nil && !t.sent {
		return min(d, lastWords)
	}
	return d
}

// loseReply records that the stream ended before the reply to command, and before all later ones.
func (t *transaction) loseReply(command string, err error) {
	c := t.c
	f := c.lost(command, err)
	hangup := isHangup(f)
	switch {
	case t.closing != nil && (!t.sent || hangup && t.closed < len(t.asked) && len(t.codes) == t.closed+1):
		f = t.closing // it closed as announced, and read no further
	case t.sent && (t.answered || !hangup):
		// The whole message was sent. Only a server that hung up without any reply is assumed not
		// to have read it.
		f.Command = cmdDataEnd
	}
	t.missing = f
	if t.closing != nil && hangup {
		f = t.closing
	}
	c.die(f)
}

// checkSurplus handles data after the last due reply. A 421 announces that the server closes, and a
// malformed line doesn't affect earlier replies. Any other reply means that all replies may be
// shifted against their commands: a result is kept only if it would be the same with every shift.
func (t *transaction) checkSurplus() {
	c := t.c
	var codes []int // the matched ones and the surplus
	add := func(code int) {
		if codes == nil {
			codes = slices.Clone(t.codes)
		}
		codes = append(codes, code)
	}
	for _, r := range t.ahead {
		add(r.Code)
	}
	t.ahead = nil
	for n := 0; c.err == nil && c.in.buffered() > 0 && n < maxGroup; n++ {
		c.await(lastWords)
		if r, f := c.read("", nil); f == nil {
			add(r.code)
		}
	}
	if codes == nil {
		return
	}
	command := cmdDATA
	if t.sent {
		command = cmdDataEnd
	}
	f := c.lost(command, errUnasked)
	c.die(f)
	sure := func(place int) bool {
		shifts := codes[place:min(place+len(codes)-len(t.codes)+1, len(codes))]
		return !slices.ContainsFunc(shifts, func(code int) bool { return code/100 != shifts[0]/100 })
	}
	doubt := func(place int) {
		t.results[place] = mail.Result{Recipient: t.results[place].Recipient, Failure: f, Remote: c.remote}
	}
	for i, q := range t.asked[:min(len(t.asked), len(t.codes))] {
		switch {
		case q.command == cmdRCPT && !sure(i):
			doubt(q.place)
		case q.command == cmdMAIL && !sure(i):
			t.failed = f
		}
	}
	for i, place := range t.accepted {
		if t.endReplies(len(t.accepted)) == 1 {
			i = 0
		}
		if at := len(t.asked) + i; at < len(t.codes) && !sure(at) {
			doubt(place)
		}
	}
}
