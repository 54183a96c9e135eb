package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"
)

// engineFormat is the format of the engine's files. It is pinned, so that a newer library doesn't
// write stores that this version can't read.
const engineFormat = pebble.FormatValueSeparation

// Sizes of the engine, in bytes.
const (
	// A message is removed some ten milliseconds after it was committed. With memtables this big,
	// nearly all messages are removed before their memtable is flushed, so that a body is written
	// only once, to the log.
	memtableSize = 32 << 20
	// stopWrites is how many memtables may wait to be flushed before commits have to wait.
	stopWrites = 4
	// blockSize is a compromise between recovery, which reads all blocks, one call of the kernel each,
	// and the reading of one record.
	blockSize = 16 << 10
	// The cache's budget covers the memtables too; blocks get what is left.
	cacheSize = 2*memtableSize + 32<<20
)

// engine wraps Pebble and its failures.
//
// The first failed write, anywhere in the engine's directory, makes the engine fail: see guard.
// From then on nothing is acknowledged and nothing is read. The store is as after a crash, and the
// process has to be restarted to recover it; the engine's goroutines are left as they are until
// then.
type engine struct {
	db      *pebble.DB
	cache   *pebble.Cache
	log     *slog.Logger
	metrics *metrics
	monitor io.Closer // of slow disk operations; nil with Options.FS

	failed  chan struct{} // closed at the first unrecoverable failure
	once    sync.Once
	failure error // set before failed is closed

	background atomic.Pointer[error] // error of the last flush or compaction; nil after a successful one
	corrupt    atomic.Pointer[error] // first corruption found; never reset
}

// openEngine opens or creates the engine in dir.
func openEngine(dir string, fs vfs.FS, memtable uint64, log *slog.Logger, m *metrics) (*engine, error) {
	e := &engine{log: log, metrics: m, failed: make(chan struct{})}
	if fs == vfs.Default {
		fs, e.monitor = vfs.WithDiskHealthChecks(fs, 5*time.Second, nil, e.diskSlow)
	}
	opts := e.options(&guard{FS: fs, fail: e.fail}, memtable)
	defer opts.Cache.Unref() // db keeps it
	e.cache = opts.Cache
	err := e.run(func() (err error) {
		e.db, err = pebble.Open(dir, opts)
		return err
	})
	if err != nil {
		if e.monitor != nil {
			_ = e.monitor.Close()
		}
		return nil, fmt.Errorf("engine in %s: %w", dir, err)
	}
	return e, nil
}

// run runs f, which may end its goroutine or never return if the engine fails.
func (e *engine) run(f func() error) error {
	result := make(chan error, 1)
	go func() {
		defer e.recovered()
		result <- f()
	}()
	select {
	case err := <-result:
		return err
	case <-e.failed:
		return e.err()
	}
}

// readOnly returns the options of an engine that is only read.
func readOnly(fs vfs.FS) *pebble.Options {
	o := (&engine{}).options(fs, memtableSize)
	o.ReadOnly, o.Logger = true, quiet{}
	o.EventListener = &pebble.EventListener{DataCorruption: func(pebble.DataCorruptionInfo) {}}
	return o
}

// quiet is the log of an engine that is only read: errors are returned instead.
type quiet struct{}

// Infof drops a line.
func (quiet) Infof(string, ...any) {}

// Errorf drops a line.
func (quiet) Errorf(string, ...any) {}

// Fatalf ends the engine's goroutine, as it expects.
func (quiet) Fatalf(string, ...any) { runtime.Goexit() }

func (e *engine) options(fs vfs.FS, memtable uint64) *pebble.Options {
	o := &pebble.Options{
		FS:                          fs,
		Cache:                       pebble.NewCache(cacheSize),
		Logger:                      engineLog{e},
		EventListener:               e.listener(),
		FormatMajorVersion:          engineFormat,
		MemTableSize:                memtable,
		MemTableStopWritesThreshold: stopWrites,
		L0CompactionThreshold:       2,
		L0StopWritesThreshold:       64,
		MaxOpenFiles:                1000,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
	}
	// Compressing bodies is not worth it: base64 hardly shrinks, and while core is down the CPU is
	// needed to accept mail.
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		o.Levels[i].BlockSize = blockSize
	}
	// Bodies of a backlog go to blob files when their memtable is flushed, and compactions move
	// only their keys. Blob files that are mostly garbage are rewritten, so that one message that
	// stays for days doesn't retain the space of thousands that arrived with it.
	o.Experimental.ValueSeparationPolicy = func() pebble.ValueSeparationPolicy {
		return pebble.ValueSeparationPolicy{
			Enabled:               true,
			MinimumSize:           512,
			MaxBlobReferenceDepth: 16,
			RewriteMinimumAge:     time.Minute,
			TargetGarbageRatio:    0.5,
		}
	}
	if e.monitor == nil { // not the machine's file system: a test
		// In a test with a clock of its own, looking ten times a second whether a compaction may run
		// would cost more than all else.
		o.Experimental.CompactionScheduler = pebble.NewConcurrencyLimitSchedulerWithNoPeriodicGrantingForTest()
	}
	// Each kind of key gets tables of its own. Keys sort by time, so tables of one kind hardly
	// overlap, and are moved between levels instead of rewritten.
	o.Experimental.SpanPolicyFunc = spanPolicy
	return o
}

