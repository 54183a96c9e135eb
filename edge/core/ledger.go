package core

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// ledger records which message of which node was stored in which mailbox, for longer than a node
// attempts delivery. It forgets entries after a number of days that it counts itself: neither the
// node's clock, from which an identity has its time, nor the clock of this machine, which may be
// set, makes it forget too early or never. It needs some 120 bytes for each message and mailbox of
// these days.
//
// Its keys are, by their first byte: i identity, mailbox: was stored
//
//	g  day of the ledger, key of the above: what to forget after that day
//	m  day of the ledger, and the wall clock's time when it began
//	0  day of the identity, identity, mailbox: was stored, by an older program
//
// When the engine can't guarantee durability any more, the ledger has failed: every call returns an
// error until the program is restarted.
type ledger struct {
	db  *pebble.DB
	log *slog.Logger

	failed  chan struct{} // closed at the first unrecoverable failure
	once    sync.Once
	failure error // set before failed is closed

	troubled atomic.Bool // the last flush or compaction failed, and that was logged

	day    atomic.Uint32 // of the ledger, counted from 1
	older  atomic.Bool   // there may be keys of an older program
	began  time.Time     // when the day began, by the wall clock; zero: unknown. Used only by forget, as are the next fields
	at     time.Duration // when it began in this run
	looked bool          // forget was called in this run
}

// First bytes of keys.
const (
	keyStored = 'i'
	keyForget = 'g'
	keyDay    = 'm'
	keyOlder  = 0
)

const oneDay = 24 * time.Hour

// errLedger is wrapped by the errors of a failed ledger.
var errLedger = errors.New("ledger has failed")

func openLedger(fs vfs.FS, dir string, log *slog.Logger) (*ledger, error) {
	l := &ledger{log: log, failed: make(chan struct{})}
	err := l.guard(func() (err error) {
		l.db, err = pebble.Open(dir, &pebble.Options{
			FS:                 fs,
			Logger:             ledgerLog{l},
			EventListener:      l.listener(),
			FormatMajorVersion: pebble.FormatValueSeparation,
			MemTableSize:       4 << 20,
		})
		return err
	})
	if err == nil {
		err = l.readDay()
	}
	if err != nil {
		if l.db != nil {
			err = errors.Join(err, l.db.Close())
		}
		return nil, fmt.Errorf("ledger: %w", err)
	}
	return l, nil
}

// readDay reads the current day, and whether there are keys of an older program.
func (l *ledger) readDay() error {
	l.day.Store(1)
	v, closer, err := l.db.Get([]byte{keyDay})
	switch {
	case errors.Is(err, pebble.ErrNotFound):
	case err != nil:
		return err
	case len(v) != 12:
		return errors.Join(fmt.Errorf("the record of the day has %d bytes, not 12", len(v)), closer.Close())
	default:
		l.day.Store(binary.BigEndian.Uint32(v))
		l.began = time.Unix(int64(binary.BigEndian.Uint64(v[4:])), 0)
		if err := closer.Close(); err != nil {
			return err
		}
	}
	it, err := l.db.NewIter(&pebble.IterOptions{LowerBound: []byte{keyOlder}, UpperBound: []byte{keyOlder + 1}})
	if err != nil {
		return err
	}
	l.older.Store(it.First())
	return it.Close()
}

// close closes the engine. After a failure that is impossible, and its resources are freed when the
// program ends.
func (l *ledger) close() error {
	if err := l.err(); err != nil {
		return err
	}
	return wrap("ledger", l.db.Close())
}

// storedKey returns the key of a message in a mailbox.
func storedKey(who identity, box string) []byte {
	key := make([]byte, 0, 1+len(who.id)+len(who.node)+1+len(box))
	key = append(append(append(append(key, keyStored), who.id[:]...), who.node...), 0)
	return append(key, box...)
}

// olderKey returns the key of a message in a mailbox as an older program wrote it.
func olderKey(who identity, box string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, who.day()), storedKey(who, box)[1:]...)
}

// forgetKey returns the prefix of the keys for messages stored on a day.
func forgetKey(day uint32) []byte { return binary.BigEndian.AppendUint32([]byte{keyForget}, day) }

// knows reports whether the message was stored in box.
func (l *ledger) knows(who identity, box string) (bool, error) {
	if err := l.err(); err != nil {
		return false, err
	}
	known, err := l.has(storedKey(who, box))
	if err == nil && !known && l.older.Load() {
		known, err = l.has(olderKey(who, box))
	}
	return known, wrap("ledger", err)
}

func (l *ledger) has(key []byte) (bool, error) {
	_, closer, err := l.db.Get(key)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	}
	return true, closer.Close()
}

// remember records, synced, that the message is stored in all of boxes.
func (l *ledger) remember(who identity, boxes []string) error {
	today := forgetKey(l.day.Load())
	return wrap("ledger", l.guard(func() error {
		batch := l.db.NewBatch()
		for _, box := range boxes {
			key := storedKey(who, box)
			if err := batch.Set(key, nil, nil); err != nil {
				return err
			}
			if err := batch.Set(append(today[:len(today):len(today)], key...), nil, nil); err != nil {
				return err
			}
		}
		if err := batch.Commit(pebble.Sync); err != nil {
			return err
		}
		return batch.Close()
	}))
}

