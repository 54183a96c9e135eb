package smtpd

import (
	"errors"
	"unsafe"

	"anymx/edge/budget"
	"anymx/edge/judge/replies"
	"anymx/edge/mail"
)

// What a transaction holds in memory is counted before it is held: its envelope, and the index of its
// header. The spool counts the draft.

// errMemory stops the transfer of a message whose header can't be indexed.
var errMemory = errors.New("memory is short")

// held is what a session holds of the server's memory, in bytes.
type held struct {
	envelope int64
	header   int64
}

const (
	// openCost is what a transaction takes besides its addresses.
	openCost = int64(unsafe.Sizeof(mail.Envelope{})) + 256
	// recipientCost is what a recipient takes besides its text: its place in a list that grows by
	// doubling, and what the allocator adds to the pieces of its text.
	recipientCost = 2*int64(unsafe.Sizeof(mail.Recipient{})) + 64
	// smallEnvelope is the size up to which an envelope may use the last of the memory.
	smallEnvelope = 8 << 10
)

// textCost is what the text of the command in hand takes: the parsed address may be a part of the whole
// line, and a parameter is decoded into a piece of its own.
func (s *session) textCost(decoded string) int64 { return int64(len(s.cmd.Arg) + len(decoded)) }

// hold counts n more bytes for the envelope, or returns why there is no room. A small transaction may
// use memory that is refused to a large one, so that those who take much can't keep out the others.
func (s *session) hold(n int64) mail.Reply {
	size := s.held.envelope + n
	up := budget.Whole
	if size > smallEnvelope {
		up = budget.Large
	}
	most := s.settings.MaxEnvelope
	switch {
	case s.test != nil:
	case most > 0 && size > most:
		return replies.LargeEnvelope.Reply
	case s.server.options.Budget.TakeBytes(n, up):
		s.held.envelope = size
	case s.env == nil || len(s.env.Recipients) == 0:
		return replies.MemoryShort.Reply
	default:
		return replies.LargeEnvelope.Reply
	}
	return mail.Reply{}
}

// holdHeader counts the index of the header, which takes n bytes in all now.
func (s *session) holdHeader(n int64) error {
	more := n - s.held.header
	if more <= 0 || s.test != nil {
		return nil
	}
	up := budget.Whole
	if n > smallEnvelope {
		up = budget.Large
	}
	if !s.server.options.Budget.TakeBytes(more, up) {
		return errMemory
	}
	s.held.header = n
	return nil
}

// release gives back all that the transaction held.
func (s *session) release() {
	s.server.options.Budget.GiveBytes(s.held.envelope + s.held.header)
	s.held = held{}
}
