package spool

import (
	"fmt"
	"sync/atomic"
	"time"
)

// Full says why the spool accepts no message now. Test for it with errors.As. The reply to it is
// 452 4.3.1 (RFC 5321 section 4.2.2), before a message is received.
type Full struct {
	Reason Reason
	Cause  error // of ReasonEngine; nil for the others
}

// Reason is one of a few values, used as a metric label.
type Reason string

// Values of Reason.
const (
	ReasonReserve   Reason = "disk reserve" // Options.DiskReserve would be touched
	ReasonHighWater Reason = "high water"   // Options.HighWater
	ReasonMessages  Reason = "messages"     // Options.MaxMessages
	ReasonEngine    Reason = "engine"       // storage has failed or does not respond
	ReasonMemory    Reason = "memory"       // Options.Budget; of BeginDraft alone
)

// Error names the reason.
func (f *Full) Error() string {
	if f.Cause != nil {
		return fmt.Sprintf("spool accepts no message (%s): %v", f.Reason, f.Cause)
	}
	return fmt.Sprintf("spool accepts no message (%s)", f.Reason)
}

// Unwrap returns the cause.
func (f *Full) Unwrap() error { return f.Cause }

// Backlogged reports whether mail that waits for delivery is what fills the spool: a mark for that is
// reached, or the disk would have enough room without it.
func (f *Full) Backlogged(s *Stats) bool {
	switch f.Reason {
	case ReasonHighWater, ReasonMessages:
		return true
	case ReasonReserve:
		return s.DiskFree+s.Bytes >= 2*s.DiskReserve
	}
	return false
}

// Refusals that are allocated once, so that refusing is cheap.
var (
	fullReserve   = &Full{Reason: ReasonReserve}
	fullHighWater = &Full{Reason: ReasonHighWater}
	fullMessages  = &Full{Reason: ReasonMessages}
	fullMemory    = &Full{Reason: ReasonMemory}
)

// ledger counts what the spool holds, and checks its limits. Its counters are read without a lock
// at each MAIL.
type ledger struct {
	highWater, maxMessages, reserve int64 // 0: no limit

	messages atomic.Int64 // committed, not removed
	bytes    atomic.Int64 // of their bodies
	drafts   atomic.Int64 // begun, not ended
	inFiles  atomic.Int64 // of bytes: those in body files
	inFlight atomic.Int64 // bytes of drafts already written to body files
	memory   atomic.Int64 // bytes of buffers that committed messages still hold

	free  atomic.Int64 // bytes free on the disk when last checked
	since atomic.Int64 // bytes written since then

	hangs atomic.Pointer[Full] // set while a commit takes far too long
}

// refusal returns why no new message is accepted, or nil. What drafts have written doesn't count: it
// has a limit of its own (flight), and goes when they do. So no client can make the spool refuse
// others, or a node unready, with messages that it never completes.
func (l *ledger) refusal() *Full {
	if f := l.hangs.Load(); f != nil {
		return f
	}
	if l.reserve > 0 && l.left()+l.inFlight.Load() < l.reserve {
		return fullReserve
	}
	if l.maxMessages > 0 && l.messages.Load()+l.drafts.Load() >= l.maxMessages {
		return fullMessages
	}
	if l.highWater > 0 && l.bytes.Load() >= l.highWater {
		return fullHighWater
	}
	return nil
}

// exhausted returns why not even an existing draft may continue, or nil. Such a draft may use half
// of the reserve, which is for drafts and for the engine.
func (l *ledger) exhausted() *Full {
	if l.reserve > 0 && l.left() < l.reserve/2 {
		return fullReserve
	}
	return nil
}

// left estimates the free bytes on the disk.
func (l *ledger) left() int64 { return l.free.Load() - l.since.Load() }

// setFree records what the file system reports as free.
func (l *ledger) setFree(free int64) {
	l.free.Store(free)
	l.since.Store(0)
}

// hold reserves size bytes of the budget for bodies in memory. It returns false if the budget is
// used up.
func (l *ledger) hold(size, budget int64) bool {
	if l.memory.Add(size) <= budget {
		return true
	}
	l.memory.Add(-size)
	return false
}

// stuckAfter is how long one group commit may take before new messages are refused: senders should
// use another node while the disk hangs.
const stuckAfter = 10 * time.Second
