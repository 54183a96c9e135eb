package spool

import "time"

// State is what the queue has learned of a message since it arrived. It
// stands in a record of its own, written from the second try on, so that a
// message that goes out at the first try costs no write for it.
//
// The zero State is that of a message just committed: its first try counts as
// begun when it arrived.
type State struct {
	// Attempts counts the tries begun, the first included. 0, in the zero
	// State, means that one was begun at arrival.
	Attempts int
	Due      time.Time // of the next try; zero: now
	LastTry  time.Time // when the last try began; zero: at arrival
	// Waited is how old the message was at LastTry, by a clock that nobody can set: LastTry and the
	// message's arrival may be times of a clock that was set in between.
	Waited time.Duration
	// Held keeps the message from being tried until somebody releases it.
	Held       bool
	HoldReason string // for people; cut to MaxLast octets
	// DelayNoticed is set when the sender has been told of the delay.
	DelayNoticed bool
	// Recipients is nil while all are pending, else there is one for each
	// recipient of the envelope, in its order.
	Recipients []RecipientState
}

// RecipientState is what became of one recipient.
type RecipientState struct {
	Status Status
	Last   string    // the last failure in one line; cut to MaxLast octets
	At     time.Time // when Status or Last was learned
}

// MaxLast is how many octets of RecipientState.Last and State.HoldReason are
// kept.
const MaxLast = 512

// Status is where a recipient stands.
type Status uint8

// Where a recipient can stand. Pending means that it will be tried again.
const (
	Pending Status = iota
	Delivered
	Failed // for good; the sender has been told, or must not be
)

// String is the status in lower case.
func (s Status) String() string {
	switch s {
	case Pending:
		return "pending"
	case Delivered:
		return "delivered"
	case Failed:
		return "failed"
	}
	return "unknown"
}

// MarshalText makes a Status its String in JSON.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
