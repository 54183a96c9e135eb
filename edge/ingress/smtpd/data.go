package smtpd

import (
	"bytes"
	"errors"
	"sync"

	"anymx/edge/ingress/own"
	"anymx/edge/ingress/wire"
	"anymx/edge/judge/policy"
	"anymx/edge/judge/replies"
	"anymx/edge/mail"
	"anymx/edge/spool"
)

// Faults that stop the transfer of a message.
var (
	errTooBig  = errors.New("message too big")
	errRefused = errors.New("message refused by its header")
)

// intake is a message on its way from wire into a draft.
type intake struct {
	session *session
	draft   *spool.Draft
	body    *wire.Body
	size    int64 // bytes that came
	header  mail.Header
	bytes   mail.ContentScan
	judged  bool       // the header was
	refusal mail.Reply // of the header
}

// intakes keeps the memory of indexes that have been used.
var intakes = sync.Pool{New: func() any { return new(intake) }}

// Write is called by wire with whole runs of the message. After an error nothing is held of it: the
// client may take its time to send the rest.
func (in *intake) Write(p []byte) (int, error) {
	n, err := in.write(p)
	if err != nil {
		in.draft.Discard()
	}
	return n, err
}

func (in *intake) write(p []byte) (int, error) {
	if most := in.session.rules.MaxMessage; most > 0 && in.size+int64(len(p)) > most {
		return 0, errTooBig
	}
	in.size += int64(len(p))
	_, _ = in.header.Write(p) // never fails
	if err := in.session.holdHeader(in.header.Memory()); err != nil {
		return 0, err
	}
	_, _ = in.bytes.Write(p)
	if in.header.Ended || in.header.TooLarge {
		if in.judgeHeader(); in.refusal.Code != 0 {
			return 0, errRefused
		}
	}
	return in.draft.Write(p)
}

// judgeHeader decides on the header, once.
func (in *intake) judgeHeader() {
	if in.judged {
		return
	}
	in.judged = true
	s := in.session
	if in.refusal = s.rules.Header(&in.header); in.refusal.Code == 0 {
		s.record().facts.Header = &in.header
		in.refusal = s.check(policy.AtHeader)
	}
}

// free ends the use of in, and forgets its draft unless that was committed.
func (in *intake) free() {
	in.draft.Discard()
	in.header.Reset()
	*in = intake{header: in.header}
	intakes.Put(in)
}

// beginMessage opens a draft for the message of the transaction. It gets the client's bytes only: what goes
// in front of them is in the envelope.
func (s *session) beginMessage(data bool) (*intake, error) {
	draft, err := s.beginDraft()
	if err != nil {
		return nil, err
	}
	s.env.ID, s.env.Arrived = draft.ID(), s.server.options.Now()
	in := intakes.Get().(*intake)
	in.session, in.draft, in.body = s, draft, s.conn.NewBody(data)
	in.header.MaxSize, in.header.MaxFields = s.rules.MaxHeader, s.rules.MaxFields
	return in, nil
}

// data answers DATA: it takes a message.
func (s *session) data() {
	switch {
	case s.conn.Buffered():
		// RFC 2920 section 3.1: DATA ends a group. A message that was sent before it was asked for is how
		// smuggled mail arrives.
		s.end("pipelining", replies.MessageUnasked.Reply)
		return
	case len(s.cmd.Arg) > 0:
		s.answer(replies.NoArguments.With("DATA"))
		return
	case s.env == nil || len(s.env.Recipients) == 0 || s.in != nil:
		s.answer(replies.NeedsRcpt.Reply)
		return
	}
	in, err := s.beginMessage(true)
	if err != nil {
		s.refuseData(s.storeFailed(err))
		return
	}
	s.in = in
	s.conn.Reply(replies.SendData.Reply)
	s.finish(in.body.ReadData(in))
}

// bdat answers BDAT: it takes a chunk of a message (RFC 3030).
func (s *session) bdat() {
	size, last, ok := parseChunk(s.cmd.Arg)
	if !ok { // where the chunk ends is unknown
		s.end("BDAT arguments", replies.ChunkSyntax.Reply)
		return
	}
	switch {
	case s.settings.NoChunking:
		s.skip(size, replies.NotImplemented.Reply)
		return
	case s.env == nil || len(s.env.Recipients) == 0:
		s.skip(size, replies.NeedsRcpt.Reply)
		return
	}
	if s.in == nil {
		in, err := s.beginMessage(false)
		if err != nil {
			s.skip(size, mail.Reply{})
			s.refuseData(s.storeFailed(err))
			return
		}
		s.in = in
	}
	if err := s.in.body.ReadChunk(s.in, size, last); err != nil || last {
		s.finish(err)
		return
	}
	s.answer(replies.OK.Reply)
}

// skip reads a chunk away, and then gives r unless it is zero. A client whose chunk is too large or too
// slow hears r all the same, and no more.
func (s *session) skip(size int64, r mail.Reply) {
	_ = s.conn.NewBody(false).ReadChunk(nil, size, false)
	if r.Code != 0 {
		s.answer(r)
	}
}

