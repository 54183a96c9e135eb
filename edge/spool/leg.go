package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"anymx/edge/mail"
)

// Leg is a part of a stored message that goes to one destination, with what is known of its delivery.
//
// A message to the default core alone has one leg, which has no record of its own: its State is that of
// the message. Other messages have a record for each leg from their commit on; it goes when the leg has
// ended.
type Leg struct {
	mail.Leg
	Number int
	State  State
}

// MaxLegs is the maximum number of legs of a message.
const MaxLegs = 1 << 16

// Tags of the fields of a leg's record, beside those of a State.
const (
	tagDestination = 10
	tagIndexes     = 11 // of the leg's recipients: for each, the distance from the one before
)

// appendLeg appends the record of a leg to b. It has the states of the leg's own recipients alone.
func appendLeg(b []byte, leg *mail.Leg, st *State) []byte {
	own := *st
	if leg.Recipients != nil && st.Recipients != nil {
		own.Recipients = make([]RecipientState, len(leg.Recipients))
		for i, n := range leg.Recipients {
			if n < len(st.Recipients) {
				own.Recipients[i] = st.Recipients[n]
			}
		}
	}
	b = appendState(b, &own)
	b = appendText(b, tagDestination, leg.Destination)
	if leg.Recipients == nil {
		return b
	}
	size, last := 0, -1
	for _, n := range leg.Recipients {
		size += uvarintSize(uint64(n - last))
		last = n
	}
	b = appendGroup(b, tagIndexes, size)
	last = -1
	for _, n := range leg.Recipients {
		b = binary.AppendUvarint(b, uint64(n-last))
		last = n
	}
	return b
}

// decodeLeg reads what appendLeg wrote for a message with so many recipients.
func decodeLeg(b []byte, recipients int) (Leg, error) {
	st, err := decodeState(b)
	if err != nil {
		return Leg{}, err
	}
	leg := Leg{State: st}
	f := fields{rest: string(b[1:])}
	for f.next() {
		switch f.tag {
		case tagDestination:
			leg.Destination = f.value
		case tagIndexes:
			leg.Recipients = f.indexes(recipients)
		}
	}
	if f.err == nil && leg.Recipients != nil && st.Recipients != nil {
		if len(st.Recipients) != len(leg.Recipients) {
			f.err = fmt.Errorf("%d states of %d recipients: %w", len(st.Recipients), len(leg.Recipients), errRecord)
		} else {
			leg.State.Recipients = make([]RecipientState, recipients)
			for i, n := range leg.Recipients {
				leg.State.Recipients[n] = st.Recipients[i]
			}
		}
	}
	if f.err != nil {
		return Leg{}, fmt.Errorf("leg: %w", f.err)
	}
	return leg, nil
}

// indexes reads a list of recipients, of which there are most.
func (f *fields) indexes(most int) []int {
	list := make([]int, 0, min(most, len(f.value)))
	in := fields{rest: f.value}
	for last := -1; in.rest != "" && in.err == nil; {
		step := in.uvarint()
		if step == 0 || step > uint64(most-1-last) {
			f.fail("list of recipients")
			return nil
		}
		last += int(step)
		list = append(list, last)
	}
	if in.err != nil || len(list) == 0 {
		f.fail("list of recipients")
		return nil
	}
	return list
}

// checkLegs checks that legs has each recipient exactly once.
func checkLegs(legs []mail.Leg, recipients int) error {
	if len(legs) > MaxLegs {
		return fmt.Errorf("%d legs", len(legs))
	}
	seen := make([]bool, recipients)
	n := 0
	for i := range legs {
		last := -1
		for _, r := range legs[i].Recipients {
			if r <= last || r >= recipients || seen[r] {
				return fmt.Errorf("leg %d of %d recipients has %v", i, recipients, legs[i].Recipients)
			}
			last, seen[r] = r, true
			n++
		}
		if legs[i].Recipients == nil {
			n += recipients
		}
	}
	if n != recipients {
		return fmt.Errorf("legs with %d of %d recipients", n, recipients)
	}
	return nil
}

// legsLeft counts the legs that are left of messages with several, so that the last one that ends takes
// the message with it.
type legsLeft struct {
	records atomic.Int64 // of legs; while there are none nobody has to look for them

	mu     sync.Mutex
	left   map[mail.ID]int
	ending map[[legKeySize]byte]struct{} // their removal is decided, and not yet written
}

