package queue

import (
	"math"
	"time"

	"anymx/edge/spool"
)

// LaneOptions say how the legs of one destination are delivered.
type LaneOptions struct {
	Limit int // attempts at a time; 0 means Options.Concurrency
	// ShareByDomain leaves a recipient domain half of Limit at most while legs of others are, or
	// recently were, in the lane: a domain that is slow to answer doesn't hold all attempts.
	ShareByDomain bool
	Schedule      *Schedule // nil means Options.Schedule
}

// lane holds the legs of one destination: it has its own ready queue, heap of due times, limit and
// pause, so a destination that is slow or down keeps no other one waiting. A lane exists while it has
// legs. Queue.mu is held for all of it.
type lane struct {
	name     string // the destination
	schedule *Schedule
	limit    int
	half     int // attempts at a time for one domain; 0: not limited

	legs   int // in all states
	busy   int // attempts in flight
	prompt int // legs in the state ready; what else is in the ready queue is dropped
	ready  fifo[job]
	freed  fifo[*entry] // were blocked, and are next
	due    heap[*entry, byDue]
	paused *pause // nil: attempts are made
	turn   bool   // the heap's, where the ready queue has something too

	shares map[string]*share // by recipient domain; nil if half is 0
	mixed  int64             // when it last had legs of several domains

	queued bool  // in Queue.turns
	wake   int64 // while in Queue.wakes: when it may have something to do
	wakeAt int32 // position in Queue.wakes
}

// share is a recipient domain's part of a lane.
type share struct {
	domain  string
	legs    int // in all states
	busy    int
	freed   int // in lane.freed
	blocked fifo[*entry]
}

// mixedFor is how long a lane counts as mixed after it had legs of several domains.
const mixedFor = int64(time.Minute)

// byWake orders lanes by the time at which they may have something to do.
type byWake struct{}

func (byWake) before(a, b *lane) bool  { return a.wake < b.wake }
func (byWake) position(l *lane) *int32 { return &l.wakeAt }

// lane returns the lane of a destination, and makes it if there is none. q.mu is held.
func (q *Queue) lane(destination string) *lane {
	if l := q.lanes[destination]; l != nil {
		return l
	}
	l := &lane{name: destination}
	q.setOptions(l)
	q.lanes[destination] = l
	return l
}

// setOptions reads the options of l. q.mu is held.
func (q *Queue) setOptions(l *lane) {
	var o LaneOptions
	if q.options.Lane != nil {
		o = q.options.Lane(l.name)
	}
	if l.limit = o.Limit; l.limit <= 0 {
		l.limit = q.options.Concurrency
	}
	l.schedule = &q.options.Schedule
	if o.Schedule != nil {
		s := *o.Schedule
		if err := s.fill(); err != nil {
			q.options.Log.Error("queue: schedule of a destination, using the usual one", "destination", shown(l.name), "err", err)
		} else {
			l.schedule = &s
		}
	}
	if l.half = 0; o.ShareByDomain {
		l.half = max(l.limit/2, 1)
	}
}

// join enters e, whose leg's first recipient is at domain, in l.
func (l *lane) join(e *entry, domain string) {
	e.lane = l
	l.legs++
	if l.half == 0 {
		return
	}
	s := l.shares[domain]
	if s == nil {
		s = &share{domain: domain}
		if l.shares == nil {
			l.shares = make(map[string]*share)
		}
		l.shares[domain] = s
	}
	s.legs++
	e.share = s
}

// leave is the end of e. now is the queue's clock.
func (l *lane) leave(e *entry, now int64) {
	l.legs--
	s := e.share
	if s == nil {
		return
	}
	if s.legs--; s.legs == 0 {
		if len(l.shares) == 2 {
			l.mixed = now
		}
		delete(l.shares, s.domain)
	}
}

// full reports whether the domain of e has all the attempts that it may have at a time.
func (l *lane) full(e *entry, now int64) bool {
	s := e.share
	return s != nil && s.busy >= l.half && (len(l.shares) > 1 || l.mixed != 0 && now-l.mixed < mixedFor)
}

// unblock moves the next blocked leg of s, of which an attempt has ended, to where it is picked up
// next. Two at a time let a domain have more than its half when it is alone again.
func (l *lane) unblock(s *share) {
	for range 2 {
		for {
			e, ok := s.blocked.pop()
			if !ok {
				return
			}
			if e.state == blocked {
				s.freed++
				l.freed.push(e)
				break
			}
		}
	}
}

// never is later than all readings of the clock.
const never = math.MaxInt64

// next returns when a worker may find something to do for l: 0 is now, never is until something
// changes.
func (l *lane) next() int64 {
	if p := l.paused; p != nil {
		if p.asking {
			return never
		}
		return p.until
	}
	if l.busy >= l.limit {
		return never
	}
	if l.freed.n > 0 || l.ready.n > 0 {
		return 0
	}
	if top, ok := l.due.top(); ok {
		return top.due
	}
	return never
}

// arrange puts l where it is found when it has something to do: into the turns, or into the wakes.
// It is called after each change of l that may bring its next time forward. q.mu is held.
func (q *Queue) arrange(l *lane) {
	if l.queued {
		return
	}
	at := l.next()
	if at == 0 || at != never && at <= q.clock.now() {
		q.wakes.remove(l)
		l.queued = true
		q.turns.push(l)
		return
	}
	if at == never {
		q.wakes.remove(l)
		return
	}
	if q.wakes.has(l) {
		l.wake = at
		q.wakes.fix(l)
	} else {
		l.wake = at
		q.wakes.add(l)
	}
	q.arm()
}

// drop forgets l if it has nothing any more. q.mu is held.
func (q *Queue) drop(l *lane) {
	if l.legs > 0 || l.busy > 0 || l.paused != nil && l.paused.until > q.clock.now() {
		return
	}
	q.wakes.remove(l)
	for { // what is left in its ready queue has ended otherwise
		j, ok := l.ready.pop()
		if !ok {
			break
		}
		q.bodies--
		j.message.Release()
	}
	l.freed, l.paused = fifo[*entry]{}, nil
	if q.lanes[l.name] == l {
		delete(q.lanes, l.name)
	}
}

// firstDomain returns the domain of a leg's first recipient.
func firstDomain(m *spool.Message, recipients []int) string {
	n := 0
	if len(recipients) > 0 {
		n = recipients[0]
	}
	if n >= len(m.Envelope.Recipients) {
		return ""
	}
	return m.Envelope.Recipients[n].Path.Domain
}

// fifo is a queue, first in, first out. The zero value is empty.
type fifo[T any] struct {
	all     []T
	head, n int
}

func (f *fifo[T]) push(v T) {
	if f.n == len(f.all) {
		grown := make([]T, max(2*f.n, 4))
		for i := range f.n {
			grown[i] = f.all[(f.head+i)%len(f.all)]
		}
		f.all, f.head = grown, 0
	}
	f.all[(f.head+f.n)%len(f.all)] = v
	f.n++
}

func (f *fifo[T]) pop() (v T, ok bool) {
	if f.n == 0 {
		return v, false
	}
	v = f.all[f.head]
	var none T
	f.all[f.head] = none
	f.head = (f.head + 1) % len(f.all)
	if f.n--; f.n == 0 && len(f.all) > 1024 {
		*f = fifo[T]{}
	}
	return v, true
}
