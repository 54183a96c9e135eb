package spool

import (
	"fmt"
	"sync/atomic"
	"time"
)

// Full says why the spool takes no message now. Test for it with errors.As.
// It answers as 452 4.3.1 (RFC 5321 section 4.2.2) before a message is taken.
type Full struct {
	Reason Reason
	Cause  error // beneath ReasonEngine; nil for the others
}

// Reason is one of a few words, fit for a metric's label.
type Reason string

// Why a spool can be full.
const (
	ReasonReserve   Reason = "disk reserve" // Options.DiskReserve would be touched
	ReasonHighWater Reason = "high water"   // Options.HighWater
	ReasonMessages  Reason = "messages"     // Options.MaxMessages
	ReasonEngine    Reason = "engine"       // storage has failed, or does not answer
)

// Error names the reason.
func (f *Full) Error() string {
	if f.Cause != nil {
		return fmt.Sprintf("spool takes no message (%s): %v", f.Reason, f.Cause)
	}
	return fmt.Sprintf("spool takes no message (%s)", f.Reason)
}

// Unwrap gives the cause.
func (f *Full) Unwrap() error { return f.Cause }

// Refusals that never change, so that refusing costs nothing.
var (
	fullReserve   = &Full{Reason: ReasonReserve}
	fullHighWater = &Full{Reason: ReasonHighWater}
	fullMessages  = &Full{Reason: ReasonMessages}
)

// ledger counts what the spool holds and what it may still take. Its counters
// are read without a lock at each MAIL.
type ledger struct {
	highWater, maxMessages, reserve int64 // 0: no limit

	messages atomic.Int64 // committed, not removed
	bytes    atomic.Int64 // of their bodies
	drafts   atomic.Int64 // begun, not ended
	inFiles  atomic.Int64 // of bytes: those in body files
	inFlight atomic.Int64 // octets of drafts already written to body files
	memory   atomic.Int64 // octets of buffers that committed messages still hold

	free  atomic.Int64 // octets free on the disk when last looked
	since atomic.Int64 // octets written since then

	hangs atomic.Pointer[Full] // a commit takes far too long; nil: none does
}

// refusal is why no message may be begun now, or nil.
func (l *ledger) refusal() *Full {
	if f := l.hangs.Load(); f != nil {
		return f
	}
	if l.reserve > 0 && l.left() < l.reserve {
		return fullReserve
	}
	if l.maxMessages > 0 && l.messages.Load()+l.drafts.Load() >= l.maxMessages {
		return fullMessages
	}
	if l.highWater > 0 && l.bytes.Load()+l.inFlight.Load() >= l.highWater {
		return fullHighWater
	}
	return nil
}

// exhausted is why not even a draft that was begun may go on, or nil. Such a
// draft may eat into the reserve, which is there for it and for the engine,
// but only into half of it.
func (l *ledger) exhausted() *Full {
	if l.reserve > 0 && l.left() < l.reserve/2 {
		return fullReserve
	}
	return nil
}

// left estimates the octets free on the disk.
func (l *ledger) left() int64 { return l.free.Load() - l.since.Load() }

// looked takes what the file system says is free.
func (l *ledger) looked(free int64) {
	l.free.Store(free)
	l.since.Store(0)
}

// hold takes size octets from the budget for bodies in memory, if it has them.
func (l *ledger) hold(size, budget int64) bool {
	if l.memory.Add(size) <= budget {
		return true
	}
	l.memory.Add(-size)
	return false
}

// stuckAfter is how long one group commit may take before new messages are
// refused: senders should go elsewhere while the disk hangs.
const stuckAfter = 10 * time.Second
