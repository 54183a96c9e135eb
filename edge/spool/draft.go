package spool

import (
	"errors"
	"fmt"
	"time"

	"anymx/edge/budget"
	"anymx/edge/mail"
)

// Draft is a message being received. Up to Options.InlineMax bytes are gathered in memory; a longer
// body is written to a file of its own, so a draft needs no more memory than that, however long the
// message is. While Options.Budget is short, shorter ones go to a file too.
//
// A Draft is used by one goroutine at a time. It ends by Commit, Replace or
// Discard.
type Draft struct {
	s        *Spool
	id       mail.ID
	size     int64
	buf      *buffer   // nil when the draft has ended
	held     int64     // bytes of buf that the budget counts
	flyer    *flyer    // nil: a self-test, which no limit applies to
	file     *bodyFile // nil: all is in buf; else buf holds what is not written yet
	inFlight int64     // bytes of it that the ledger counts
	err      error     // the first error of Write; sticky
	ended    bool
	selfTest bool   // see BeginSelfTest
	change   change // what Commit writes
}

// errEnded is returned by a draft that has ended.
var errEnded = errors.New("spool: draft has ended")

// BeginDraft starts a message of our own and draws its ID. It returns *Full if the spool accepts no
// message, and ErrClosed.
func (s *Spool) BeginDraft() (*Draft, error) { return s.BeginDraftOf(Client{}) }

// BeginDraftOf starts a message of a client, and is BeginDraft otherwise. The draft may be cut: then
// Write and Commit return ErrCut.
func (s *Spool) BeginDraftOf(c Client) (*Draft, error) {
	if err := s.Accepting(); err != nil {
		return nil, err
	}
	d := &Draft{s: s, id: s.nextID(), flyer: &flyer{client: c}}
	switch {
	case d.lend(firstBuffer, budget.Ample):
	case d.lend(0, budget.Whole):
	default:
		s.metrics.refused(ReasonMemory)
		return nil, fullMemory
	}
	s.ledger.drafts.Add(1)
	return d, nil
}

// lend gives the draft a buffer with room for size bytes, if the budget has it. An earlier buffer is
// free then, and its content is in the new one unless that is too small for it.
func (d *Draft) lend(size int, up budget.Share) bool {
	n := bufferSize(size)
	if !d.selfTest && !d.s.options.Budget.TakeBytes(n, up) {
		return false
	}
	was, held := d.buf, d.held
	d.buf = newBuffer(size)
	if d.held = n; d.selfTest {
		d.held = 0
	}
	if was != nil {
		if len(was.b) <= cap(d.buf.b) {
			d.buf.b = append(d.buf.b, was.b...)
		}
		was.free()
		d.s.options.Budget.GiveBytes(held)
	}
	return true
}

// fits makes room for n more bytes in memory. It returns false if a file must take them.
func (d *Draft) fits(n int) bool {
	size := len(d.buf.b) + n
	switch {
	case d.file != nil || d.size+int64(n) > d.s.options.InlineMax:
		return false
	case size <= cap(d.buf.b):
		return true
	}
	return d.lend(size, budget.Ample)
}

// ID returns the message's ID, for the trace field and the reply.
func (d *Draft) ID() mail.ID { return d.id }

// Size returns the number of bytes written so far.
func (d *Draft) Size() int64 { return d.size }

// Write appends p to the body. It returns *Full if the disk is full, and ErrCut. After an error it
// always returns that error. It doesn't retain p.
func (d *Draft) Write(p []byte) (int, error) {
	switch {
	case d.ended:
		return 0, errEnded
	case d.err != nil:
		return 0, d.err
	case d.fits(len(p)):
		d.buf.b = append(d.buf.b, p...)
	default:
		if d.err = d.spill(p); d.err != nil {
			return 0, d.err
		}
	}
	d.size += int64(len(p))
	return len(p), nil
}

// firstBuffer is the memory that a draft starts with while there is enough.
const firstBuffer = 16 << 10

// spillPiece is the minimum size of a write to a file.
const spillPiece = 64 << 10

// spill appends p to the body's file, which it creates if necessary. Small pieces are gathered
// first.
func (d *Draft) spill(p []byte) error {
	if d.file == nil {
		if err := d.count(d.size); err != nil {
			return err
		}
		f, err := d.s.bodies.create(d.id)
		if err != nil {
			return d.s.bodyFailed(err)
		}
		d.file = f
		if err := d.flush(); err != nil {
			return err
		}
		// From here on, the buffer only gathers small pieces.
		if !d.lend(spillPiece, budget.Ample) && cap(d.buf.b) > spillPiece {
			d.lend(0, budget.Whole)
		}
	}
	if err := d.room(); err != nil {
		return err
	}
	if err := d.count(int64(len(p))); err != nil {
		return err
	}
	if len(d.buf.b)+len(p) > cap(d.buf.b) {
		if err := d.flush(); err != nil {
			return err
		}
	}
	if len(p) < cap(d.buf.b) {
		d.buf.b = append(d.buf.b, p...)
		return nil
	}
	return d.s.bodyFailed(d.file.write(p))
}

// room returns *Full if the disk has no space left for the draft.
func (d *Draft) room() error {
	if f := d.s.ledger.exhausted(); f != nil && !d.selfTest {
		return f
	}
	return nil
}

// count adds n bytes of the file to the ledger. It returns ErrCut if there is no room for them.
func (d *Draft) count(n int64) error {
	if err := d.s.flight.grow(d.flyer, n); err != nil {
		return err
	}
	d.inFlight += n
	d.s.ledger.inFlight.Add(n)
	d.s.ledger.since.Add(n)
	return nil
}

