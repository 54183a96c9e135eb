// Package spool stores accepted messages durably until delivery to all their recipients has ended.
//
// What happens to the data:
//
//  1. BeginDraft draws an ID. Data written to the Draft is gathered in a pooled buffer; a body
//     longer than Options.InlineMax is written to a file of its own under DIR/bodies.
//  2. Commit syncs the body file and its directory entry, if there is one. Then it passes the
//     envelope and a short body to the committer.
//  3. The committer gathers the changes of all sessions while a sync is in progress into one batch,
//     writes it to the engine (Pebble) and syncs its log. Only then does Commit return, and only
//     then may the reply be 250.
//  4. The short body stays in memory for the first attempt, within Options.Memory; later attempts
//     Load it from the engine or the file. A Body reads what is delivered: the envelope's Front,
//     and then what was written to the Draft, without the envelope's Cuts.
//  5. Remove deletes envelope and body with the next group, within 100 ms; the body file is deleted
//     once that is on stable storage. A message that is removed before its memtable is flushed is
//     written only once, to the log.
//
// A body file is complete before its envelope exists and is deleted after its envelope, so after a
// crash at any moment each envelope has its body. A file without envelope is an orphan: Open moves
// it away and deletes nothing that could have been acknowledged. Envelope, short body and the
// changes of a Replace are one record of the log: all of it is recovered, or none.
//
// If the engine's log can't be written or synced, it is unknown what is on the disk. The spool then
// acknowledges nothing more, closes Failed, and returns ErrEngine until the process is restarted
// and recovers.
//
//	DIR/VERSION   schema of what follows
//	DIR/LOCK      held while the spool is open
//	DIR/ENGINE    identity of the engine that belongs to the store
//
// DIR/CLOSED the content at the last Close, while the spool is closed
//
//	DIR/ATTENTION acknowledged mail was lost, until the operator runs set-aside
//	DIR/bodies    long bodies, one file each, by message ID; ID.draft until the envelope is stored
//	DIR/bodies/orphans/TIME  files without envelope that Open found at that time
//	DIR/engine    Pebble: envelopes (e), short bodies (b), states (s), each by message ID
package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"anymx/edge/budget"
	"anymx/edge/mail"
)

// Errors to test for with errors.Is.
var (
	ErrClosed   = errors.New("spool is closed")
	ErrNotFound = errors.New("no such message in the spool")
	ErrLocked   = errors.New("spool is in use by another process")
	// ErrNewer says that a newer program has written the store, which was not changed.
	ErrNewer = errors.New("spool was written by a newer version of this program")
	// ErrDamaged says that a body or an envelope is damaged.
	ErrDamaged = errors.New("stored message is damaged")
	// ErrEngine says that storage has failed until a restart; see Spool.Failed.
	ErrEngine = errors.New("spool engine has failed")
)

// Values of Options.InlineMax, in bytes.
const (
	DefaultInline = 256 << 10
	MaxInline     = 4 << 20
)

// How long, and how many bytes of, drafts that a crash cut off are kept.
const (
	DefaultOrphansKeep = 7 * 24 * time.Hour
	DefaultOrphansMax  = 1 << 30
)

// Options says where a spool is, and sets its limits.
type Options struct {
	Dir string // created if it doesn't exist
	FS  vfs.FS // nil: the system's

	// InlineMax is the longest body, in bytes, that is stored in the engine; it bounds the memory
	// of a draft. 0 means DefaultInline; at most MaxInline.
	InlineMax int64
	// Memory is how many bytes of bodies may stay in memory after their commit, for the first
	// attempt. 0: none.
	Memory int64

	// Budget counts the memory of drafts, together with what others count in it. While half of it is
	// used up, drafts go to files sooner; when it is used up, new ones are refused. nil: no limit.
	Budget *budget.Budget

	// New messages are refused when HighWater bytes of bodies are stored, or MaxMessages messages are
	// stored or being received. 0: no limit.
	HighWater   int64
	MaxMessages int64
	// DiskReserve is how many bytes must stay free on the disk. Existing drafts may use half of it;
	// the engine needs the rest for flushes and compactions, so it should be 1 GiB or more. 0: no
	// limit.
	DiskReserve int64

	// InFlight is how many bytes of drafts may be on the disk, and NetworkInFlight how many of one
	// client's network. Beyond, the slowest drafts are cut. 0: a half and an eighth of DiskReserve.
	InFlight        int64
	NetworkInFlight int64

	// Drafts that a crash cut off are kept for OrphansKeep, and only while all orphans have at most
	// OrphansMax bytes. 0 means DefaultOrphansKeep and DefaultOrphansMax.
	OrphansKeep time.Duration
	OrphansMax  int64

	// Route returns the legs of a message that is committed; none if it goes to the default core alone.
	// nil: all do.
	Route func(*mail.Envelope) []mail.Leg

	IDs     *mail.IDs             // nil: the spool makes its own
	Now     func() time.Time      // nil: time.Now
	Log     *slog.Logger          // nil: none
	Metrics prometheus.Registerer // nil: none
	// DiskFree returns how many bytes are free for this process on the disk of dir. It is called
	// every second. nil: ask the file system.
	DiskFree func(dir string) (int64, error)

	tune tuning
}

