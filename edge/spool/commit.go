package spool

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"anymx/edge/mail"
)

// Limits of a group.
const (
	groupBytes = 4 << 20 // a larger change makes a group of its own
	groupGone  = 1024    // so many removals are written at once
	// groupPause is the minimum time between the starts of two groups while there are open drafts
	// that are likely to join the next one. A sync costs as much as several small messages: under
	// load, a thousand per second are enough. A single session never waits.
	groupPause = time.Millisecond
	// removalDelay is how long a removal may wait for a group to join.
	removalDelay = 80 * time.Millisecond
)

// change is what one caller writes atomically, with a synced commit.
type change struct {
	id       mail.ID
	envelope []byte // nil: no message is added
	body     []byte
	inline   bool // write body

	stateOf mail.ID
	state   []byte // nil: no state is written

	legs  []legRecord // to write, of any messages
	fresh int         // how many of them are new

	gone *removal // nil: no message is removed

	probe probeStep // uses id, and the record in envelope; nothing else is written

	done chan struct{} // gets one value when all is on stable storage
}

// size returns about how many bytes a change writes.
func (c *change) size() int {
	n := len(c.envelope) + len(c.body) + len(c.state)
	for i := range c.legs {
		n += len(c.legs[i].record)
	}
	return n
}

// removal is a message to remove.
type removal struct {
	id     mail.ID
	inFile bool
	state  bool  // has a state record
	legs   []int // that have records

	legOnly   bool // the legs go, and the message stays
	stateOnly bool // the state goes
}

// committer gathers the changes of sessions and couriers into groups, and writes each group as one
// batch with one sync. It is the only writer to the engine, so if the engine fails or hangs, only
// the committer's own goroutine can get stuck in it.
type committer struct {
	engine *engine
	drafts *atomic.Int64   // number of open drafts
	ended  func([]removal) // called when removals are on stable storage
	groups func(changes int)
	pause  time.Duration

	mu        sync.Mutex
	changes   []*change // a caller waits for each
	bytes     int       // their size
	gone      []removal // nobody waits for these
	unlinked  []mail.ID // files whose removal is on stable storage; recorded with the next group, whenever that is
	goneSince time.Time
	closed    bool
	asked     chan struct{} // closed at the next iteration of run; nil: nobody asked

	poke chan struct{} // one slot
	over chan struct{} // closed when run has ended

	began atomic.Int64 // when the current group began, in nanoseconds since 1970; 0: there is none
}

func newCommitter(e *engine, drafts *atomic.Int64, pause time.Duration, groups func(int), ended func([]removal)) *committer {
	return &committer{
		engine: e, drafts: drafts, pause: pause, groups: groups, ended: ended,
		poke: make(chan struct{}, 1),
		over: make(chan struct{}),
	}
}

// dones is a pool of the channels that callers wait on.
var dones = sync.Pool{New: func() any { return make(chan struct{}, 1) }}

// commit returns when c is on stable storage, or the engine has failed. After a failure it is
// unknown whether c was written, and the committer may still read c's memory.
func (k *committer) commit(c *change) error {
	done := dones.Get().(chan struct{})
	c.done = done
	k.mu.Lock()
	if k.closed {
		k.mu.Unlock()
		return ErrClosed
	}
	k.changes = append(k.changes, c)
	k.bytes += c.size()
	ready := len(k.changes) == 1 || k.full()
	k.mu.Unlock()
	if ready {
		k.wake()
	}
	select {
	case <-done:
		dones.Put(done)
		return nil
	case <-k.engine.failed:
		select {
		case <-done: // it was in time
			return nil
		default:
			return k.engine.err()
		}
	}
}

// remove schedules r for the next group, within 100 ms.
func (k *committer) remove(r removal) error {
	k.mu.Lock()
	if k.closed {
		k.mu.Unlock()
		return ErrClosed
	}
	if len(k.gone) == 0 {
		k.goneSince = time.Now()
	}
	k.gone = append(k.gone, r)
	n := len(k.gone)
	k.mu.Unlock()
	if n == 1 || n == groupGone {
		k.wake()
	}
	return nil
}

// forgetFiles schedules the deletion of the keyGone records of files whose removal is on stable
// storage, for any later group. It doesn't start a group; if a crash loses the deletion, the next
// start repeats it.
func (k *committer) forgetFiles(ids []mail.ID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.unlinked = append(k.unlinked, ids...)
}

func (k *committer) wake() {
	select {
	case k.poke <- struct{}{}:
	default:
	}
}

// full reports whether waiting can't add to the group: all open drafts are in it, or it has reached
// its size.
func (k *committer) full() bool {
	return int64(len(k.changes)) >= k.drafts.Load() || k.bytes >= groupBytes
}

// close writes pending changes and waits until run has ended, unless the engine has failed.
func (k *committer) close() {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.wake()
	select {
	case <-k.over:
	case <-k.engine.failed:
	}
}