// spanPolicy ends each table where a kind of key ends. Envelopes and states stay inside their
// tables, because recovery iterates over them.
func spanPolicy(start []byte) (pebble.SpanPolicy, []byte, error) {
	if len(start) == 0 {
		return pebble.SpanPolicy{}, nil, nil
	}
	policy := pebble.SpanPolicy{}
	if start[0] != keyBody {
		policy.ValueStoragePolicy = pebble.ValueStorageLowReadLatency
	}
	return policy, []byte{start[0] + 1}, nil
}

// listener turns the engine's events into log lines, metrics and health.
func (e *engine) listener() *pebble.EventListener {
	worked := func(err error) {
		if err == nil {
			e.background.Store(nil)
		}
	}
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			e.metrics.errors.background.Inc()
			// The engine retries at once: log only the first failure.
			if e.background.Swap(&err) == nil {
				e.log.Error("spool engine: background work failed", "err", err)
			}
		},
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			e.metrics.errors.corruption.Inc()
			err := fmt.Errorf("%s is damaged: %w", info.Path, info.Details)
			if e.corrupt.CompareAndSwap(nil, &err) {
				e.log.Error("spool engine: corruption", "err", err)
			}
		},
		FlushEnd:          func(i pebble.FlushInfo) { worked(i.Err) },
		CompactionEnd:     func(i pebble.CompactionInfo) { worked(i.Err) },
		DiskSlow:          e.diskSlow,
		WriteStallBegin:   func(i pebble.WriteStallBeginInfo) { e.stalled(i.Reason) },
		PossibleAPIMisuse: func(i pebble.PossibleAPIMisuseInfo) { e.misused(i.String()) },
	}
}

func (e *engine) diskSlow(info vfs.DiskSlowInfo) {
	e.metrics.diskSlow.Inc()
	e.log.Warn("spool: slow disk", "path", info.Path, "operation", info.OpType.String(), "seconds", info.Duration.Seconds())
}

func (e *engine) stalled(reason string) {
	e.metrics.stalls.Inc()
	e.log.Warn("spool engine: write stall, commits have to wait", "reason", reason)
}

func (e *engine) misused(what string) {
	e.metrics.errors.misuse.Inc()
	e.log.Error("spool engine: possible API misuse", "what", what)
}

// fail records an unrecoverable failure.
func (e *engine) fail(err error) {
	e.once.Do(func() {
		e.failure = err
		e.metrics.errors.engine.Inc()
		e.log.Error("spool engine: failed, nothing is stored or read until the program is restarted", "err", err)
		close(e.failed)
	})
}

// err returns the failure, wrapped in ErrEngine, or nil.
func (e *engine) err() error {
	select {
	case <-e.failed:
		return fmt.Errorf("%w: %w", ErrEngine, e.failure)
	default:
		return nil
	}
}

// trouble returns why the engine can't be relied on now, or nil.
func (e *engine) trouble() error {
	if err := e.err(); err != nil {
		return err
	}
	if p := e.corrupt.Load(); p != nil {
		return *p
	}
	if p := e.background.Load(); p != nil {
		return *p
	}
	return nil
}

