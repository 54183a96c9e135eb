package spool

import "time"

// State is what the queue has learned about a message since it arrived. It has a record of its own,
// which is written from the second attempt on, so that a message that is delivered at the first
// attempt needs no write for it.
//
// The zero State is that of a message just committed: its first attempt counts as started when it
// arrived.
type State struct {
	// Attempts counts the attempts started, including the first. 0, in the zero State, means that
	// one was started at arrival.
	Attempts    int
	Due         time.Time // time of the next attempt; zero: now
	LastAttempt time.Time // when the last attempt started; zero: at arrival
	// Waited is the age of the message at LastAttempt, by a monotonic clock: the wall clock may
	// have been set between arrival and LastAttempt.
	Waited time.Duration
	// Held suspends delivery until an operator releases the message.
	Held       bool
	HoldReason string // for people; cut to MaxLast bytes
	// DelayNoticed is set when the sender has been notified of the delay.
	DelayNoticed bool
	// Recipients is nil while all are pending, else there is one for each
	// recipient of the envelope, in its order.
	Recipients []RecipientState
}

// RecipientState is the delivery status of one recipient.
type RecipientState struct {
	Status Status
	Last   string    // the last failure in one line; cut to MaxLast bytes
	At     time.Time // when Status or Last was learned
}

// MaxLast is the maximum length of RecipientState.Last and State.HoldReason, in bytes.
const MaxLast = 512

// Status is the status of a recipient.
type Status uint8

// Values of Status. Pending means that there will be another attempt.
const (
	Pending Status = iota
	Delivered
	Failed // permanently; the sender has been notified, or must not be
)

// String returns the status in lower case.
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

// MarshalText returns String, for JSON.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
