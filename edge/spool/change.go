package spool

import (
	"fmt"
	"sync"

	"anymx/edge/mail"
)

// endings holds the messages whose removal is decided but not yet written. They no longer exist for
// any caller.
type endings struct {
	mu  sync.Mutex
	ids map[mail.ID]struct{}
}

// add adds id. It returns false if id was already there.
func (e *endings) add(id mail.ID) bool {
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

func (e *endings) remove(id mail.ID) {
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

// state reads the state of a message, and reports whether it has a state record.
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

// header reads the header of a message, and reports whether it has a state record. It returns
// ErrNotFound.
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
// Updates of one message must not overlap each other or its Remove, because their order would be
// undefined. After a crash, an update that was not acknowledged is there completely or not at all.
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

// Remove removes a message after delivery to all its recipients has ended. It no longer exists for
// any caller at once, and is removed from stable storage within 100 ms. A crash in between restores
// the message, which is then delivered again under the same ID. Remove returns ErrNotFound; of two
// calls for one message, one succeeds.
func (s *Spool) Remove(id mail.ID) error {
	r, h, err := s.startRemoval(id)
	if err == nil {
		if err = s.committer.remove(r); err != nil {
			s.endings.remove(id)
		}
	}
	if err != nil {
		return fmt.Errorf("removal of %s: %w", id, err)
	}
	s.countRemoved(h, r)
	return nil
}

// Replace commits the draft d, a notification about the message id, and atomically removes that
// message (st is nil) or stores its state. It returns when all is on stable storage. Its errors are
// ErrNotFound and those of Commit; the draft has ended in any case.
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

// replace is Replace with removal of the message.
func (s *Spool) replace(id mail.ID, d *Draft, env *mail.Envelope) (*Message, error) {
	r, h, err := s.startRemoval(id)
	if err != nil {
		d.Discard()
		return nil, fmt.Errorf("notification about %s: %w", id, err)
	}
	d.change.gone = &r
	m, err := d.commit(env)
	if err != nil {
		s.endings.remove(id)
		return nil, fmt.Errorf("notification about %s: %w", id, err)
	}
	s.countRemoved(h, r)
	return m, nil
}

// startRemoval marks a message as being removed. It returns ErrNotFound if it already is.
func (s *Spool) startRemoval(id mail.ID) (removal, header, error) {
	if !s.endings.add(id) {
		return removal{}, header{}, ErrNotFound
	}
	h, state, err := s.header(id)
	if err != nil {
		s.endings.remove(id)
		return removal{}, header{}, err
	}
	return removal{id: id, inFile: h.inFile, state: state}, h, nil
}

// countAdded adds a message to the counters.
func (s *Spool) countAdded(h header) {
	s.ledger.messages.Add(1)
	s.ledger.bytes.Add(h.size)
	if h.inFile {
		s.ledger.inFiles.Add(h.size)
	}
}

// countRemoved subtracts a message from the counters.
func (s *Spool) countRemoved(h header, r removal) {
	if h.selfTest {
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

// removed is called by the committer when removals are on stable storage.
func (s *Spool) removed(gone []removal) {
	for i := range gone {
		if gone[i].inFile {
			s.bodies.scheduleRemoval(gone[i].id)
		}
		s.endings.remove(gone[i].id)
	}
}