// recovered, when deferred, turns a panic of the engine into its failure. The engine panics if a
// log file can't be created or closed.
func (e *engine) recovered() {
	if r := recover(); r != nil {
		e.log.Error("spool engine: panic", "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
		e.fail(fmt.Errorf("panic: %v", r))
	}
}

// apply commits b and returns when it is on stable storage. If that fails, the engine has failed,
// and apply doesn't return.
func (e *engine) apply(b *pebble.Batch) {
	err := e.db.Apply(b, pebble.Sync)
	if err == nil {
		err = e.err() // another goroutine failed: durability is no longer guaranteed
	}
	if err != nil {
		e.fail(err)
		runtime.Goexit()
	}
}

// get calls read with the value of a key. It returns ErrNotFound, and ErrDamaged for a value that
// fails its checksum.
func (e *engine) get(key []byte, read func([]byte) error) error {
	if err := e.err(); err != nil {
		return err
	}
	v, closer, err := e.fetch(key)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return ErrNotFound
	case errors.Is(err, ErrDamaged):
		return err
	case pebble.IsCorruptionError(err):
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	case err != nil:
		e.metrics.errors.read.Inc()
		return fmt.Errorf("engine: %w", err)
	}
	err = read(v)
	if e2 := closer.Close(); err == nil && e2 != nil {
		err = fmt.Errorf("engine: %w", e2)
	}
	return err
}

// fetch reads a value from Pebble, which panics if the footer of a blob file is damaged.
func (e *engine) fetch(key []byte) (v []byte, closer io.Closer, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, r)
			if e.corrupt.CompareAndSwap(nil, &err) {
				e.metrics.errors.corruption.Inc()
				e.log.Error("spool engine: corruption", "err", err)
			}
		}
	}()
	return e.db.Get(key)
}

// find is like get, but reports a missing key as false.
func (e *engine) find(key []byte, read func([]byte) error) (found bool, err error) {
	err = e.get(key, read)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// scan returns an iterator over all keys of one kind, in order. Values are only valid until the
// next step.
func (e *engine) scan(kind byte) (*pebble.Iterator, error) {
	return e.iterate([]byte{kind}, []byte{kind + 1})
}

// iterate returns an iterator over the keys from lower on, below upper.
func (e *engine) iterate(lower, upper []byte) (*pebble.Iterator, error) {
	if err := e.err(); err != nil {
		return nil, err
	}
	it, err := e.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, fmt.Errorf("engine: %w", err)
	}
	return it, nil
}

// dropBlocks empties the cache of blocks, after an iteration over everything has filled it with what is
// not needed again.
func (e *engine) dropBlocks() { e.cache.Reserve(cacheSize)() }

// usage returns the size of the engine's tables and blob files on the disk.
func (e *engine) usage() int64 {
	m := e.db.Metrics()
	return m.Total().TablesSize + int64(m.BlobFiles.LiveSize)
}

// reclaim flushes and compacts, to free the disk space of removed messages. It ends early when ctx
// does.
func (e *engine) reclaim(ctx context.Context) error {
	flushed, err := e.db.AsyncFlush()
	if err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	select {
	case <-flushed:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := e.db.Compact(ctx, []byte{0}, []byte{0xff}, false); err != nil {
		return fmt.Errorf("compaction: %w", err)
	}
	return nil
}

// close closes the engine and stops its goroutines. After a failure that is impossible: they stay
// until the process ends.
func (e *engine) close() error {
	if err := e.err(); err != nil {
		return err
	}
	err := e.run(e.db.Close)
	if e.monitor != nil {
		err = errors.Join(err, e.monitor.Close())
	}
	if err != nil {
		return fmt.Errorf("engine: %w", err)
	}
	return nil
}

// engineLog is the engine's own log.
type engineLog struct{ e *engine }

// Infof logs the engine's messages at debug level.
func (l engineLog) Infof(format string, args ...any) {
	if l.e.log.Enabled(context.Background(), slog.LevelDebug) {
		l.e.log.Debug("spool engine: " + fmt.Sprintf(format, args...))
	}
}

// Errorf logs an error that the engine survives.
func (l engineLog) Errorf(format string, args ...any) {
	l.e.log.Error("spool engine: " + fmt.Sprintf(format, args...))
}

// Fatalf records an error that the engine doesn't survive. It must not return: a failed commit
// would look like a successful one.
func (l engineLog) Fatalf(format string, args ...any) {
	l.e.fail(fmt.Errorf(format, args...))
	runtime.Goexit()
}

// checkFormat returns an error for a store with an unknown format, before anything is changed.
func checkFormat(fs vfs.FS, dir string) error {
	v, err := atomicfs.ReadMarker(fs, dir, "format-version")
	if err != nil {
		return fmt.Errorf("format of the engine: %w", err)
	}
	if v == "" {
		return nil // being created
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		return fmt.Errorf("format of the engine: %w", err)
	}
	if n > uint64(pebble.FormatNewest) {
		return fmt.Errorf("format of the engine %d: %w", n, ErrNewer)
	}
	return nil
}
