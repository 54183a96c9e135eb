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

// bodies is the directory of bodies that are too long for the engine, one file
// for each, named by the message's ID. A file is complete and synced before
// its envelope is committed, and is removed only after the removal of the
// envelope is on stable storage, so an envelope always has its file. A file
// without envelope is an orphan, and goes when the spool is opened.
type bodies struct {
	fs  vfs.FS
	dir string
	at  vfs.File // the directory, open for syncing

	mu     sync.Mutex
	doomed []mail.ID // files to remove
	closed bool
	poke   chan struct{} // one slot
	over   chan struct{} // closed when sweep has ended
}

// openBodies opens the directory, and makes it if it is not there.
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

func (b *bodies) path(id mail.ID) string { return b.fs.PathJoin(b.dir, id.String()) }

// list gives the IDs that have a file, and the names that are none of ours.
func (b *bodies) list() (ids []mail.ID, others []string, err error) {
	names, err := b.fs.List(b.dir)
	if err != nil {
		return nil, nil, fmt.Errorf("directory of bodies: %w", err)
	}
	for _, name := range names {
		if id, err := mail.ParseID(name); err == nil {
			ids = append(ids, id)
		} else {
			others = append(others, name)
		}
	}
	return ids, others, nil
}

// size is that of a message's file.
func (b *bodies) size(id mail.ID) (int64, error) {
	info, err := b.fs.Stat(b.path(id))
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (b *bodies) remove(id mail.ID) error {
	if err := b.fs.Remove(b.path(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("body file %s: %w", id, err)
	}
	return nil
}

// doom has the files of messages that are gone removed, by and by: to unlink a
// big file takes the file system a while.
func (b *bodies) doom(id mail.ID) {
	b.mu.Lock()
	b.doomed = append(b.doomed, id)
	b.mu.Unlock()
	select {
	case b.poke <- struct{}{}:
	default:
	}
}

// sweep removes doomed files until close. Whatever it could not remove is an
// orphan at the next start.
func (b *bodies) sweep(failed func(error)) {
	defer close(b.over)
	for {
		b.mu.Lock()
		ids, closed := b.doomed, b.closed
		b.doomed = nil
		b.mu.Unlock()
		for _, id := range ids {
			if err := b.remove(id); err != nil {
				failed(err)
			}
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

// close waits until what is doomed is gone.
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

// castagnoli is the checksum of body files, which the processor computes.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// writeback is how many octets are written before the kernel is asked to
// start on them, so that the sync at the end has little left to do and dirty
// pages stay few.
const writeback = 1 << 20

// bodyFile is a body being written.
type bodyFile struct {
	b       *bodies
	id      mail.ID
	f       vfs.File // nil when closed
	fd      uintptr
	written int64
	started int64 // written back, or on the way
	sum     uint32
}

// create makes the file of a message.
func (b *bodies) create(id mail.ID) (*bodyFile, error) {
	f, err := b.fs.Create(b.path(id), "body")
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
		err = f.b.at.Sync()
	}
	if err != nil {
		return fmt.Errorf("body file: %w", err)
	}
	return nil
}

// discard removes the file.
func (f *bodyFile) discard() {
	if f.f != nil {
		_ = f.f.Close()
		f.f = nil
	}
	_ = f.b.remove(f.id) // else it is an orphan at the next start
}
