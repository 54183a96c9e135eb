package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"anymx/edge/mail"
	"anymx/edge/spool"
)

// Status is what the queue does with a leg at the moment.
type Status string

// Status of a leg. The empty one, in a Filter, means any.
const (
	Active  Status = "active"  // being attempted, or about to be
	Waiting Status = "waiting" // for its next attempt
	Held    Status = "held"    // until it is released
)

// Item is a leg as the operator sees it.
type Item struct {
	Leg         int    // its number
	Destination string // "" is the default core
	Recipients  []int  // of the leg: indexes into the envelope's; nil: all
	Status      Status
	Why         string    // why a waiting leg waits; "": for its due time
	Due         time.Time // of a waiting leg; else zero
	Expires     time.Time
	Envelope    *mail.Envelope // not to be changed
	State       spool.State
	// Damage is why the message can't be read; its Envelope has no addresses then. nil: it can.
	Damage error
}

// Filter says which legs List returns.
type Filter struct {
	Status      Status           // "" is any
	Destination *string          // nil is any
	Match       func(*Item) bool // nil: all
	After       mail.ID          // only messages after this one; zero: from the first on
	Limit       int              // of legs, but a message is given whole; 0 means 100
}

// scanLimit bounds the messages that one call of List reads.
const scanLimit = 5000

// List returns legs by arrival of their message. next is what Filter.After has to be to get more, zero
// at the end; a page may be short, or empty, though more follow, because a call reads a bounded number
// of messages. Pages stay stable: a leg that is there all the time is returned once. It fails when ctx
// ends or the spool can't be read.
func (q *Queue) List(ctx context.Context, f Filter) (items []Item, next mail.ID, err error) {
	if f.Limit <= 0 {
		f.Limit = 100
	}
	after := legID{f.After, lastLeg}
	if f.After.IsZero() {
		after = legID{}
	}
	for read := 0; ; {
		found, last, more := q.views(after, &f)
		for _, s := range found {
			if err := ctx.Err(); err != nil {
				return nil, mail.ID{}, err
			}
			if (len(items) >= f.Limit || read >= scanLimit) && s.message != after.message {
				return items, after.message, nil
			}
			after = s.legID
			read++
			item, err := q.item(s)
			if errors.Is(err, spool.ErrNotFound) {
				continue
			} else if err != nil {
				return nil, mail.ID{}, err
			}
			if f.Match == nil || f.Match(&item) {
				items = append(items, item)
			}
		}
		if after = last; !more {
			return items, mail.ID{}, nil
		}
		if err := ctx.Err(); err != nil {
			return nil, mail.ID{}, err
		}
	}
}

// views looks at the next entries after a leg, and returns those that match as far as that needs no
// envelope, and the last one that it has looked at. It reports whether there may be more.
func (q *Queue) views(after legID, f *Filter) (found []view, last legID, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	entries := q.index.after(after, stride, nil)
	for _, e := range entries {
		last = e.legID
		if (f.Destination == nil || *f.Destination == e.lane.name) && (f.Status == "" || f.Status == q.status(e)) {
			found = append(found, q.view(e))
		}
	}
	return found, last, len(entries) == stride
}

