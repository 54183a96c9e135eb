package spool

import (
	"fmt"
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// guard is the file system that the engine works on. The first error of a
// writing operation fails the engine, and the goroutine that met it goes no
// further: the engine never learns of it.
//
// Pebble would not survive most of them anyway, and not in a way that leaves
// us the choice: where a log can't be made or closed it panics with a lock in
// a state that ends the process even if the panic is recovered, and where a
// table can't be finished it can meet a nil pointer in a goroutine of its own.
// After a failed sync, what the kernel has kept is unknown, and trying again
// would only look like success.
type guard struct {
	vfs.FS
	fail func(error)
}

// must returns unless err is an error that the engine must not see.
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

// Unwrap gives the file system beneath.
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
