package spool

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"anymx/edge/mail"
)

// bodies is the directory of bodies that are too long for the engine, one file per message, named
// by its ID. A file is complete and synced before its envelope is committed, and is removed only
// after the removal of the envelope is on stable storage, so an envelope always has its file.
//
// Until its envelope is committed the file has draftSuffix. A file with that suffix and without an
// envelope is a draft that a crash cut off: nothing was promised. One without the suffix was
// acknowledged. The removal of its envelope leaves a record, keyGone, until the removal of the file is
// on stable storage, so if there is neither, mail was lost. Both are orphans: Open moves them to
// folders in orphansDir and deletes neither.
type bodies struct {
	fs  vfs.FS
	dir string
	at  vfs.File // the directory, open for syncing

	// forget is called when the removal of files is on stable storage.
	forget func(ids []mail.ID)

	mu        sync.Mutex
	scheduled []mail.ID // files to remove
	unlinked  []mail.ID // removed, but not on stable storage yet
	closed    bool
	poke      chan struct{} // one slot
	over      chan struct{} // closed when sweep has ended
}

// openBodies opens the directory, and creates it if necessary.
func openBodies(fsys vfs.FS, dir string) (*bodies, error) {
	if err := fsys.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("directory of bodies: %w", err)
	}
	at, err := fsys.OpenDir(dir)
	if err != nil {
		return nil, fmt.Errorf("directory of bodies: %w", err)
	}
	return &bodies{fs: fsys, dir: dir, at: at, poke: make(chan struct{}, 1), over: make(chan struct{})}, nil
}

const (
	draftSuffix = ".draft"
	orphansDir  = "orphans"
)

func (b *bodies) path(id mail.ID) string { return b.fs.PathJoin(b.dir, id.String()) }

func (b *bodies) draftPath(id mail.ID) string { return b.path(id) + draftSuffix }

// promote removes the suffix from the file of a draft whose envelope was committed. It doesn't
// sync: after a crash the file may have the suffix again, but its envelope shows that it is
// committed.
func (b *bodies) promote(id mail.ID) error {
	if err := b.fs.Rename(b.draftPath(id), b.path(id)); err != nil {
		return fmt.Errorf("body file %s: %w", id, err)
	}
	return nil
}

// open opens the file of a message. The file still has the suffix if promote has failed.
func (b *bodies) open(id mail.ID) (vfs.File, error) {
	f, err := b.fs.Open(b.path(id), vfs.SequentialReadsOption)
	if errors.Is(err, fs.ErrNotExist) {
		if draft, e := b.fs.Open(b.draftPath(id), vfs.SequentialReadsOption); e == nil {
			return draft, nil
		}
	}
	return f, err
}

// remove removes the file of a message, or of a draft.
func (b *bodies) remove(id mail.ID) error {
	err := b.fs.Remove(b.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		err = b.fs.Remove(b.draftPath(id))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("body file %s: %w", id, err)
	}
	return nil
}

// scheduleRemoval schedules the file of a removed message for removal: unlinking a big file takes a
// while.
func (b *bodies) scheduleRemoval(id mail.ID) {
	b.mu.Lock()
	b.scheduled = append(b.scheduled, id)
	b.mu.Unlock()
	select {
	case b.poke <- struct{}{}:
	default:
	}
}

// sweep removes scheduled files until close. If a removal fails, the next start repeats it, because
// the engine has a record of it.
func (b *bodies) sweep(failed func(error)) {
	defer close(b.over)
	for {
		b.mu.Lock()
		ids, closed := b.scheduled, b.closed
		b.scheduled = nil
		b.mu.Unlock()
		for _, id := range ids {
			if err := b.remove(id); err != nil {
				failed(err)
				continue
			}
			b.mu.Lock()
			b.unlinked = append(b.unlinked, id)
			b.mu.Unlock()
		}
		if len(ids) > 0 {
			continue
		}
		if closed {
			return
		}
		<-b.poke
	}
}

// close waits until all scheduled files are removed.
func (b *bodies) close() error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	select {
	case b.poke <- struct{}{}:
	default:
	}
	<-b.over
	return b.at.Close()
}

// castagnoli is the checksum of body files, which CPUs compute in hardware.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// writeback is how many bytes are written before the kernel is asked to start writing them to disk,
// so that the final sync has little left to do and there are few dirty pages.
const writeback = 1 << 20

// bodyFile is a body being written.
type bodyFile struct {
	b       *bodies
	id      mail.ID
	f       vfs.File // nil when closed
	fd      uintptr
	written int64
	started int64 // passed to writeback so far
	sum     uint32
}

// create creates the file of a draft.
func (b *bodies) create(id mail.ID) (*bodyFile, error) {
	f, err := b.fs.Create(b.draftPath(id), "body")
	if err != nil {
		return nil, fmt.Errorf("body file: %w", err)
	}
	return &bodyFile{b: b, id: id, f: f, fd: f.Fd()}, nil
}

func (f *bodyFile) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	f.sum = crc32.Update(f.sum, castagnoli, p)
	if _, err := f.f.Write(p); err != nil {
		return fmt.Errorf("body file: %w", err)
	}
	f.written += int64(len(p))
	if f.written-f.started >= writeback && f.fd != vfs.InvalidFd {
		// Only a hint: errors show up at the sync.
		_ = unix.SyncFileRange(int(f.fd), f.started, f.written-f.started, unix.SYNC_FILE_RANGE_WRITE)
		f.started = f.written
	}
	return nil
}

// seal brings the file and its name to stable storage.
func (f *bodyFile) seal() error {
	err := f.f.SyncData() // the size is data enough: fdatasync(2)
	err = errors.Join(err, f.f.Close())
	f.f = nil
	if err == nil {
		err = f.b.sync()
	}
	if err != nil {
		return fmt.Errorf("body file: %w", err)
	}
	return nil
}

// sync syncs the directory, and with it earlier removals.
func (b *bodies) sync() error {
	b.mu.Lock()
	ids := b.unlinked
	b.unlinked = nil
	b.mu.Unlock()
	err := b.at.Sync()
	switch {
	case len(ids) == 0:
	case err != nil:
		b.mu.Lock()
		b.unlinked = append(b.unlinked, ids...)
		b.mu.Unlock()
	case b.forget != nil:
		b.forget(ids)
	}
	return err
}

// discard removes the file.
func (f *bodyFile) discard() {
	if f.f != nil {
		_ = f.f.Close()
		f.f = nil
	}
	if err := f.b.fs.Remove(f.b.draftPath(f.id)); err != nil {
		return // it is an orphan at the next start
	}
}