// tuning holds settings that tests reduce.
type tuning struct {
	memtable uint64
	pause    time.Duration
}

// Spool is an open store of messages. It is safe for use by many goroutines.
type Spool struct {
	options   Options
	fs        vfs.FS
	lock      io.Closer
	engine    *engine
	bodies    *bodies
	committer *committer
	ledger    ledger
	flight    flight
	metrics   *metrics
	start     time.Time // IDs count from here, so that a clock that steps back doesn't repeat one
	since     time.Time // the same moment, with its monotonic reading

	attention     atomic.Pointer[string] // why the operator has to act; nil: all is well
	damagedBodies atomic.Int64
	strange       int64 // unknown files in the bodies directory; set by Open
	orphans       struct {
		mu           sync.Mutex // guards their folders
		files, bytes atomic.Int64
	}

	closed  atomic.Bool
	readers readers
	endings endings
	states  atomic.Int64 // state records in the engine; if 0, Remove needs no lookup
	legs    legsLeft

	probing chan struct{} // one slot: a probe is running
	blind   atomic.Bool   // the last reading of free space failed
	stop    context.CancelFunc
	wait    sync.WaitGroup
}

// Open opens the store in o.Dir, or creates it. It counts the messages, moves orphans away, and
// starts the spool's goroutines, which Close waits for. It returns ErrNewer and ErrLocked, wrapped,
// without changing anything, and *Unsound for a store that has lost acknowledged messages.
func Open(o Options) (*Spool, error) {
	s, err := open(o)
	if err == nil {
		return s, nil
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	err = asUnsound(o.FS, o.Dir, err)
	if u := (*Unsound)(nil); errors.As(err, &u) {
		return nil, u
	}
	return nil, fmt.Errorf("spool %s: %w", o.Dir, err)
}

func open(o Options) (_ *Spool, err error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	s := &Spool{options: o, fs: o.FS, probing: make(chan struct{}, 1), ledger: ledger{highWater: o.HighWater, maxMessages: o.MaxMessages, reserve: o.DiskReserve}}
	s.flight = flight{
		most: o.InFlight, mostByNetwork: o.NetworkInFlight, now: time.Now,
		by: make(map[netip.Prefix]int64), drafts: make(map[*flyer]struct{}),
	}
	s.metrics = newMetrics(s)
	var undo []func() error
	defer func() {
		for i := len(undo) - 1; err != nil && i >= 0; i-- {
			_ = undo[i]()
		}
	}()
	var in *inspection
	if s.lock, in, err = prepare(s.fs, o.Dir); err != nil {
		return nil, err
	}
	undo = append(undo, s.lock.Close)
	for _, w := range in.warnings {
		o.Log.Warn("spool: " + w + "; the data that a crash cut off there was not acknowledged")
	}
	if s.bodies, err = openBodies(s.fs, s.fs.PathJoin(o.Dir, bodiesDir)); err != nil {
		return nil, err
	}
	undo = append(undo, s.bodies.at.Close)
	if s.engine, err = openEngine(s.fs.PathJoin(o.Dir, engineDir), s.fs, o.tune.memtable, o.Log, s.metrics); err != nil {
		return nil, err
	}
	undo = append(undo, s.engine.close)
	if err = s.identify(); err != nil {
		return nil, err
	}
	if err = s.recover(in); err != nil {
		return nil, err
	}
	s.committer = newCommitter(s.engine, &s.ledger.drafts, o.tune.pause, s.metrics.group, s.removed)
	s.bodies.forget = s.committer.forgetFiles
	if err = s.checkDisk(); err != nil {
		return nil, err
	}
	if err = s.metrics.install(); err != nil {
		return nil, err
	}
	s.run()
	return s, nil
}

// setDefaults replaces zero values by defaults and checks the limits.
func (o *Options) setDefaults() error {
	switch {
	case o.InlineMax == 0:
		o.InlineMax = DefaultInline
	case o.InlineMax < 0 || o.InlineMax > MaxInline:
		return fmt.Errorf("longest body in the engine: %d is not between 1 and %d bytes", o.InlineMax, MaxInline)
	}
	if o.OrphansKeep == 0 {
		o.OrphansKeep = DefaultOrphansKeep
	}
	if o.OrphansMax == 0 {
		o.OrphansMax = DefaultOrphansMax
	}
	if o.InFlight == 0 {
		o.InFlight = o.DiskReserve / 2
	}
	if o.NetworkInFlight == 0 {
		o.NetworkInFlight = o.DiskReserve / 8
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.IDs == nil {
		o.IDs = mail.NewIDs(uint16(rand.Uint32()))
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.DiskFree == nil {
		o.DiskFree = func(dir string) (int64, error) {
			usage, err := o.FS.GetDiskUsage(dir)
			return int64(min(usage.AvailBytes, 1<<62)), err
		}
	}
	if o.tune.memtable == 0 {
		o.tune.memtable = memtableSize
	}
	if o.tune.pause == 0 {
		o.tune.pause = groupPause
	}
	return nil
}

// run starts the goroutines.
func (s *Spool) run() {
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	go s.committer.run() // ends by committer.close
	s.wait.Go(func() { s.bodies.sweep(s.sweepFailed) })
	s.wait.Go(func() { s.watch(ctx) })
}

// Close writes pending changes, and stops the spool and its goroutines. Later calls of any method
// return ErrClosed. Drafts that are still open can only be discarded. After the engine has failed,
// Close returns ErrEngine, and the engine's goroutines and its lock stay until the process ends.
func (s *Spool) Close() error {
	if s.closed.Store(true); !s.readers.close() {
		return ErrClosed
	}
	s.committer.close()
	s.stop()
	err := s.bodies.close()
	s.wait.Wait()
	s.metrics.unregister()
	if e := s.engine.close(); e != nil {
		return errors.Join(e, err)
	}
	if err == nil {
		err = s.writeClosing()
	}
	return errors.Join(err, s.lock.Close())
}

// readers counts the readers of the engine, so that it is not closed while they read. It is not an
// RWMutex, because the callback of Each may read too.
type readers struct {
	mu     sync.Mutex
	n      int
	closed bool
	none   chan struct{} // closed when n is 0 after closed was set; nil before
}

// reading keeps the engine open until readers.done is called. It returns ErrClosed if the spool is
// closed.
func (s *Spool) reading() error {
	r := &s.readers
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ErrClosed
	}
	r.n++
	return nil
}

func (r *readers) done() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n--; r.n == 0 && r.closed {
		close(r.none)
	}
}

// close refuses new readers, and waits until all are done. It returns false if it was called
// before.
func (r *readers) close() bool {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return false
	}
	r.closed, r.none = true, make(chan struct{})
	if r.n == 0 {
		close(r.none)
	}
	r.mu.Unlock()
	<-r.none
	return true
}