// run writes groups until close. It is the committer's goroutine.
func (k *committer) run() {
	defer close(k.over)
	defer k.engine.recovered()
	batch := k.engine.db.NewBatch(pebble.WithInitialSizeBytes(64<<10), pebble.WithMaxRetainedSizeBytes(2*groupBytes))
	defer batch.Close()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var last time.Time
	var g group
	for {
		now := time.Now()
		wait, more := k.nextGroup(&g, now, last)
		if !more {
			return
		}
		if g.empty() {
			timer.Reset(wait)
			select {
			case <-k.poke:
			case <-timer.C:
			}
			continue
		}
		last = now
		k.write(batch, &g)
		k.began.Store(0)
	}
}

// group is what is written with one sync.
type group struct {
	changes  []*change
	gone     []removal
	unlinked []mail.ID
}

func (g *group) empty() bool { return len(g.changes) == 0 && len(g.gone) == 0 }

// nextGroup moves the changes to write now into g, or returns how long to wait for a poke. It
// reports false if nothing is left and nothing will come.
func (k *committer) nextGroup(g *group, now, last time.Time) (wait time.Duration, more bool) {
	clear(g.changes)
	g.changes, g.gone, g.unlinked = g.changes[:0], g.gone[:0], g.unlinked[:0]
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.asked != nil {
		close(k.asked)
		k.asked = nil
	}
	switch {
	case k.closed:
		if len(k.changes)+len(k.gone) == 0 {
			return 0, false
		}
	case len(k.changes) > 0:
		if wait = k.pause - now.Sub(last); wait > 0 && !k.full() {
			return wait, true
		}
	case len(k.gone) > 0:
		if wait = removalDelay - now.Sub(k.goneSince); wait > 0 && len(k.gone) < groupGone {
			return wait, true
		}
	default:
		return time.Hour, true
	}
	k.began.Store(now.UnixNano())
	g.gone, k.gone = k.gone, g.gone
	g.unlinked, k.unlinked = k.unlinked, g.unlinked
	n, bytes := 0, 0
	for n < len(k.changes) && (n == 0 || bytes+k.changes[n].size() <= groupBytes) {
		bytes += k.changes[n].size()
		n++
	}
	if n == len(k.changes) {
		g.changes, k.changes = k.changes, g.changes
	} else {
		g.changes = append(g.changes, k.changes[:n]...)
		k.changes = slices.Delete(k.changes, 0, n)
		k.wake()
	}
	k.bytes -= bytes
	return 0, true
}

// write commits g and wakes its callers. If the engine fails it doesn't return.
func (k *committer) write(batch *pebble.Batch, g *group) {
	for _, c := range g.changes {
		if c.probe != noProbe {
			writeProbe(batch, c)
			continue
		}
		if c.envelope != nil {
			set(batch, keyEnvelope, c.id, c.envelope)
		}
		if c.inline {
			set(batch, keyBody, c.id, c.body)
		}
		if c.state != nil {
			set(batch, keyState, c.stateOf, c.state)
		}
		for _, l := range c.legs {
			setLeg(batch, l)
		}
		if c.gone != nil {
			g.gone = append(g.gone, *c.gone)
		}
	}
	for i := range g.gone {
		erase(batch, &g.gone[i])
	}
	for _, id := range g.unlinked {
		eraseKey(batch, keyGone, id)
	}
	k.engine.apply(batch)
	batch.Reset()
	if len(g.gone) > 0 {
		k.ended(g.gone)
	}
	k.groups(len(g.changes))
	for _, c := range g.changes {
		c.done <- struct{}{}
	}
}

// erase adds the removal of a message to b. Envelope and body are written once and removed once, so
// the engine can drop both as soon as they meet.
func erase(b *pebble.Batch, r *removal) {
	for _, leg := range r.legs {
		eraseLeg(b, r.id, leg)
	}
	switch {
	case r.legOnly:
		return
	case r.stateOnly:
		eraseKey(b, keyState, r.id)
		return
	}
	single(b, keyEnvelope, r.id)
	if r.inFile {
		set(b, keyGone, r.id, nil)
	} else {
		single(b, keyBody, r.id)
	}
	if r.state {
		eraseKey(b, keyState, r.id)
	}
}

func eraseKey(b *pebble.Batch, kind byte, id mail.ID) {
	k := key(kind, id)
	_ = b.Delete(k[:], nil) // never fails on a batch without an index
}

func single(b *pebble.Batch, kind byte, id mail.ID) {
	d := b.SingleDeleteDeferred(keySize)
	d.Key[0] = kind
	copy(d.Key[1:], id[:])
	_ = d.Finish()
}

// answers returns at the next iteration of the committer's goroutine, or at once if it is writing
// or has ended.
func (k *committer) answers() {
	k.mu.Lock()
	if k.began.Load() != 0 {
		k.mu.Unlock()
		return
	}
	if k.asked == nil {
		k.asked = make(chan struct{})
	}
	asked := k.asked
	k.mu.Unlock()
	k.wake()
	select {
	case <-asked:
	case <-k.over:
	case <-k.engine.failed:
	}
}

// busy returns for how long the current group is being written.
func (k *committer) busy(now time.Time) time.Duration {
	began := k.began.Load()
	if began == 0 {
		return 0
	}
	return now.Sub(time.Unix(0, began))
}
