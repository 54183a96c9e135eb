package spool

import (
	"errors"
	"fmt"
	"time"

	"anymx/edge/mail"
)

// Draft is a message on its way in. Up to Options.InlineMax octets are
// gathered in memory; a longer body goes on to a file of its own, so a draft
// takes no more memory than that however long the message gets.
//
// A Draft is used by one goroutine at a time. It ends by Commit, Replace or
// Discard.
type Draft struct {
	s        *Spool
	id       mail.ID
	size     int64
	buf      *buffer   // nil when the draft has ended
	file     *bodyFile // nil: all is in buf; else buf holds what is not written yet
	inFlight int64     // octets that the ledger has of it
	err      error     // the first that Write met; sticky
	ended    bool
	proof    bool   // see BeginProof
	change   change // what Commit writes
}

// errEnded is what an ended draft answers.
var errEnded = errors.New("spool: draft has ended")

// Begin starts a message and draws its ID. It returns *Full when the spool
// takes none, and ErrClosed.
func (s *Spool) Begin() (*Draft, error) {
	if err := s.Accepting(); err != nil {
		return nil, err
	}
	s.ledger.drafts.Add(1)
	return &Draft{s: s, id: s.nextID(), buf: newBuffer(firstBuffer)}, nil
}

// ID is the message's ID, for the trace header and the reply.
func (d *Draft) ID() mail.ID { return d.id }

// Size is the number of octets written so far.
func (d *Draft) Size() int64 { return d.size }

// Write adds to the body. It returns *Full when the disk runs out, and keeps
// returning the first error that it met. It keeps nothing of p.
func (d *Draft) Write(p []byte) (int, error) {
	switch {
	case d.ended:
		return 0, errEnded
	case d.err != nil:
		return 0, d.err
	case d.file == nil && d.size+int64(len(p)) <= d.s.o.InlineMax:
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

// spillPiece is the least that is worth a write to a file.
const spillPiece = 64 << 10

// spill adds p to the body's file, which it makes if there is none. Small
// pieces are gathered first.
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
		// From here on the buffer only joins small pieces.
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

// room is *Full if the disk has none left for the draft.
func (d *Draft) room() error {
	if f := d.s.ledger.exhausted(); f != nil && !d.proof {
		return f
	}
	return nil
}

// count puts n octets of the file on the books.
func (d *Draft) count(n int64) {
	d.inFlight += n
	d.s.ledger.inFlight.Add(n)
	d.s.ledger.since.Add(n)
}

// flush writes what was gathered to the file.
func (d *Draft) flush() error {
	err := d.file.write(d.buf.b)
	d.buf.b = d.buf.b[:0]
	return d.s.bodyFailed(err)
}

// Commit stores the message with its envelope, whose ID and Size it sets, and
// returns when both are on stable storage: only then may the sender be told
// 250. The envelope belongs to the spool from then on and must not change.
//
// On an error the draft has ended and nothing is promised. Where the error is
// *Full or concerns the body, nothing is left of the message. Where it wraps
// ErrEngine, the message may turn up again after a restart, whole, just as if
// the reply had been lost on its way.
func (d *Draft) Commit(env *mail.Envelope) (*Message, error) {
	return d.commit(env)
}

// commit is Commit with what else stands in d.change.
func (d *Draft) commit(env *mail.Envelope) (*Message, error) {
	if d.ended {
		return nil, errEnded
	}
	start := time.Now()
	err := d.err
	if err == nil {
		err = d.seal()
	}
	if err != nil {
		d.Discard()
		return nil, fmt.Errorf("message %s: %w", d.id, err)
	}
	s := d.s
	env.ID, env.Size = d.id, d.size
	h := header{inFile: d.file != nil, proof: d.proof, size: d.size}
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
		// Unless it was refused at the door, nobody knows what became of it:
		// the file has to stay for the envelope that may be there, and the
		// memory may still be read.
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
	if !h.inFile && !h.proof && s.ledger.hold(int64(cap(d.buf.b)), s.o.Memory) {
		m.body = &held{buf: d.buf, ledger: &s.ledger}
		m.body.refs.Store(1)
	} else {
		d.buf.free()
	}
	d.buf = nil
	d.end()
	if !h.proof {
		s.remember(h)
		s.metrics.committed(h.size, time.Since(start))
	}
	return m, nil
}

// seal brings a body that has a file to stable storage. A body without a file
// only needs room on the disk.
func (d *Draft) seal() error {
	if d.file == nil {
		return d.room()
	}
	if err := d.flush(); err != nil {
		return err
	}
	return d.s.bodyFailed(d.file.seal())
}

// end takes the draft off the books.
func (d *Draft) end() {
	d.ended = true
	if !d.proof {
		d.s.ledger.drafts.Add(-1)
	}
	d.s.ledger.inFlight.Add(-d.inFlight)
}

// Discard ends the draft and forgets what was written. After Commit, or a
// second time, it does nothing.
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
