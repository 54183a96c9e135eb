package queue

import (
	"fmt"
	"math"
	"runtime/debug"

	"anymx/edge/spool"
)

// recoverLegs enters what an earlier run has left.
func (q *Queue) recoverLegs() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	parts := make(chan []spool.Entry, 2)
	failed := make(chan error, 1)
	go func() { failed <- readLegs(q.options.Spool, parts) }()
	for part := range parts {
		for i := range part {
			q.recoverLeg(&part[i])
		}
	}
	if err := <-failed; err != nil {
		return fmt.Errorf("messages of an earlier run: %w", err)
	}
	if q.index.n > 0 {
		q.options.Log.Info("queue: took up messages of an earlier run", "messages", q.messages, "legs", q.index.n, "lanes", len(q.lanes))
	}
	if q.index.n > manyLegs {
		debug.FreeOSMemory() // of what was read on the way
	}
	return nil
}

// manyLegs is from how many legs on the memory that reading them took is worth to be given back.
const manyLegs = 100_000

// readLegs sends the legs in the spool, some at a time, while others are entered.
func readLegs(s *spool.Spool, parts chan<- []spool.Entry) error {
	defer close(parts)
	var part []spool.Entry
	err := s.Each(func(e spool.Entry) error {
		if part = append(part, e); len(part) == stride {
			parts <- part
			part = make([]spool.Entry, 0, stride)
		}
		return nil
	})
	parts <- part
	return err
}

// recoverLeg enters a leg that an earlier run has left. q.mu is held.
func (q *Queue) recoverLeg(s *spool.Entry) {
	l := q.lane(s.Destination)
	e := newEntry(legID{s.ID, uint16(s.Leg)}, s.Size, q.arrival(l, s.Arrived, &s.State))
	e.attempts = uint16(min(max(s.State.Attempts, 1), math.MaxUint16))
	if !s.State.Due.IsZero() {
		e.due = q.clock.dueAt(s.State.Due, l.schedule.longest())
	}
	if s.Leg > 0 {
		e.flags |= several
		if first := q.index.find(legID{message: s.ID}); first != nil {
			first.flags |= several
		}
	}
	l.join(e, s.Domain)
	q.enter(e)
	if s.State.Held {
		q.move(e, held)
	} else {
		q.wait(e)
	}
}
