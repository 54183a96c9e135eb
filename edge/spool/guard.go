package spool

import (
	"fmt"
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// guard is the file system of the engine. The first error of a write operation makes the engine
// fail, and blocks the goroutine that ran it: the engine never sees the error.
//
// Pebble would not survive most of these errors anyway, and not gracefully: if a log can't be
// created or closed, it panics with a lock in a state that ends the process even if the panic is
// recovered; if a table can't be finished, it can dereference a nil pointer in a goroutine of its
// own. After a failed sync it is unknown what the kernel has kept, and a retry would only seem to
// succeed.
type guard struct {
	vfs.FS
	fail func(error)
}

// must blocks forever if err is not nil, after making the engine fail.
func (g *guard) must(op, path string, err error) {
	if err == nil {
		return
	}
	g.fail(fmt.Errorf("%s %s: %w", op, path, err))
	select {} // until the process ends
}

func (g *guard) file(op, path string, f vfs.File, err error) (vfs.File, error) {
	g.must(op, path, err)
	return &guardedFile{File: f, guard: g, path: path}, nil
}

func (g *guard) Create(path string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := g.FS.Create(path, c)
	return g.file("create", path, f, err)
}

func (g *guard) OpenReadWrite(path string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := g.FS.OpenReadWrite(path, c, o...)
	return g.file("open", path, f, err)
}

func (g *guard) ReuseForWrite(old, path string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := g.FS.ReuseForWrite(old, path, c)
	return g.file("reuse", path, f, err)
}

func (g *guard) OpenDir(path string) (vfs.File, error) {
	f, err := g.FS.OpenDir(path)
	if err != nil {
		return nil, err
	}
	return &guardedFile{File: f, guard: g, path: path}, nil
}

func (g *guard) Link(old, path string) error {
	g.must("link", path, g.FS.Link(old, path))
	return nil
}

func (g *guard) Rename(old, path string) error {
	g.must("rename", path, g.FS.Rename(old, path))
	return nil
}

func (g *guard) MkdirAll(path string, perm os.FileMode) error {
	g.must("make directory", path, g.FS.MkdirAll(path, perm))
	return nil
}

// Unwrap returns the underlying file system.
func (g *guard) Unwrap() vfs.FS { return g.FS }

type guardedFile struct {
	vfs.File
	guard *guard
	path  string
}

func (f *guardedFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	f.guard.must("write", f.path, err)
	return n, nil
}

func (f *guardedFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	f.guard.must("write", f.path, err)
	return n, nil
}

func (f *guardedFile) Sync() error {
	f.guard.must("sync", f.path, f.File.Sync())
	return nil
}

func (f *guardedFile) SyncData() error {
	f.guard.must("sync", f.path, f.File.SyncData())
	return nil
}

func (f *guardedFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	f.guard.must("sync", f.path, err)
	return full, nil
}

func (f *guardedFile) Close() error {
	f.guard.must("close", f.path, f.File.Close())
	return nil
}
