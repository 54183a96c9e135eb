package spool

import (
	"errors"
	"fmt"
	"time"

	"anymx/edge/mail"
)

// Draft is a message being received. Up to Options.InlineMax bytes are gathered in memory; a longer
// body is written to a file of its own, so a draft needs no more memory than that, however long the
// message is.
//
// A Draft is used by one goroutine at a time. It ends by Commit, Replace or
// Discard.
type Draft struct {
	s        *Spool
	id       mail.ID
	size     int64
	buf      *buffer   // nil when the draft has ended
	file     *bodyFile // nil: all is in buf; else buf holds what is not written yet
	inFlight int64     // bytes of it that the ledger counts
	err      error     // the first error of Write; sticky
	ended    bool
	selfTest bool   // see BeginSelfTest
	change   change // what Commit writes
}

// errEnded is returned by a draft that has ended.
var errEnded = errors.New("spool: draft has ended")

// BeginDraft starts a message and draws its ID. It returns *Full if the spool accepts no message,
// and ErrClosed.
func (s *Spool) BeginDraft() (*Draft, error) {
	if err := s.Accepting(); err != nil {
		return nil, err
	}
	s.ledger.drafts.Add(1)
	return &Draft{s: s, id: s.nextID(), buf: newBuffer(firstBuffer)}, nil
}

// ID returns the message's ID, for the trace field and the reply.
func (d *Draft) ID() mail.ID { return d.id }

// Size returns the number of bytes written so far.
func (d *Draft) Size() int64 { return d.size }

// Write appends p to the body. It returns *Full if the disk is full. After an error it always
// returns that error. It doesn't retain p.
func (d *Draft) Write(p []byte) (int, error) {
	switch {
	case d.ended:
		return 0, errEnded
	case d.err != nil:
		return 0, d.err
	case d.file == nil && d.size+int64(len(p)) <= d.s.options.InlineMax:
		d.buf = d.buf.grown(len(p))
		d.buf.b = append(d.buf.b, p...)
	default:
		if d.err = d.spill(p); d.err != nil {
			return 0, d.err
		}
	}
	d.size += int64(len(p))
	return len(p), nil
}

// firstBuffer is the memory that a draft starts with.
const firstBuffer = 16 << 10

// spillPiece is the minimum size of a write to a file.
const spillPiece = 64 << 10

// spill appends p to the body's file, which it creates if necessary. Small pieces are gathered
// first.
func (d *Draft) spill(p []byte) error {
	if d.file == nil {
		f, err := d.s.bodies.create(d.id)
		if err != nil {
			return d.s.bodyFailed(err)
		}
		d.file = f
		d.count(d.size)
		if err := d.flush(); err != nil {
			return err
		}
		// From here on, the buffer only gathers small pieces.
		d.buf.free()
		d.buf = newBuffer(spillPiece)
	}
	if err := d.room(); err != nil {
		return err
	}
	d.count(int64(len(p)))
	if len(d.buf.b)+len(p) > cap(d.buf.b) {
		if err := d.flush(); err != nil {
			return err
		}
	}
	if len(p) < spillPiece {
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

// count adds n bytes of the file to the ledger.
func (d *Draft) count(n int64) {
	d.inFlight += n
	d.s.ledger.inFlight.Add(n)
	d.s.ledger.since.Add(n)
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
	record, c := newBuffer(0), &d.change
	record.b = appendEnvelope(record.b, env, h)
	c.id, c.envelope = d.id, record.b
	if !h.inFile {
		c.body, c.inline = d.buf.b, true
		s.ledger.since.Add(d.size)
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
	if h.inFile {
		_ = s.bodyFailed(s.bodies.promote(d.id)) // the body is found under either name
	}
	m := &Message{Envelope: env, s: s, header: h}
	if !h.inFile && !h.selfTest && s.ledger.hold(int64(cap(d.buf.b)), s.options.Memory) {
		m.body = &held{buf: d.buf, ledger: &s.ledger}
		m.body.refs.Store(1)
	} else {
		d.buf.free()
	}
	d.buf = nil
	d.end()
	if !h.selfTest {
		s.countAdded(h)
		s.metrics.committed(h.size, time.Since(start))
	}
	return m, nil
}

// seal syncs the file of the body. A body without a file only needs space on the disk.
func (d *Draft) seal() error {
	if d.file == nil {
		return d.room()
	}
	if err := d.flush(); err != nil {
		return err
	}
	return d.s.bodyFailed(d.file.seal())
}

// end subtracts the draft from the ledger.
func (d *Draft) end() {
	d.ended = true
	if !d.selfTest {
		d.s.ledger.drafts.Add(-1)
	}
	d.s.ledger.inFlight.Add(-d.inFlight)
}

// Discard ends the draft and drops what was written. After Commit or an earlier Discard it does
// nothing.
func (d *Draft) Discard() {
	if d.ended {
		return
	}
	d.end()
	d.buf.free()
	d.buf = nil
	if d.file != nil {
		d.file.discard()
	}
}