// Show returns the legs of one message, or spool.ErrNotFound.
func (q *Queue) Show(id mail.ID) ([]Item, error) {
	q.mu.Lock()
	var found []view
	for _, e := range q.index.message(id, nil) {
		found = append(found, q.view(e))
	}
	q.mu.Unlock()
	var items []Item
	for _, s := range found {
		item, err := q.item(s)
		if errors.Is(err, spool.ErrNotFound) {
			continue
		} else if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	if len(items) == 0 {
		return nil, spool.ErrNotFound
	}
	return items, nil
}

// view is what is seen of an entry at one moment.
type view struct {
	legID
	destination  string
	status       Status
	why          string
	due, arrived int64
	expires      int64
	size         int64
}

// view looks at e. q.mu is held.
func (q *Queue) view(e *entry) view {
	return view{
		legID: e.legID, destination: e.lane.name, status: q.status(e), why: q.why(e), due: e.due, arrived: e.arrived,
		expires: e.expires(), size: e.size,
	}
}

// why returns why a leg waits that is due. q.mu is held.
func (q *Queue) why(e *entry) string {
	l := e.lane
	switch {
	case e.state == held || e.state == running || e.state == changed:
		return ""
	case l.paused != nil:
		return fmt.Sprintf("%s can't be reached: %v", shown(l.name), l.paused.cause)
	case e.state == blocked:
		return fmt.Sprintf("%s has its share of the attempts to %s", e.share.domain, shown(l.name))
	case e.state == waiting && e.due > q.clock.now():
		return ""
	case l.busy >= l.limit:
		return fmt.Sprintf("all %d attempts to %s are in use", l.limit, shown(l.name))
	}
	return ""
}

// item reads what belongs to s.
func (q *Queue) item(s view) (Item, error) {
	m, leg, err := q.options.Spool.LoadLeg(s.message, int(s.leg))
	item := Item{Leg: int(s.leg), Destination: s.destination, Status: s.status, Why: s.why}
	switch {
	case errors.Is(err, spool.ErrDamaged):
		item.Damage = err
		item.Envelope = &mail.Envelope{ID: s.message, Arrived: q.clock.wallAt(s.arrived), Size: s.size}
	case err != nil:
		return Item{}, err
	default:
		item.Envelope, item.Recipients, item.State = m.Envelope, leg.Recipients, leg.State
	}
	item.Expires = q.clock.wallAt(s.expires)
	if s.status == Waiting {
		item.Due = q.clock.wallAt(s.due)
	}
	return item, nil
}

// status returns the status of e for the operator. q.mu is held.
func (q *Queue) status(e *entry) Status {
	switch {
	case e.state == waiting, e.state == blocked, e.state == ready && e.lane.paused != nil:
		return Waiting
	case e.state == held:
		return Held
	}
	return Active
}

// Stats are figures of one moment.
type Stats struct {
	Active, Waiting, Held int       // legs
	Stored                int       // messages
	Lanes                 int       // destinations
	Bytes                 int64     // of all messages
	Oldest                time.Time // arrival of the oldest message; zero: there is none
	Paused                []Paused  // destinations that can't be reached, sorted by name; 100 at most
}

// Paused says why nothing is attempted for a destination.
type Paused struct {
	Destination string
	Since       time.Time
	Until       time.Time // when the destination is asked again
	Cause       error
	Legs        int
}

// pausedLimit bounds Stats.Paused.
const pausedLimit = 100

// Legs returns how many there are.
func (s *Stats) Legs() int { return s.Active + s.Waiting + s.Held }

// Unreachable reports whether all legs that are not held wait for destinations that can't be reached.
func (s *Stats) Unreachable() bool {
	n := 0
	for _, p := range s.Paused {
		n += p.Legs
	}
	return len(s.Paused) > 0 && n >= s.Legs()-s.Held
}

// Stats counts. Its cost grows with the number of lanes alone.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := Stats{
		Active: q.count[running] + q.count[changed] + q.count[ready], Waiting: q.count[waiting] + q.count[blocked], Held: q.count[held],
		Stored: q.messages, Lanes: len(q.lanes), Bytes: q.bytes,
	}
	for _, l := range q.lanes {
		if l.paused == nil {
			continue
		}
		s.Active -= l.prompt
		s.Waiting += l.prompt
		if len(s.Paused) < pausedLimit {
			p := l.paused
			s.Paused = append(s.Paused, Paused{Destination: l.name, Since: q.clock.wallAt(p.since), Until: q.clock.wallAt(p.until), Cause: p.cause, Legs: l.legs})
		}
	}
	slices.SortFunc(s.Paused, func(a, b Paused) int { return strings.Compare(a.Destination, b.Destination) })
	if e := q.index.first(); e != nil {
		s.Oldest = q.clock.wallAt(e.arrived)
	}
	return s
}
