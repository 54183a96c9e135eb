package spool

import (
	"fmt"
	"sync"

	"anymx/edge/mail"
)

// endings are the messages whose removal is decided and not yet written. They
// are gone for everybody from the moment of the decision.
type endings struct {
	mu  sync.Mutex
	ids map[mail.ID]struct{}
}

// begin puts id among the endings; it is false if it is there already.
func (e *endings) begin(id mail.ID) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.ids[id]; ok {
		return false
	}
	if e.ids == nil {
		e.ids = make(map[mail.ID]struct{})
	}
	e.ids[id] = struct{}{}
	return true
}

func (e *endings) has(id mail.ID) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, ok := e.ids[id]
	return ok
}

func (e *endings) end(id mail.ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.ids, id)
}

// Load reads a message and its state. It returns ErrNotFound, and ErrDamaged.
func (s *Spool) Load(id mail.ID) (*Message, State, error) {
	m, st, err := s.load(id)
	if err != nil {
		return nil, State{}, fmt.Errorf("message %s: %w", id, err)
	}
	return m, st, nil
}

func (s *Spool) load(id mail.ID) (*Message, State, error) {
	if err := s.reading(); err != nil {
		return nil, State{}, err
	}
	defer s.readers.done()
	if s.endings.has(id) {
		return nil, State{}, ErrNotFound
	}
	m := &Message{s: s, old: true}
	k := key(keyEnvelope, id)
	err := s.engine.get(k[:], func(v []byte) (err error) {
		m.Envelope, m.header, err = decodeEnvelope(id, v)
		return err
	})
	if err != nil {
		return nil, State{}, err
	}
	st, _, err := s.state(id)
	return m, st, err
}

// state reads the state of a message, and whether it has a record of it.
func (s *Spool) state(id mail.ID) (st State, found bool, err error) {
	if s.states.Load() == 0 {
		return State{}, false, nil
	}
	return s.stateRecord(id)
}

func (s *Spool) stateRecord(id mail.ID) (st State, found bool, err error) {
	k := key(keyState, id)
	found, err = s.engine.find(k[:], func(v []byte) (err error) {
		st, err = decodeState(v)
		return err
	})
	return st, found, err
}

// header reads the header of a message, and whether it has a state record.
// It returns ErrNotFound.
func (s *Spool) header(id mail.ID) (h header, state bool, err error) {
	if err := s.reading(); err != nil {
		return header{}, false, err
	}
	defer s.readers.done()
	k := key(keyEnvelope, id)
	err = s.engine.get(k[:], func(v []byte) (err error) {
		h, err = decodeHeader(v)
		return err
	})
	if err == nil {
		_, state, err = s.state(id)
	}
	return h, state, err
}

// Update stores the state of a message, and returns when it is on stable
// storage: call it before acting on it. It returns ErrNotFound.
//
// Updates of one message must not overlap each other or its Remove; nothing is
// said of their order. An update that was not acknowledged before a crash is
// there whole or not at all.
func (s *Spool) Update(id mail.ID, st State) error {
	c := &change{stateOf: id, state: appendState(nil, &st)}
	_, had, err := s.header(id)
	if err == nil && s.endings.has(id) {
		err = ErrNotFound
	}
	if err == nil {
		err = s.committer.commit(c)
	}
	if err != nil {
		return fmt.Errorf("state of %s: %w", id, err)
	}
	if !had {
		s.states.Add(1)
	}
	return nil
}

// Remove ends a message: all its recipients have ended. It is gone for
// everybody at once, and gone from stable storage within 100 ms. A crash in
// between brings the message back, to be handed over once more under the same
// ID. It returns ErrNotFound; of two calls for one message one succeeds.
func (s *Spool) Remove(id mail.ID) error {
	r, h, err := s.ending(id)
	if err == nil {
		if err = s.committer.remove(r); err != nil {
			s.endings.end(id)
		}
	}
	if err != nil {
		return fmt.Errorf("removal of %s: %w", id, err)
	}
	s.forget(h, r)
	return nil
}

// Replace commits the draft d, a notification about the message id, and in the
// same piece removes that message (st is nil) or stores its state: the
// notification is stored before the original goes, and not without it. It
// returns when all is on stable storage. It returns ErrNotFound, and else what
// Commit returns; the draft has ended in any case.
func (s *Spool) Replace(id mail.ID, st *State, d *Draft, env *mail.Envelope) (*Message, error) {
	if st == nil {
		return s.replace(id, d, env)
	}
	_, had, err := s.header(id)
	if err == nil && s.endings.has(id) {
		err = ErrNotFound
	}
	if err != nil {
		d.Discard()
		return nil, fmt.Errorf("notification about %s: %w", id, err)
	}
	d.change.stateOf, d.change.state = id, appendState(nil, st)
	m, err := d.commit(env)
	if err != nil {
		return nil, fmt.Errorf("notification about %s: %w", id, err)
	}
	if !had {
		s.states.Add(1)
	}
	return m, nil
}

// replace is Replace that removes the message.
func (s *Spool) replace(id mail.ID, d *Draft, env *mail.Envelope) (*Message, error) {
	r, h, err := s.ending(id)
	if err != nil {
		d.Discard()
		return nil, fmt.Errorf("notification about %s: %w", id, err)
	}
	d.change.gone = &r
	m, err := d.commit(env)
	if err != nil {
		s.endings.end(id)
		return nil, fmt.Errorf("notification about %s: %w", id, err)
	}
	s.forget(h, r)
	return m, nil
}

// ending decides that a message ends, unless somebody else has.
func (s *Spool) ending(id mail.ID) (removal, header, error) {
	if !s.endings.begin(id) {
		return removal{}, header{}, ErrNotFound
	}
	h, state, err := s.header(id)
	if err != nil {
		s.endings.end(id)
		return removal{}, header{}, err
	}
	return removal{id: id, inFile: h.inFile, state: state}, h, nil
}

// remember puts a message on the books.
func (s *Spool) remember(h header) {
	s.ledger.messages.Add(1)
	s.ledger.bytes.Add(h.size)
	if h.inFile {
		s.ledger.inFiles.Add(h.size)
	}
}

// forget takes a message off the books.
func (s *Spool) forget(h header, r removal) {
	if h.proof {
		return
	}
	s.ledger.messages.Add(-1)
	s.ledger.bytes.Add(-h.size)
	if h.inFile {
		s.ledger.inFiles.Add(-h.size)
	}
	if r.state {
		s.states.Add(-1)
	}
	s.metrics.removed()
}

// removed hears from the committer that removals are on stable storage.
func (s *Spool) removed(gone []removal) {
	for i := range gone {
		if gone[i].inFile {
			s.bodies.doom(gone[i].id)
		}
		s.endings.end(gone[i].id)
	}
}