// add notes that a message has n legs more, or is new with n legs.
func (l *legsLeft) add(id mail.ID, n int, fresh bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !fresh {
		n += max(l.left[id], 1)
	}
	if n < 2 {
		return
	}
	if l.left == nil {
		l.left, l.ending = make(map[mail.ID]int), make(map[[legKeySize]byte]struct{})
	}
	l.left[id] = n
}

// end counts one leg less. last says that it was the last one; ok is false if the leg is ending already.
func (l *legsLeft) end(id mail.ID, leg int) (last, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.left[id]
	if n < 2 {
		delete(l.left, id)
		return true, true
	}
	k := legKey(id, leg)
	if _, twice := l.ending[k]; twice {
		return false, false
	}
	l.ending[k] = struct{}{}
	l.left[id] = n - 1
	return false, true
}

// undo counts a leg that has not ended after all.
func (l *legsLeft) undo(id mail.ID, leg int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.ending, legKey(id, leg))
	l.left[id]++
}

// written notes that removals are on stable storage.
func (l *legsLeft) written(gone []removal) {
	for i := range gone {
		g := &gone[i]
		l.records.Add(-int64(len(g.legs)))
		if len(g.legs) == 0 {
			continue
		}
		l.mu.Lock()
		for _, leg := range g.legs {
			delete(l.ending, legKey(g.id, leg))
		}
		if !g.legOnly {
			delete(l.left, g.id)
		}
		l.mu.Unlock()
	}
}

// isEnding reports whether the end of a leg is decided.
func (l *legsLeft) isEnding(id mail.ID, leg int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.ending[legKey(id, leg)]
	return ok
}

// LoadLeg reads a message and one of its legs, which is the only one in its Legs. It returns
// ErrNotFound, also for a leg that has ended, and ErrDamaged.
func (s *Spool) LoadLeg(id mail.ID, number int) (*Message, *Leg, error) {
	m, err := s.loadEnvelope(id)
	if err == nil {
		m.Legs = make([]Leg, 1)
		m.Legs[0], err = s.leg(id, number, len(m.Envelope.Recipients))
	}
	if err != nil {
		return nil, nil, fmt.Errorf("message %s: %w", id, err)
	}
	return m, &m.Legs[0], nil
}

// leg reads a leg of a message with so many recipients. The only leg of a message without records has the
// message's state.
func (s *Spool) leg(id mail.ID, number, recipients int) (Leg, error) {
	if err := s.reading(); err != nil {
		return Leg{}, err
	}
	defer s.readers.done()
	if s.legs.records.Load() > 0 {
		if s.legs.isEnding(id, number) {
			return Leg{}, ErrNotFound
		}
		var leg Leg
		k := legKey(id, number)
		found, err := s.engine.find(k[:], func(v []byte) (err error) {
			leg, err = decodeLeg(v, recipients)
			return err
		})
		leg.Number = number
		if err != nil || found {
			return leg, err
		}
		if numbers, err := s.legNumbers(id); err != nil || len(numbers) > 0 {
			return Leg{}, errors.Join(err, ErrNotFound)
		}
	}
	if number > 0 {
		return Leg{}, ErrNotFound
	}
	st, _, err := s.state(id)
	return Leg{State: st}, err
}

// legNumbers returns the numbers of a message's legs that have records.
func (s *Spool) legNumbers(id mail.ID) (numbers []int, err error) {
	if s.legs.records.Load() == 0 {
		return nil, nil
	}
	err = s.eachLeg(id, func(number int, _ []byte) error {
		numbers = append(numbers, number)
		return nil
	})
	return numbers, err
}

// eachLeg calls yield with the records of a message's legs, in order.
func (s *Spool) eachLeg(id mail.ID, yield func(number int, record []byte) error) (err error) {
	lower, upper := legKey(id, 0), legKey(id, MaxLegs-1)
	it, err := s.engine.iterate(lower[:], append(upper[:], 0))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err == nil {
			err = yield(legOf(it.Key()), v)
		}
		if err != nil {
			return err
		}
	}
	return it.Error()
}

