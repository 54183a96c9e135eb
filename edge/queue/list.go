package queue

import (
	"context"
	"errors"
	"time"

	"anymx/edge/mail"
	"anymx/edge/spool"
)

// Status is what the queue does with a message at the moment.
type Status string

// Status of a message. The empty one, in a Filter, means any.
const (
	Active  Status = "active"  // being tried, or about to be
	Waiting Status = "waiting" // for its next try
	Held    Status = "held"    // until it is released
)

// Item is a message as the operator sees it.
type Item struct {
	Status   Status
	Due      time.Time // of a waiting message; else zero
	Expires  time.Time
	Envelope *mail.Envelope // not to be changed
	State    spool.State
	// Damage is why the message can't be read; its Envelope has no addresses
	// then. nil: it can.
	Damage error
}

// Filter says which messages List gives.
type Filter struct {
	Status Status           // "" is any
	Match  func(*Item) bool // nil: all
	After  mail.ID          // only messages behind this one; zero: from the first on
	Limit  int              // 0 means 100
}

// scanLimit bounds the messages that one call of List reads.
const scanLimit = 5000

// List gives messages by arrival. next is what Filter.After has to be to get
// more, zero if there are no more; a page may be short, or empty, though more
// follow, for a call reads so many messages only. Pages stay stable: a message
// that is there all the time is given once. It fails when ctx ends or the spool
// can't be read.
func (q *Queue) List(ctx context.Context, f Filter) (items []Item, next mail.ID, err error) {
	if f.Limit <= 0 {
		f.Limit = 100
	}
	var entries []*entry
	var found []sight
	for read := 0; read < scanLimit; read += len(found) {
		q.mu.Lock()
		entries = q.roll.after(f.After, stride, entries[:0])
		found = found[:0]
		for _, e := range entries {
			found = append(found, q.sight(e))
		}
		q.mu.Unlock()
		if len(found) == 0 {
			return items, mail.ID{}, nil
		}
		for _, s := range found {
			if err := ctx.Err(); err != nil {
				return nil, mail.ID{}, err
			}
			f.After = s.id
			if f.Status != "" && f.Status != s.status {
				continue
			}
			item, err := q.item(s)
			if errors.Is(err, spool.ErrNotFound) {
				continue
			} else if err != nil {
				return nil, mail.ID{}, err
			}
			if f.Match != nil && !f.Match(&item) {
				continue
			}
			if items = append(items, item); len(items) == f.Limit {
				return items, f.After, nil
			}
		}
	}
	return items, f.After, nil
}

// Show gives one message, or spool.ErrNotFound.
func (q *Queue) Show(id mail.ID) (Item, error) {
	q.mu.Lock()
	e := q.roll.find(id)
	if e == nil {
		q.mu.Unlock()
		return Item{}, spool.ErrNotFound
	}
	s := q.sight(e)
	q.mu.Unlock()
	return q.item(s)
}

// sight is what is seen of an entry at one moment.
type sight struct {
	id           mail.ID
	status       Status
	due, arrived int64
	size         int64
}

// sight looks at e. q.mu is held.
func (q *Queue) sight(e *entry) sight {
	return sight{id: e.id, status: q.status(e), due: e.due, arrived: e.arrived, size: e.size}
}

// item reads what belongs to s.
func (q *Queue) item(s sight) (Item, error) {
	m, st, err := q.o.Spool.Load(s.id)
	item := Item{Status: s.status, State: st}
	switch {
	case errors.Is(err, spool.ErrDamaged):
		item.Damage = err
		item.Envelope = &mail.Envelope{ID: s.id, Arrived: q.clock.wallAt(s.arrived), Size: s.size}
	case err != nil:
		return Item{}, err
	default:
		item.Envelope = m.Envelope
	}
	item.Expires = q.clock.wallAt(s.arrived + int64(q.o.Schedule.Expire))
	if s.status == Waiting {
		item.Due = q.clock.wallAt(s.due)
	}
	return item, nil
}

// status is what an operator is told of e's place. q.mu is held.
func (q *Queue) status(e *entry) Status {
	switch {
	case e.place == waiting, e.place == ready && q.paused != nil:
		return Waiting
	case e.place == held:
		return Held
	}
	return Active
}

// Stats are figures of one moment.
type Stats struct {
	Active, Waiting, Held int
	Bytes                 int64     // of all bodies
	Oldest                time.Time // arrival of the oldest message; zero: there is none
	Paused                *Paused   // nil: the courier delivers
}

// Paused says why nothing is tried.
type Paused struct {
	Since time.Time
	Until time.Time // when one message is sent ahead
	Cause error
}

// Messages is how many there are.
func (s *Stats) Messages() int { return s.Active + s.Waiting + s.Held }

// Stats counts. It is cheap.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := Stats{
		Active: q.count[trying] + q.count[changed], Waiting: q.count[waiting], Held: q.count[held],
		Bytes: q.bytes,
	}
	if q.paused == nil {
		s.Active += q.count[ready]
	} else {
		s.Waiting += q.count[ready]
	}
	if e := q.roll.first(); e != nil {
		s.Oldest = q.clock.wallAt(e.arrived)
	}
	if p := q.paused; p != nil {
		s.Paused = &Paused{Since: q.clock.wallAt(p.since), Until: q.clock.wallAt(p.until), Cause: p.cause}
	}
	return s
}
