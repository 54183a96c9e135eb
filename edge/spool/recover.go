package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"anymx/edge/mail"
)

// Schema is the version of the store's layout: names of files, kinds of keys. It changes when older
// programs would misread the store.
const Schema = 1

// versionText is the start of DIR/VERSION; the number follows.
const versionText = "anymx spool "

// prepare checks the version of the store in dir, or creates a new one, locks it and inspects it.
// It doesn't change a store of a newer version, or one that is Unsound.
func prepare(fsys vfs.FS, dir string) (io.Closer, *inspection, error) {
	made, err := checkStore(fsys, dir)
	if err != nil {
		return nil, nil, err
	}
	if !made {
		if err := makeDir(fsys, dir); err != nil {
			return nil, nil, err
		}
	}
	lock, err := lockStore(fsys, dir)
	if err != nil {
		return nil, nil, err
	}
	in, err := inspect(fsys, dir, made)
	if err == nil && len(in.problems) > 0 {
		err = newUnsound(fsys, dir, in.problems)
	}
	if err == nil && !made {
		err = writeVersion(fsys, dir)
	}
	if err != nil {
		return nil, nil, errors.Join(err, lock.Close())
	}
	return lock, in, nil
}

// lockStore locks a store.
func lockStore(fsys vfs.FS, dir string) (io.Closer, error) {
	lock, err := fsys.Lock(fsys.PathJoin(dir, "LOCK"))
	if err != nil {
		if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
			return nil, fmt.Errorf("lock: %w", err)
		}
		return nil, fmt.Errorf("%w: %w", ErrLocked, err)
	}
	return lock, nil
}

// checkStore reports whether there is a store in dir, or why it can't be opened.
func checkStore(fsys vfs.FS, dir string) (made bool, err error) {
	f, err := fsys.Open(fsys.PathJoin(dir, versionFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("version: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(f, 64))
	if err = errors.Join(err, f.Close()); err != nil {
		return false, fmt.Errorf("version: %w", err)
	}
	number, ok := strings.CutPrefix(strings.TrimSpace(string(text)), versionText)
	n, err := strconv.Atoi(number)
	switch {
	case !ok || err != nil || n < 1:
		return false, fmt.Errorf("version: %q is not a version of this program", text)
	case n > Schema:
		return false, fmt.Errorf("schema %d: %w", n, ErrNewer)
	}
	err = checkFormat(fsys, fsys.PathJoin(dir, engineDir))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // the first start was interrupted
	}
	return true, err
}

// makeDir creates dir and its parents, and syncs their entries.
func makeDir(fsys vfs.FS, dir string) error {
	var parents []string // of the missing directories
	if _, err := fsys.Stat(dir); err == nil {
		// An earlier start may have been interrupted before this.
		parents = append(parents, fsys.PathDir(dir))
	}
	for d := dir; ; d = fsys.PathDir(d) {
		if _, err := fsys.Stat(d); !errors.Is(err, fs.ErrNotExist) || fsys.PathDir(d) == d {
			break
		}
		parents = append(parents, fsys.PathDir(d))
	}
	if err := fsys.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("directory: %w", err)
	}
	for _, d := range parents {
		if err := syncDir(fsys, d); err != nil {
			return err
		}
	}
	return nil
}

// writeVersion marks a new store.
func writeVersion(fsys vfs.FS, dir string) error {
	return writeWhole(fsys, dir, versionFile, []byte(versionText+strconv.Itoa(Schema)+"\n"))
}

func syncDir(fsys vfs.FS, dir string) error {
	f, err := fsys.OpenDir(dir)
	if err == nil {
		err = errors.Join(f.Sync(), f.Close())
	}
	if err != nil {
		return fmt.Errorf("directory %s: %w", dir, err)
	}
	return nil
}

// recover counts the content of the store, compares it with the last Close, moves orphans away,
// removes self-tests, and makes sure that new IDs are greater than existing ones.
func (s *Spool) recover(in *inspection) error {
	if err := syncDir(s.fs, s.options.Dir); err != nil { // the entries of bodies and engine
		return err
	}
	found, err := s.count()
	if err == nil {
		err = s.compareClosing(in.closed)
	}
	if err == nil {
		err = s.dropSelfTests(found.selfTests)
	}
	if err != nil {
		return err
	}
	gone, err := s.goneFiles()
	if err == nil {
		err = s.recoverBodies(found.inFile, gone, in.older)
	}
	if err == nil {
		err = s.forgetFiles(gone)
	}
	if err != nil {
		return err
	}
	if err := s.engine.run(func() error { return s.dropRecords(found.orphans) }); err != nil {
		return err
	}
	s.start, s.since = s.options.Now(), time.Now()
	if t := found.newest.Time(); !t.Before(s.start) {
		s.start = t.Add(time.Millisecond)
	}
	return nil
}

// eachHeader iterates over all messages, oldest first. record must not be kept.
func (s *Spool) eachHeader(yield func(id mail.ID, h header, record []byte) error) (err error) {
	it, err := s.engine.scan(keyEnvelope)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		id, h, record, err := envelopeAt(it)
		if err != nil {
			return err
		}
		if err := yield(id, h, record); err != nil {
			return err
		}
	}
	return it.Error()
}