// RemoveLeg ends one leg after delivery to all its recipients has ended, and removes the message with
// the last one. Its promise and its errors are those of Remove.
func (s *Spool) RemoveLeg(id mail.ID, leg int) error {
	legs, last, err := s.endLeg(id, leg)
	if err == nil && !last {
		if err = s.committer.remove(removal{id: id, legs: legs, legOnly: true}); err == nil {
			return nil
		}
		s.legs.undo(id, leg)
	}
	if err != nil {
		return fmt.Errorf("removal of %s: %w", id, err)
	}
	return s.remove(id, legs)
}

// endLeg counts one leg less. last says that the message ends with it; legs has it if it has a record.
func (s *Spool) endLeg(id mail.ID, leg int) (legs []int, last bool, err error) {
	if s.legs.records.Load() <= 0 {
		return nil, true, nil
	}
	if err := s.reading(); err != nil {
		return nil, false, err
	}
	defer s.readers.done()
	last, ok := s.legs.end(id, leg)
	switch {
	case !ok:
		return nil, false, ErrNotFound
	case !last:
		return []int{leg}, false, nil
	}
	// Its record is the last one, or it never had any.
	k := legKey(id, leg)
	found, err := s.engine.find(k[:], func([]byte) error { return nil })
	if found {
		legs = []int{leg}
	}
	return legs, true, err
}

// Split replaces a leg by others, each with its attempts, due time and recipients' states, and returns
// them when that is on stable storage. The first one keeps the leg's number. It returns ErrNotFound.
// Nothing else may change the leg meanwhile.
func (s *Spool) Split(id mail.ID, number int, into []mail.Leg) ([]Leg, error) {
	legs, c, err := s.planSplit(id, number, into)
	if err == nil {
		s.legs.records.Add(int64(c.fresh)) // before anybody can find them
		err = s.committer.commit(c)
	}
	if err != nil {
		return nil, fmt.Errorf("legs of %s: %w", id, err)
	}
	if c.gone != nil {
		s.states.Add(-1)
	}
	s.legs.add(id, len(into)-1, false)
	return legs, nil
}

// planSplit returns the legs that Split writes, and the change.
func (s *Spool) planSplit(id mail.ID, number int, into []mail.Leg) ([]Leg, *change, error) {
	m, leg, err := s.LoadLeg(id, number)
	if err != nil {
		return nil, nil, err
	}
	if err := checkSplit(leg.Recipients, into, len(m.Envelope.Recipients)); err != nil {
		return nil, nil, err
	}
	numbers, err := s.legNumbers(id)
	if err != nil {
		return nil, nil, err
	}
	next := number
	for _, n := range numbers {
		next = max(next, n)
	}
	if next+len(into) > MaxLegs {
		return nil, nil, errors.New("too many legs")
	}
	c := &change{fresh: len(into)}
	if slices.Contains(numbers, number) {
		c.fresh--
	}
	legs := make([]Leg, len(into))
	for i := range into {
		legs[i] = Leg{Leg: into[i], Number: number, State: leg.State}
		if i > 0 {
			next++
			legs[i].Number = next
		}
		c.legs = append(c.legs, legRecord{id, legs[i].Number, appendLeg(nil, &into[i], &leg.State)})
	}
	_, had, err := s.header(id)
	if err == nil && had && len(numbers) == 0 {
		c.gone = &removal{id: id, state: true, stateOnly: true}
	}
	return legs, c, err
}

// checkSplit checks that into has the recipients of a leg, each once.
func checkSplit(own []int, into []mail.Leg, recipients int) error {
	if own == nil {
		return checkLegs(into, recipients)
	}
	var all []int
	for i := range into {
		all = append(all, into[i].Recipients...)
	}
	slices.Sort(all)
	if !slices.Equal(all, own) {
		return fmt.Errorf("recipients %v instead of %v", all, own)
	}
	return nil
}

// legRecord is the record of a leg to write.
type legRecord struct {
	message mail.ID
	number  int
	record  []byte
}

// setLeg adds the record of a leg to b.
func setLeg(b *pebble.Batch, l legRecord) {
	k := legKey(l.message, l.number)
	_ = b.Set(k[:], l.record, nil) // never fails on a batch without an index
}

func eraseLeg(b *pebble.Batch, id mail.ID, leg int) {
	k := legKey(id, leg)
	_ = b.Delete(k[:], nil)
}
