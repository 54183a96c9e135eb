package queue

import (
	"bytes"
	"math"

	"anymx/edge/mail"
)

// legID names a leg: a message, and the number of its leg.
type legID struct {
	message mail.ID
	leg     uint16
}

// compare orders legs by message, which is the order of arrival, then by number.
func (a legID) compare(b legID) int {
	if c := bytes.Compare(a.message[:], b.message[:]); c != 0 {
		return c
	}
	return int(a.leg) - int(b.leg)
}

// lastLeg orders after all legs of a message.
const lastLeg = math.MaxUint16

// entry is what the queue has in memory of a leg, and everything that it has of one that waits. It
// takes 64 bytes, and with its positions in the indexes less than 100.
type entry struct {
	legID
	attempts uint16 // started; 0: not even the first. Only the worker that runs the entry uses it
	state    state
	flags    flags
	due      int64 // by the queue's clock
	arrived  int64 // by the queue's clock
	size     int64 // of the message, in bytes
	lane     *lane
	share    *share // nil: its lane has none

	dueAt, expiryAt int32 // positions in the lane's heap and in the queue's; 0: it isn't there
}

// flags of an entry.
type flags uint8

const (
	owed    flags = 1 << iota // a Drain waits for its next attempt
	several                   // the message was committed with other legs
)

// expires is when the leg is given up, by the queue's clock.
func (e *entry) expires() int64 { return e.arrived + int64(e.lane.schedule.Expire) }

// state says where an entry is, and who may change its leg.
type state uint8

const (
	gone    state = iota // nowhere: the leg has ended
	ready                // in the lane's ready queue, with its body
	waiting              // in the lane's heap
	blocked              // due, but its domain has its share of the lane
	running              // with a worker
	held                 // in the index alone, until it is released
	changed              // with an operator's request
	states               // how many there are
)

// byDue orders the entries of a lane by due time, then by arrival.
type byDue struct{}

func (byDue) before(a, b *entry) bool {
	if a.due != b.due {
		return a.due < b.due
	}
	return a.compare(b.legID) < 0
}

func (byDue) position(e *entry) *int32 { return &e.dueAt }

// byExpiry orders all entries by the time at which they are given up.
type byExpiry struct{}

func (byExpiry) before(a, b *entry) bool  { return a.expires() < b.expires() }
func (byExpiry) position(e *entry) *int32 { return &e.expiryAt }
