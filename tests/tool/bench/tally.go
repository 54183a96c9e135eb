package main

import (
	"fmt"
	"sync"
	"time"
)

// tally checks off the messages of one round by their numbers. Many sessions may use it at once.
type tally struct {
	mu     sync.Mutex
	first  uint64 // number of the round's first message
	seen   []bool // by number - first
	counts counts
	done   chan struct{} // closed when every message of the round has arrived
	moved  time.Time     // when the latest message arrived
}

// counts is what has arrived in a round.
type counts struct {
	Messages   int           `json:"messages"`   // different messages of the round
	Content    int64         `json:"content"`    // bytes of their bodies, without headers and stuffing
	Duplicates int           `json:"duplicates"` // repeated messages of the round
	Strays     int           `json:"strays"`     // messages without a number or of another round
	DoneAt     time.Duration `json:"done_at"`    // when the last message arrived, on the clock of now; 0 before
	Broken     int           `json:"broken"`     // sessions that ended with an error
	Complaint  string        `json:"complaint"`  // the first of these errors
	CPU        time.Duration `json:"cpu"`        // CPU time of the sink since its start
}

// newTally returns a tally without a round.
func newTally() *tally { return &tally{done: make(chan struct{})} }

// beginRound starts a round of count messages from number first on.
func (t *tally) beginRound(first uint64, count int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.first, t.seen, t.counts = first, make([]bool, count), counts{}
	t.done = make(chan struct{})
	t.moved = time.Now()
}

// arrived checks off one message whose body had content bytes.
func (t *tally) arrived(id uint64, named bool, content int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !named || id < t.first || id-t.first >= uint64(len(t.seen)) {
		t.counts.Strays++
		return
	}
	if t.seen[id-t.first] {
		t.counts.Duplicates++
		return
	}
	t.seen[id-t.first] = true
	t.counts.Messages++
	t.counts.Content += int64(content)
	t.moved = time.Now()
	if t.counts.Messages == len(t.seen) {
		t.counts.DoneAt = now()
		close(t.done)
	}
}

// complain records a session that ended with an error.
func (t *tally) complain(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts.Broken++
	if t.counts.Complaint == "" {
		t.counts.Complaint = err.Error()
	}
}

// current returns what has arrived so far.
func (t *tally) current() counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts
}

// wait returns when the round is complete, or with an error if nothing arrives for the time stall.
func (t *tally) wait(stall time.Duration) error {
	t.mu.Lock()
	done := t.done
	t.mu.Unlock()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return nil
		case <-tick.C:
		}
		t.mu.Lock()
		idle, have, want := time.Since(t.moved), t.counts.Messages, len(t.seen)
		t.mu.Unlock()
		if idle > stall {
			return fmt.Errorf("%d of %d messages arrived, none for %v", have, want, stall)
		}
	}
}
