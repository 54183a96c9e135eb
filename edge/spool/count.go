package spool

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"anymx/edge/mail"
)

// content is what one pass over the store has found.
type content struct {
	newest    mail.ID
	selfTests []removal
	inFile    map[mail.ID]int64 // sizes of the bodies that should be files
	orphans   [][]byte          // keys of records of states and legs that have no message
}

// count counts messages, states and legs, in one pass over their records, which have the same order.
func (s *Spool) count() (c content, err error) {
	c.inFile = make(map[mail.ID]int64)
	states, err := s.recordsOf(keyState)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, states.it.Close()) }()
	legs, err := s.recordsOf(keyLeg)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, legs.it.Close()) }()
	err = s.eachHeader(func(id mail.ID, h header, _ []byte) error {
		c.newest = id
		if h.selfTest {
			c.selfTests = append(c.selfTests, removal{id: id, inFile: h.inFile})
			return nil // its records become orphans
		}
		s.countAdded(h)
		if h.inFile {
			c.inFile[id] = h.size
		}
		s.states.Add(int64(states.countOf(id)))
		if n := legs.countOf(id); n > 0 {
			s.legs.records.Add(int64(n))
			s.legs.add(id, n, true)
		}
		return nil
	})
	states.rest()
	legs.rest()
	c.orphans = append(states.orphans, legs.orphans...)
	return c, errors.Join(err, states.err, legs.err)
}

// records is an iteration over the records of a kind beside one over the envelopes.
type records struct {
	it      *pebble.Iterator
	ok      bool // it is at a record
	orphans [][]byte
	err     error
}

func (s *Spool) recordsOf(kind byte) (*records, error) {
	it, err := s.engine.scan(kind)
	if err != nil {
		return nil, err
	}
	return &records{it: it, ok: it.First()}, nil
}

// message returns the message of the record. It ends the iteration at a key that is none.
func (r *records) message() (id mail.ID, ok bool) {
	if !r.ok {
		return id, false
	}
	if id, ok = idOf(r.it.Key()); !ok {
		r.err = fmt.Errorf("key %q: %w", r.it.Key(), errRecord)
		r.ok = false
	}
	return id, ok
}

// countOf counts the records of a message. Those before it have no message.
func (r *records) countOf(id mail.ID) (n int) {
	for {
		of, ok := r.message()
		if !ok {
			return n
		}
		switch bytes.Compare(of[:], id[:]) {
		case 1:
			return n
		case 0:
			n++
			r.ok = r.it.Next()
		default:
			r.skip()
		}
	}
}

// rest is the end: what is left has no message.
func (r *records) rest() {
	for {
		if _, ok := r.message(); !ok {
			break
		}
		r.skip()
	}
	r.err = errors.Join(r.err, r.it.Error())
}

func (r *records) skip() {
	r.orphans = append(r.orphans, bytes.Clone(r.it.Key()))
	r.ok = r.it.Next()
}
