package spool

import (
	"errors"
	"fmt"
	"slices"
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

// Load reads a message and the legs that are left of it. It returns ErrNotFound, and ErrDamaged.
func (s *Spool) Load(id mail.ID) (*Message, error) {
	m, err := s.loadEnvelope(id)
	if err == nil {
		m.Legs, err = s.loadLegs(id, len(m.Envelope.Recipients))
	}
	if err != nil {
		return nil, fmt.Errorf("message %s: %w", id, err)
	}
	return m, nil
}

// loadLegs reads all legs of a message with so many recipients.
func (s *Spool) loadLegs(id mail.ID, recipients int) ([]Leg, error) {
	numbers, err := s.legNumbers(id)
	if err != nil {
		return nil, err
	}
	if len(numbers) == 0 {
		numbers = []int{0}
	}
	var legs []Leg
	for _, number := range numbers {
		leg, err := s.leg(id, number, recipients)
		switch {
		case errors.Is(err, ErrNotFound):
		case err != nil:
			return nil, err
		default:
			legs = append(legs, leg)
		}
	}
	if len(legs) == 0 {
		return nil, ErrNotFound
	}
	return legs, nil
}

// loadEnvelope reads a message without its legs.
func (s *Spool) loadEnvelope(id mail.ID) (*Message, error) {
	if err := s.reading(); err != nil {
		return nil, err
	}
	defer s.readers.done()
	if s.endings.has(id) {
		return nil, ErrNotFound
	}
	m := &Message{s: s, old: true}
	k := key(keyEnvelope, id)
	err := s.engine.get(k[:], func(v []byte) (err error) {
		m.Envelope, m.header, err = decodeEnvelope(id, v)
		return err
	})
	return m, err
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

// Update stores the state of a leg, and returns when it is on stable storage: call it before acting on
// it. It returns ErrNotFound.
//
// Updates of one leg must not overlap each other or its removal, because their order would be undefined.
// After a crash, an update that was not acknowledged is there completely or not at all.
func (s *Spool) Update(id mail.ID, leg int, st State) error {
	c := &change{}
	fresh, err := s.setState(c, id, leg, &st)
	if err == nil {
		err = s.committer.commit(c)
	}
	if err != nil {
		return fmt.Errorf("state of %s: %w", id, err)
	}
	if fresh {
		s.states.Add(1)
	}
	return nil
}

// setState adds the state of a leg to c. It reports whether that makes a new state record.
func (s *Spool) setState(c *change, id mail.ID, number int, st *State) (fresh bool, err error) {
	h, had, err := s.header(id)
	if err == nil && s.endings.has(id) {
		err = ErrNotFound
	}
	if err != nil {
		return false, err
	}
	if number > 0 || s.legs.records.Load() > 0 {
		leg, err := s.leg(id, number, h.recipients)
		if err != nil {
			return false, err
		}
		if number > 0 || leg.Destination != "" || leg.Recipients != nil {
			c.legs = []legRecord{{id, number, appendLeg(nil, &leg.Leg, st)}}
			return false, nil
		}
	}
	c.stateOf, c.state = id, appendState(nil, st)
	return !had, nil
}

// Remove removes a message after delivery to all its recipients has ended. It no longer exists for
// any caller at once, and is removed from stable storage within 100 ms. A crash in between restores
// the message, which is then delivered again under the same ID. Remove returns ErrNotFound; of two
// calls for one message, one succeeds.
func (s *Spool) Remove(id mail.ID) error {
	legs, err := s.legNumbers(id)
	if err != nil {
		return fmt.Errorf("removal of %s: %w", id, err)
	}
	legs = slices.DeleteFunc(legs, func(leg int) bool { return s.legs.isEnding(id, leg) }) // its record goes anyway
	return s.remove(id, legs)
}

// remove removes a message with the legs that have records.
func (s *Spool) remove(id mail.ID, legs []int) error {
	r, h, err := s.startRemoval(id, legs)
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

// Replace commits the draft d, a notification about a leg of the message id, and atomically ends that
// leg (st is nil), with the message if it is the last one, or stores its state. It returns when all is
// on stable storage. Its errors are ErrNotFound and those of Commit; the draft has ended in any case.
func (s *Spool) Replace(id mail.ID, leg int, st *State, d *Draft, env *mail.Envelope) (*Message, error) {
	m, err := s.replace(id, leg, st, d, env)
	if err != nil {
		d.Discard()
		return nil, fmt.Errorf("notification about %s: %w", id, err)
	}
	return m, nil
}

func (s *Spool) replace(id mail.ID, leg int, st *State, d *Draft, env *mail.Envelope) (*Message, error) {
	if st == nil {
		return s.replaceLeg(id, leg, d, env)
	}
	fresh, err := s.setState(&d.change, id, leg, st)
	if err != nil {
		return nil, err
	}
	m, err := d.commit(env)
	if err == nil && fresh {
		s.states.Add(1)
	}
	return m, err
}

// replaceLeg is Replace with the end of the leg.
func (s *Spool) replaceLeg(id mail.ID, leg int, d *Draft, env *mail.Envelope) (*Message, error) {
	legs, last, err := s.endLeg(id, leg)
	if err != nil {
		return nil, err
	}
	if !last {
		d.change.gone = &removal{id: id, legs: legs, legOnly: true}
		m, err := d.commit(env)
		if err != nil {
			s.legs.undo(id, leg)
		}
		return m, err
	}
	r, h, err := s.startRemoval(id, legs)
	if err != nil {
		return nil, err
	}
	d.change.gone = &r
	m, err := d.commit(env)
	if err != nil {
		s.endings.remove(id)
		return nil, err
	}
	s.countRemoved(h, r)
	return m, nil
}

// startRemoval marks a message as being removed. It returns ErrNotFound if it already is.
func (s *Spool) startRemoval(id mail.ID, legs []int) (removal, header, error) {
	if !s.endings.add(id) {
		return removal{}, header{}, ErrNotFound
	}
	h, state, err := s.header(id)
	if err != nil {
		s.endings.remove(id)
		return removal{}, header{}, err
	}
	return removal{id: id, inFile: h.inFile, state: state, legs: legs}, h, nil
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
	s.legs.written(gone)
	for i := range gone {
		if gone[i].legOnly || gone[i].stateOnly {
			continue
		}
		if gone[i].inFile {
			s.bodies.scheduleRemoval(gone[i].id)
		}
		s.endings.remove(gone[i].id)
	}
}