func envelopeAt(it *pebble.Iterator) (mail.ID, header, []byte, error) {
	id, ok := idOf(it.Key())
	if !ok {
		return id, header{}, nil, fmt.Errorf("key %q: %w", it.Key(), errRecord)
	}
	v, err := it.ValueAndErr()
	if err != nil {
		return id, header{}, nil, fmt.Errorf("envelope %s: %w", id, err)
	}
	h, err := decodeHeader(v)
	if err != nil {
		return id, header{}, nil, fmt.Errorf("envelope %s: %w", id, err)
	}
	return id, h, v, nil
}

// goneFiles returns the removed messages whose files may still exist.
func (s *Spool) goneFiles() (gone map[mail.ID]bool, err error) {
	it, err := s.engine.scan(keyGone)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	gone = make(map[mail.ID]bool)
	for ok := it.First(); ok; ok = it.Next() {
		id, ok := idOf(it.Key())
		if !ok {
			return nil, fmt.Errorf("key %q: %w", it.Key(), errRecord)
		}
		gone[id] = true
	}
	return gone, it.Error()
}

// forgetFiles deletes the keyGone records of gone, after the removal of the files is on stable
// storage.
func (s *Spool) forgetFiles(gone map[mail.ID]bool) error {
	if len(gone) == 0 {
		return nil
	}
	if err := s.bodies.at.Sync(); err != nil {
		return fmt.Errorf("directory of bodies: %w", err)
	}
	return s.engine.run(func() error {
		batch := s.engine.db.NewBatch()
		defer batch.Close()
		for id := range gone {
			eraseKey(batch, keyGone, id)
		}
		if err := batch.Commit(pebble.Sync); err != nil {
			return fmt.Errorf("engine: %w", err)
		}
		return nil
	})
}

// compareClosing compares the counts with those of the last Close.
func (s *Spool) compareClosing(c *closing) error {
	messages, bytes := s.ledger.messages.Load(), s.ledger.bytes.Load()
	if c != nil && (c.Messages != messages || c.Bytes != bytes) {
		return s.unsound(fmt.Sprintf("the engine has %d messages with %d bytes, but had %d with %d bytes when the spool was closed", messages, bytes, c.Messages, c.Bytes))
	}
	return removeSynced(s.fs, s.options.Dir, closedFile)
}

// recoverBodies removes the files of removed messages, moves those without envelope to the orphans,
// and reports envelopes without file. want has the size of each file that must exist. older says
// that drafts may have no suffix.
func (s *Spool) recoverBodies(want map[mail.ID]int64, gone map[mail.ID]bool, older bool) error {
	list, err := listBodies(s.fs, s.bodies.dir)
	if err != nil {
		return err
	}
	var orphans []bodyEntry
	for _, f := range list.files {
		size, ok := want[f.id]
		switch {
		case ok:
			delete(want, f.id)
			if f.size != size {
				s.damaged(f.id, "size", f.size, "want", size)
			}
			if f.draft {
				err = s.bodies.promote(f.id)
			}
		case gone[f.id]:
			err = s.bodies.remove(f.id)
		default:
			orphans = append(orphans, f)
		}
		if err != nil {
			return err
		}
	}
	for id := range want {
		s.damaged(id, "err", "file is missing")
	}
	if s.strange = int64(len(list.strange)); s.strange > 0 {
		s.options.Log.Warn("spool: unknown files in the bodies directory, ignored", "count", s.strange, "first", list.strange[0])
	}
	if err := s.readAttention(); err != nil {
		return err
	}
	if err := s.keepOrphans(orphans, older); err != nil {
		return err
	}
	if err := s.pruneOrphans(); err != nil {
		return err
	}
	if err := s.Attention(); err != nil {
		s.options.Log.Error("spool: the node is not ready until the operator has acted", "err", err)
	}
	return nil
}

// damaged reports a damaged body. The message stays, for the operator to decide.
func (s *Spool) damaged(id mail.ID, what ...any) {
	s.damagedBodies.Add(1)
	s.metrics.errors.corruption.Inc()
	s.options.Log.Error("spool: body file is damaged", append([]any{"id", id.String()}, what...)...)
}

func (s *Spool) dropRecords(orphans [][]byte) error {
	for _, k := range orphans {
		// Synced, like each record of the log: see audit.
		if err := s.engine.db.Delete(k, pebble.Sync); err != nil {
			return fmt.Errorf("engine: %w", err)
		}
		s.metrics.orphans.Inc()
	}
	return nil
}

// compareKey compares the ID in a key with id.
func compareKey(k []byte, id mail.ID) int {
	return bytes.Compare(k[1:keySize], id[:])
}