// flush writes the buffer to the file.
func (d *Draft) flush() error {
	err := d.file.write(d.buf.b)
	d.buf.b = d.buf.b[:0]
	return d.s.bodyFailed(err)
}

// Commit stores the message with its envelope, whose ID and Size it sets, and returns when both are
// on stable storage: only then may the reply be 250. The envelope belongs to the spool from then on
// and must not change. What was written to the draft is the body; the envelope's Front goes in
// front of it at delivery, and its Cuts are left out. They must be as mail.Envelope.CheckParts
// wants them.
//
// On an error the draft has ended, and the message is not acknowledged. If the error is *Full or
// concerns the body, nothing is left of the message. If it wraps ErrEngine, the complete message
// may reappear after a restart, as if the reply had been lost.
func (d *Draft) Commit(env *mail.Envelope) (*Message, error) {
	return d.commit(env)
}

// commit is Commit together with the other changes in d.change.
func (d *Draft) commit(env *mail.Envelope) (*Message, error) {
	if d.ended {
		return nil, errEnded
	}
	start := time.Now()
	err := d.err
	if err == nil {
		err = env.CheckParts(d.size)
	}
	if err == nil {
		err = d.seal()
	}
	if err != nil {
		d.Discard()
		return nil, fmt.Errorf("message %s: %w", d.id, err)
	}
	s := d.s
	env.ID = d.id
	env.SetSize(d.size)
	h := header{inFile: d.file != nil, selfTest: d.selfTest, size: d.size, delivered: env.Size}
	if h.inFile {
		h.sum = d.file.sum
	}
	legs, err := d.route(env, &h)
	if err != nil {
		d.Discard()
		return nil, fmt.Errorf("message %s: %w", d.id, err)
	}
	record, c := newBuffer(0), &d.change
	record.b = appendEnvelope(record.b, env, h)
	c.id, c.envelope = d.id, record.b
	if !h.inFile {
		c.body, c.inline = d.buf.b, true
		s.ledger.since.Add(d.size)
	}
	if h.legs {
		s.legs.records.Add(int64(len(legs))) // before anybody can find them
	}
	if err := s.committer.commit(c); err != nil {
		// Unless the committer refused it, the outcome is unknown: the file has to stay for the
		// envelope that may exist, and the memory may still be read.
		if errors.Is(err, ErrClosed) {
			d.Discard()
		} else {
			d.end()
			d.buf = nil
		}
		return nil, fmt.Errorf("message %s: %w", d.id, err)
	}
	record.free()
	m := d.message(env, h, legs)
	if !h.selfTest {
		s.countAdded(h)
		s.metrics.committed(h.size, time.Since(start))
	}
	return m, nil
}

// message returns the message that the draft has become, with its body where memory allows. It ends the
// draft.
func (d *Draft) message(env *mail.Envelope, h header, legs []Leg) *Message {
	s := d.s
	if h.inFile {
		_ = s.bodyFailed(s.bodies.promote(d.id)) // the body is found under either name
	}
	m := &Message{Envelope: env, s: s, header: h, Legs: legs}
	if h.legs {
		s.legs.add(d.id, len(legs), true)
	}
	if !h.inFile && !h.selfTest && s.ledger.hold(int64(cap(d.buf.b)), s.options.Memory) {
		m.body = &held{buf: d.buf, ledger: &s.ledger}
		m.body.refs.Store(1)
	} else {
		d.buf.free()
	}
	d.buf = nil
	d.end()
	return m
}

// oneLeg is the leg of a message to the default core alone.
var oneLeg = []Leg{{}}

// route returns the legs of the message, and adds their records to the change.
func (d *Draft) route(env *mail.Envelope, h *header) ([]Leg, error) {
	if d.s.options.Route == nil || d.selfTest {
		return oneLeg, nil
	}
	into := d.s.options.Route(env)
	if len(into) == 0 {
		return oneLeg, nil
	}
	if err := checkLegs(into, len(env.Recipients)); err != nil {
		return nil, err
	}
	h.legs = true
	legs := make([]Leg, len(into))
	for i := range into {
		legs[i] = Leg{Leg: into[i], Number: i}
		d.change.legs = append(d.change.legs, legRecord{d.id, i, appendLeg(nil, &into[i], &State{})})
	}
	return legs, nil
}

// seal syncs the file of the body. A body without a file only needs space on the disk.
func (d *Draft) seal() error {
	if d.file == nil {
		return d.room()
	}
	if err := d.s.flight.seal(d.flyer); err != nil {
		return err
	}
	if err := d.flush(); err != nil {
		return err
	}
	return d.s.bodyFailed(d.file.seal())
}

// end subtracts the draft from the ledger and the budgets.
func (d *Draft) end() {
	d.ended = true
	if !d.selfTest {
		d.s.ledger.drafts.Add(-1)
	}
	d.s.ledger.inFlight.Add(-d.inFlight)
	d.s.flight.end(d.flyer)
	d.s.options.Budget.GiveBytes(d.held)
}

// Discard ends the draft and drops what was written. After Commit or an earlier Discard it does
// nothing.
func (d *Draft) Discard() {
	if d.ended {
		return
	}
	if d.file != nil {
		d.file.discard()
		// Before it no longer counts as in flight: the spool must not seem full in between.
		d.s.ledger.since.Add(-d.inFlight)
	}
	d.end()
	d.buf.free()
	d.buf = nil
}