// forget counts the days, and drops entries older than days. now is the wall clock, up the
// monotonic time since the program started. It is called periodically by one goroutine.
//
// A day passes when the program has run for 24 hours. The time between two runs is only known from
// the wall clock, which may have been set, so it counts as one day at most.
func (l *ledger) forget(now time.Time, up time.Duration, days int) error {
	passed := up-l.at >= oneDay || !l.looked && !l.began.IsZero() && now.Sub(l.began) >= oneDay
	l.looked = true
	day := l.day.Load()
	if passed {
		day++
	} else if !l.began.IsZero() && !now.Before(l.began) {
		return nil
	}
	err := l.guard(func() error { return l.db.Set([]byte{keyDay}, dayValue(day, now), pebble.Sync) })
	if err != nil {
		return wrap("ledger", err)
	}
	l.began = now
	if !passed {
		return nil
	}
	l.at = up
	l.day.Store(day)
	if int(day)-1 <= days {
		return nil
	}
	return wrap("ledger", l.guard(func() error { return l.drop(day - uint32(days)) }))
}

// dayValue returns the value of keyDay.
func dayValue(day uint32, began time.Time) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, day), uint64(began.Unix()))
}

// dropAtOnce is how many keys one batch of drop deletes.
const dropAtOnce = 1000

// drop deletes the entries stored before a day. It also deletes the keys of an older program,
// because the ledger has now counted all days for which they had to be kept.
func (l *ledger) drop(before uint32) error {
	it, err := l.db.NewIter(&pebble.IterOptions{LowerBound: forgetKey(0), UpperBound: forgetKey(before)})
	if err != nil {
		return err
	}
	batch := l.db.NewBatch()
	for ok := it.First(); ok; ok = it.Next() {
		key := it.Key()
		err = errors.Join(batch.Delete(key[len(forgetKey(0)):], nil), batch.Delete(key, nil))
		if err == nil && batch.Count() >= 2*dropAtOnce {
			err = batch.Commit(pebble.NoSync)
			batch.Reset()
		}
		if err != nil {
			break
		}
	}
	if err == nil {
		err = batch.Commit(pebble.NoSync)
	}
	if err = errors.Join(err, it.Close(), batch.Close()); err != nil || !l.older.Load() {
		return err
	}
	l.older.Store(false)
	return l.db.DeleteRange([]byte{keyOlder}, []byte{keyOlder + 1}, pebble.NoSync)
}

// guard calls f, which calls the engine. The engine may end the goroutine by Fatalf or panic, or
// may never return because it ended another goroutine this way.
func (l *ledger) guard(f func() error) error {
	if err := l.err(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				l.fail(fmt.Errorf("panic: %v", r))
			}
		}()
		done <- f()
	}()
	select {
	case err := <-done:
		if failure := l.err(); failure != nil {
			return failure // of another goroutine: durability is no longer guaranteed
		}
		return err
	case <-l.failed:
		return l.err()
	}
}

func (l *ledger) fail(err error) {
	l.once.Do(func() {
		l.failure = err
		l.log.Error("ledger failed, no mail is stored until the program is restarted", "err", err)
		close(l.failed)
	})
}

// err returns the failure, wrapped in errLedger, or nil.
func (l *ledger) err() error {
	select {
	case <-l.failed:
		return fmt.Errorf("%w: %w", errLedger, l.failure)
	default:
		return nil
	}
}

// listener logs the first failure of background work, which the engine retries at once.
func (l *ledger) listener() *pebble.EventListener {
	ended := func(err error) {
		if err == nil {
			l.troubled.Store(false)
		}
	}
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			if !l.troubled.Swap(true) {
				l.log.Error("ledger: background work failed", "err", err)
			}
		},
		FlushEnd:      func(i pebble.FlushInfo) { ended(i.Err) },
		CompactionEnd: func(i pebble.CompactionInfo) { ended(i.Err) },
	}
}

// ledgerLog is the engine's own log.
type ledgerLog struct{ l *ledger }

// Infof logs the engine's messages at debug level.
func (g ledgerLog) Infof(format string, args ...any) {
	if g.l.log.Enabled(context.Background(), slog.LevelDebug) {
		g.l.log.Debug("ledger: " + fmt.Sprintf(format, args...))
	}
}

// Errorf logs an error that the engine survives.
func (g ledgerLog) Errorf(format string, args ...any) {
	g.l.log.Error("ledger: " + fmt.Sprintf(format, args...))
}

// Fatalf records an error that the engine doesn't survive. It must not return.
func (g ledgerLog) Fatalf(format string, args ...any) {
	g.l.fail(fmt.Errorf(format, args...))
	runtime.Goexit()
}
