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
	groupBytes = 4 << 20 // a change that has more makes a group of its own
	groupGone  = 1024    // removals that are not kept waiting
	// groupPause is the least time between the starts of two groups while
	// drafts are still open that are likely to join the next one. A sync
	// costs as much as several small messages: under load, a thousand a
	// second are enough. A lone session is never kept waiting.
	groupPause = time.Millisecond
	// lazily is how long a removal may wait for a group to join.
	lazily = 80 * time.Millisecond
)

// change is what one caller wants written, in one piece with a synced commit.
type change struct {
	id       mail.ID
	envelope []byte // nil: no message is added
	body     []byte
	inline   bool // body is to be written

	stateOf mail.ID
	state   []byte // nil: no state is written

	gone *removal // nil: no message is removed

	probe probeStep // with id, and the record in envelope; nothing else is written

	done chan struct{} // gets one value when all is on stable storage
}

// size is about how much a change has to write.
func (c *change) size() int { return len(c.envelope) + len(c.body) + len(c.state) }

// removal is a message that ends.
type removal struct {
	id     mail.ID
	inFile bool
	state  bool // has a state record
}

// committer gathers what sessions and couriers want written into groups, and
// writes each group as one batch with one sync. It is the only writer to the
// engine, so when the engine fails or hangs, nobody but the committer's own
// goroutine can get stuck in it.
type committer struct {
	engine *engine
	drafts *atomic.Int64   // open ones
	ended  func([]removal) // called when removals are on stable storage
	groups func(changes int)
	pause  time.Duration

	mu        sync.Mutex
	changes   []*change // somebody waits for each
	bytes     int       // their size
	gone      []removal // nobody waits
	unlinked  []mail.ID // files that are gone for good; written with the next group, whenever that is
	goneSince time.Time
	closed    bool
	asked     chan struct{} // closed with the next turn of run; nil: nobody asks

	poke chan struct{} // one slot
	over chan struct{} // closed when run has ended

	began atomic.Int64 // when the group under way began, in nanoseconds since 1970; 0: none is
}

func newCommitter(e *engine, drafts *atomic.Int64, pause time.Duration, groups func(int), ended func([]removal)) *committer {
	return &committer{
		engine: e, drafts: drafts, pause: pause, groups: groups, ended: ended,
		poke: make(chan struct{}, 1),
		over: make(chan struct{}),
	}
}

// dones are the channels that callers wait on.
var dones = sync.Pool{New: func() any { return make(chan struct{}, 1) }}

// commit returns when c is on stable storage, or the engine has failed. After
// a failure nobody knows whether c was written, and the committer may still
// read c's memory.
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

// remove has r written with the next group, within 100 ms.
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

// forget has it written with some later group that the files of messages are gone for good. It
// makes no group, and what a crash loses of it the next start finds out again.
func (k *committer) forget(ids []mail.ID) {
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

// full says that waiting would bring nobody in: all who write a message are
// here, or the group has its size.
func (k *committer) full() bool {
	return int64(len(k.changes)) >= k.drafts.Load() || k.bytes >= groupBytes
}

// close has what is pending written, and waits for the end, unless the engine
// has failed.
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
		wait, more := k.take(&g, now, last)
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

// take moves what is to be written now into g, or says how long to wait for a
// poke. It is false when there is nothing left and nothing will come.
func (k *committer) take(g *group, now, last time.Time) (wait time.Duration, more bool) {
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
		if wait = lazily - now.Sub(k.goneSince); wait > 0 && len(k.gone) < groupGone {
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

// write commits g and tells who waits for it. If the engine fails it does not
// return.
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

// erase adds the removal of a message to b. Envelope and body are written
// once and removed once, which lets the engine cancel both out as soon as they
// meet.
func erase(b *pebble.Batch, r *removal) {
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

// answers returns when the committer's goroutine has taken its next turn, at
// once if it is with the disk or has ended.
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

// busy is how long the group under way has taken so far.
func (k *committer) busy(now time.Time) time.Duration {
	began := k.began.Load()
	if began == 0 {
		return 0
	}
	return now.Sub(time.Unix(0, began))
}