// parseChunk parses "SIZE" or "SIZE LAST".
func parseChunk(arg []byte) (size int64, last, ok bool) {
	digits, rest, more := bytes.Cut(arg, []byte{' '})
	if len(digits) == 0 || len(digits) > 18 {
		return 0, false, false
	}
	for _, d := range digits {
		if d < '0' || d > '9' {
			return 0, false, false
		}
		size = size*10 + int64(d-'0')
	}
	if more {
		last = bytes.EqualFold(bytes.TrimLeft(rest, " "), []byte("LAST"))
	}
	return size, last, last == more
}

// finish ends the message of the transaction: it is stored, or refused because of err, which is how its
// transfer ended.
func (s *session) finish(err error) {
	refusal := s.transferFailed(err)
	if refusal.Code == 0 {
		refusal = s.store()
	}
	if refusal.Code != 0 {
		s.refuseData(refusal)
		return
	}
	s.messages++
	id := s.env.ID
	s.reset()
	s.answer(replies.Stored.With(id))
}

// refuseData ends the transaction with a refusal of its message.
func (s *session) refuseData(r mail.Reply) {
	sender := s.env.Sender
	s.reset()
	s.refuse("data", sender, mail.Path{}, r)
}

// store decides on the message, commits it and hands it on. The zero reply means that it is on stable
// storage and the queue knows of it.
func (s *session) store() mail.Reply {
	env, in := s.env, s.in
	env.Content = in.bytes.Content()
	if in.judgeHeader(); in.refusal.Code != 0 { // a message may be all header
		return in.refusal
	}
	if refusal := s.rules.Data(policy.Data{Needs: env.Needs(), Core: s.server.options.Core()}); refusal.Code != 0 {
		return refusal
	}
	s.record().facts.Size = in.size
	if refusal := s.check(policy.AtBody); refusal.Code != 0 {
		return refusal
	}
	if s.record().verdict.Action == policy.Discard {
		return mail.Reply{} // the draft goes with the transaction
	}
	s.completeEnvelope()
	message, err := in.draft.Commit(env)
	if err == nil {
		err = s.stored(message)
	}
	if err != nil {
		return s.storeFailed(err)
	}
	return mail.Reply{}
}

// storeFailed returns the reply to a fault of the spool: always temporary, for the message is as good as
// it was.
func (s *session) storeFailed(err error) mail.Reply {
	if s.test != nil {
		s.test.Deliver(own.Stored{Err: err})
	}
	var full *spool.Full
	switch {
	case errors.Is(err, spool.ErrCut):
		return replies.Cut.With(s.rules.Hostname)
	case errors.As(err, &full) && full.Reason == spool.ReasonMemory:
		return replies.MemoryShort.Reply
	case full != nil:
		return replies.StorageFull.Reply
	}
	s.server.options.Log.Error("message not stored", "client", s.conn.Client(), "err", err)
	return replies.NotStored.Reply
}

// transferFailed returns the reply to what went wrong between the client and the draft; the zero reply
// if nothing did.
func (s *session) transferFailed(err error) mail.Reply {
	switch {
	case err == nil:
		return mail.Reply{}
	case errors.Is(err, errRefused):
		return s.in.refusal
	case errors.Is(err, errTooBig):
		return replies.TooBig.With(s.rules.MaxMessage)
	case errors.Is(err, wire.ErrBareCR), errors.Is(err, wire.ErrBareLF), errors.Is(err, wire.ErrNUL), errors.Is(err, wire.ErrLongText):
		return s.framingFault(err)
	case errors.Is(err, spool.ErrCut), errors.Is(err, wire.ErrCut):
		return replies.Cut.With(s.rules.Hostname)
	case errors.Is(err, errMemory):
		return replies.MemoryShort.Reply
	case errors.Is(err, wire.ErrTooMuch):
		return replies.MuchTooBig.With(s.rules.MaxMessage)
	case errors.Is(err, wire.ErrSlow):
		return replies.Slow.With(s.rules.Hostname)
	case errors.Is(err, wire.ErrLate):
		return replies.Late.With(s.rules.Hostname)
	case errors.Is(err, wire.ErrGone):
		return replies.NotWhole.Reply
	}
	return s.storeFailed(err)
}

// framingFault returns the reply to a fault in the framing of a message, which ends the connection in
// DATA and not in BDAT.
func (s *session) framingFault(err error) mail.Reply {
	for _, f := range []struct {
		fault         error
		open, closing *replies.Row
	}{
		{wire.ErrBareCR, replies.BareCR, replies.BareCRClosing},
		{wire.ErrBareLF, replies.BareLF, replies.BareLFClosing},
		{wire.ErrNUL, replies.NUL, replies.NULClosing},
		{wire.ErrLongText, replies.LongText, replies.LongTextClose},
	} {
		switch {
		case !errors.Is(err, f.fault):
		case s.conn.Ended():
			return f.closing.Reply
		default:
			return f.open.Reply
		}
	}
	return s.storeFailed(err)
}
