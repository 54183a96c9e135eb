package smtpc

import (
	"slices"
	"time"

	"anymx/edge/mail"
)

// group is commands that were written together, and how far their replies are
// read. All of them are read, whatever the first ones say: the server may have
// taken the message that went with them (RFC 2920 section 3.1).
type group struct {
	asked   []question // commands whose replies were not matched yet
	codes   []int      // of the replies that were: to asked, then to the message
	ending  bool       // the message was written, in part at least: it is answered too
	written error      // of the last write
	heard   bool       // the server answered something

	closing *mail.Failure // the first 421: the connection is not used again
	closed  int           // its place in codes
	ahead   []mail.Reply  // read after it, and not matched yet
	ended   error         // why nothing follows ahead
	unheard *mail.Failure // of those whose reply did not come
}

// readAnswers reads a reply for each question. After a write that failed it
// takes what the server still said.
func (t *transaction) readAnswers() {
	for _, q := range t.asked {
		r, ok := t.nextReply(q.command)
		if !ok {
			return
		}
		t.answer(q, &r)
	}
}

// nextReply returns the reply to command, the next one in order. It reports
// false where none can come any more; the connection is dead then.
func (t *transaction) nextReply(command string) (reply, bool) {
	c := t.c
	var r reply
	var err error
	if len(t.ahead) == 0 && t.ended == nil {
		c.await(t.patience(len(t.codes)))
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
	t.heard = true
	t.codes = append(t.codes, r.code)
	return r, true
}

// readAhead reads what comes after a 421, which a server may say at any time
// before it closes (RFC 5321 section 3.8): in answer to a command, or between two
// answers. Only their number tells which it was. It reports whether the 421
// answers nothing, because every command has a reply without it.
func (t *transaction) readAhead() (unasked bool) {
	c, at := t.c, len(t.codes)
	for {
		if len(t.ahead) >= t.due(at) {
			return true
		}
		wait, all := t.patience(at+1+len(t.ahead)), len(t.ahead) >= t.due(at+1)
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

// due is how many replies are due from the command at place at on, if those in
// ahead are the first of them.
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
	return n + t.ends(accepted) - max(at-len(t.asked), 0)
}

// ends is how many replies a message has, sent to so many recipients.
func (t *transaction) ends(accepted int) int {
	if t.c.o.LMTP {
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

// heldReply is a reply that was read before.
func heldReply(r mail.Reply) reply { return reply{r.Code, r.Enhanced, []byte(r.Text)} }

// patience is how long the reply at a place in codes may take. A server may hold
// its replies back and write them with that to the message (RFC 2920 section 3.2),
// so where the message went with its commands each has the message's time. A
// server that closes, or broke off a write, has only its last words left, unless
// it may be at work on the message.
func (t *transaction) patience(at int) time.Duration {
	timeouts := &t.c.o.Timeouts
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

// loseReply takes the end of the stream in place of the reply to command, and
// of all that are still due.
func (t *transaction) loseReply(command string, err error) {
	c := t.c
	f := c.lost(command, err)
	hangup := isHangup(f)
	switch {
	case t.closing != nil && (!t.sent || hangup && t.closed < len(t.asked) && len(t.codes) == t.closed+1):
		f = t.closing // it closed as it said, and did not read on
	case t.sent && (t.heard || !hangup):
		// The whole message is there. Only a server that hung up without a word
		// is taken not to have read it.
		f.Command = cmdDataEnd
	}
	t.unheard = f
	if t.closing != nil && hangup {
		f = t.closing
	}
	c.die(f)
}

// checkSurplus looks at what came behind the last reply that was due. A 421 tells
// that the server is about to close, and what is no reply says nothing of those
// before. Another reply means that any of them may be shifted against the
// commands: a result is believed where it would be the same with each shift.
func (t *transaction) checkSurplus() {
	c := t.c
	var codes []int // those matched, and the surplus
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
		if t.ends(len(t.accepted)) == 1 {
			i = 0
		}
		if at := len(t.asked) + i; at < len(t.codes) && !sure(at) {
			doubt(place)
		}
	}
}
