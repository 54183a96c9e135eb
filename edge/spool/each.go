package spool

import (
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"anymx/edge/mail"
)

// Entry is what the queue needs to know about a leg that it doesn't hold.
type Entry struct {
	ID          mail.ID
	Leg         int
	Destination string
	Domain      string    // of the leg's first recipient; entries share the text
	Size        int64     // bytes that are delivered: Envelope.Size
	Arrived     time.Time // by the clock of the node
	Origin      mail.Origin
	Recipients  int // of the message
	State       State
}

// each is one iteration over all legs: over the envelopes, with the records of legs and states beside
// them, which have the same order.
type each struct {
	s            *Spool
	legs, states *pebble.Iterator
	leg, state   bool              // they are at a record
	texts        map[string]string // destinations and domains, once each
	yield        func(Entry) error
}

// Each calls yield with the legs of all messages except self-tests, in order of arrival and without
// bodies. It needs little memory however many there are. It stops at the first error of yield and
// returns it. Messages that are committed or removed in the meantime may be included or not. Close
// waits until Each has returned.
func (s *Spool) Each(yield func(Entry) error) (err error) {
	if err := s.reading(); err != nil {
		return err
	}
	defer s.readers.done()
	e := each{s: s, texts: make(map[string]string), yield: yield}
	if e.legs, err = s.engine.scan(keyLeg); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.legs.Close()) }()
	if e.states, err = s.engine.scan(keyState); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.states.Close()) }()
	e.leg, e.state = e.legs.First(), e.states.First()
	err = s.eachHeader(e.message)
	s.engine.dropBlocks()
	return errors.Join(err, e.legs.Error(), e.states.Error())
}

// message yields the legs of one message.
func (e *each) message(id mail.ID, h header, record []byte) error {
	if h.selfTest || e.s.endings.has(id) {
		return nil
	}
	entry := Entry{ID: id, Size: h.delivered, Arrived: h.arrived, Origin: h.origin, Recipients: h.recipients}
	for e.leg && compareKey(e.legs.Key(), id) < 0 {
		e.leg = e.legs.Next()
	}
	found := false
	for ; e.leg && compareKey(e.legs.Key(), id) == 0; e.leg = e.legs.Next() {
		found = true
		if e.s.legs.isEnding(id, legOf(e.legs.Key())) {
			continue
		}
		if err := e.yieldLeg(entry, record); err != nil {
			return err
		}
	}
	if found {
		return nil
	}
	if h.legs {
		if numbers, err := e.s.legNumbers(id); err != nil || len(numbers) > 0 {
			return err // it was committed after the iteration began
		}
		// They went with the message, or were lost. What is lost must not be forgotten: the message is
		// delivered like one that has none.
		e.s.damagedBodies.Add(1)
		e.s.metrics.errors.corruption.Inc()
		e.s.options.Log.Error("spool: records of a message's destinations are lost, it goes to the default core", "id", id.String())
	}
	for e.state && compareKey(e.states.Key(), id) < 0 {
		e.state = e.states.Next()
	}
	if e.state && compareKey(e.states.Key(), id) == 0 {
		v, err := e.states.ValueAndErr()
		if err == nil {
			entry.State, err = decodeState(v)
		}
		if err != nil {
			return fmt.Errorf("state of %s: %w", id, err)
		}
	}
	entry.Domain = e.text(domainOf(record, 0))
	return e.yield(entry)
}

// yieldLeg yields the leg that the iteration is at.
func (e *each) yieldLeg(entry Entry, envelope []byte) error {
	v, err := e.legs.ValueAndErr()
	if err != nil {
		return fmt.Errorf("leg of %s: %w", entry.ID, err)
	}
	leg, err := decodeLeg(v, entry.Recipients)
	if err != nil {
		return fmt.Errorf("message %s: %w", entry.ID, err)
	}
	first := 0
	if leg.Recipients != nil {
		first = leg.Recipients[0]
	}
	entry.Leg, entry.State = legOf(e.legs.Key()), leg.State
	entry.Destination = e.text([]byte(leg.Destination))
	entry.Domain = e.text(domainOf(envelope, first))
	return e.yield(entry)
}

// text returns b as text that is shared.
func (e *each) text(b []byte) string {
	if t, ok := e.texts[string(b)]; ok {
		return t
	}
	t := string(b)
	e.texts[t] = t
	return t
}

// domainOf returns the domain of a recipient in the record of an envelope; nil if there is none.
func domainOf(record []byte, n int) []byte {
	rest := record[min(headerSize, len(record)):]
	for len(rest) > 0 {
		tag, value, after, ok := cutField(rest)
		if !ok {
			return nil
		}
		rest = after
		if tag != tagRecipient {
			continue
		}
		if n--; n >= 0 {
			continue
		}
		for len(value) > 0 {
			tag, text, after, ok := cutField(value)
			if !ok {
				return nil
			}
			if tag == tagDomain {
				return text
			}
			value = after
		}
		return nil
	}
	return nil
}