// Accepting returns nil if a new message is accepted, else *Full or ErrClosed. It is cheap, without
// locks and disk access: call it at each MAIL.
func (s *Spool) Accepting() error {
	err := s.accepting()
	if f, ok := err.(*Full); ok {
		s.metrics.refused(f.Reason)
	}
	return err
}

func (s *Spool) accepting() error {
	if err := s.working(); err != nil {
		return err
	}
	if f := s.ledger.refusal(); f != nil {
		return f
	}
	return nil
}

// Answers returns when the spool's goroutines and locks have responded, which they do at once
// unless they are deadlocked. It doesn't wait for the disk: Accepting reports a disk that hangs.
func (s *Spool) Answers() {
	s.endings.has(mail.ID{})
	if s.reading() == nil {
		s.readers.done()
	}
	s.committer.answers()
}

// Failed returns a channel that is closed when the engine has failed until a restart of the
// process. Nothing is acknowledged from then on.
func (s *Spool) Failed() <-chan struct{} { return s.engine.failed }

// nextID draws the ID of a message that arrives now.
func (s *Spool) nextID() mail.ID {
	return s.options.IDs.Next(s.start.Add(time.Since(s.since)))
}

// bodyFailed counts an error of a body file.
func (s *Spool) bodyFailed(err error) error {
	if err != nil {
		s.metrics.errors.body.Inc()
	}
	return err
}

func (s *Spool) sweepFailed(err error) {
	s.metrics.errors.body.Inc()
	s.options.Log.Warn("spool: body file could not be removed", "err", err)
}
