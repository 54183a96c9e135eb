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

// ledger remembers which message of which node was stored in which mailbox, for
// longer than a node keeps trying. Its keys begin with the day that the message
// came to its node, so that forgetting is one range. It is bounded by what comes
// in these days: some 60 octets for each message and mailbox.
//
// When the engine below can't promise durability any more, the ledger has
// failed: every call returns an error until the program is started again.
type ledger struct {
	db  *pebble.DB
	log *slog.Logger

	failed  chan struct{} // closed at the first failure that can't be survived
	once    sync.Once
	failure error // set before failed is closed

	troubled  atomic.Bool   // the last flush or compaction failed, which was logged
	forgotten atomic.Uint32 // the days before this one are
}

// errLedger is wrapped by the errors of a ledger that has failed.
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
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	return l, nil
}

// close ends the engine. After a failure that can't be done, and what it holds
// ends with the program.
func (l *ledger) close() error {
	if err := l.err(); err != nil {
		return err
	}
	return wrap("ledger", l.db.Close())
}

// ledgerKey is day, identity, mailbox.
func ledgerKey(who identity, box string) []byte {
	key := make([]byte, 0, 4+len(who.id)+len(who.node)+1+len(box))
	key = binary.BigEndian.AppendUint32(key, who.day())
	key = append(append(append(key, who.id[:]...), who.node...), 0)
	return append(key, box...)
}

// knows says whether the message was stored in box.
func (l *ledger) knows(who identity, box string) (bool, error) {
	if err := l.err(); err != nil {
		return false, err
	}
	_, closer, err := l.db.Get(ledgerKey(who, box))
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("ledger: %w", err)
	}
	return true, closer.Close()
}

// remember writes down, synced, that the message is stored in all of boxes.
func (l *ledger) remember(who identity, boxes []string) error {
	return wrap("ledger", l.guard(func() error {
		batch := l.db.NewBatch()
		for _, box := range boxes {
			if err := batch.Set(ledgerKey(who, box), nil, nil); err != nil {
				return err
			}
		}
		if err := batch.Commit(pebble.Sync); err != nil {
			return err
		}
		return batch.Close()
	}))
}

// forget drops what came to its node before the day of then.
func (l *ledger) forget(then time.Time) error {
	day := uint32(max(then.Unix()/secondsPerDay, 0))
	if l.forgotten.Swap(day) == day {
		return nil
	}
	return wrap("ledger", l.guard(func() error {
		return l.db.DeleteRange(make([]byte, 4), binary.BigEndian.AppendUint32(nil, day), pebble.NoSync)
	}))
}

// guard calls f, which calls the engine, where the engine may end the goroutine
// by Fatalf or panic, or never come back because another was ended so.
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
			return failure // of another goroutine: nothing is promised any more
		}
		return err
	case <-l.failed:
		return l.err()
	}
}

func (l *ledger) fail(err error) {
	l.once.Do(func() {
		l.failure = err
		l.log.Error("ledger failed; nothing more is stored until the program is started again", "err", err)
		close(l.failed)
	})
}

// err is the failure, wrapped in errLedger, or nil.
func (l *ledger) err() error {
	select {
	case <-l.failed:
		return fmt.Errorf("%w: %w", errLedger, l.failure)
	default:
		return nil
	}
}

// listener logs the first of the failures of background work, which the engine
// tries again at once.
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

// Infof is the engine's chatter.
func (g ledgerLog) Infof(format string, args ...any) {
	if g.l.log.Enabled(context.Background(), slog.LevelDebug) {
		g.l.log.Debug("ledger: " + fmt.Sprintf(format, args...))
	}
}

// Errorf is for what the engine survives.
func (g ledgerLog) Errorf(format string, args ...any) {
	g.l.log.Error("ledger: " + fmt.Sprintf(format, args...))
}

// Fatalf is for what it does not survive. It must not return.
func (g ledgerLog) Fatalf(format string, args ...any) {
	g.l.fail(fmt.Errorf(format, args...))
	runtime.Goexit()
}
