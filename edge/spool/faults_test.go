package spool

import (
	"bytes"
	"io"
	"os"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// faultFS is a file system whose write operations can be made to fail. All ways to open a file for
// writing go through it, including the reuse of an old log.
type faultFS struct {
	vfs.FS
	// fail decides on each operation before it runs; nil: none fails.
	fail func(op, path string) error
	// names makes a rename atomic for concurrent syncs: the library's own file system removes the
	// old name and then adds the new one, and a sync in between would persist neither.
	names sync.RWMutex
}

// memory returns an empty file system in memory. Under the race detector the library's own modifies
// the buffers that it was given to write, to find callers that rely on them; a caller of
// Draft.Write may do so.
func memory() *faultFS { return &faultFS{FS: vfs.NewMem()} }

// crashable returns one that can be cloned as a crash would leave it.
func crashable() (*faultFS, *vfs.MemFS) {
	mem := vfs.NewCrashableMem()
	return &faultFS{FS: mem}, mem
}

func (f *faultFS) check(op, path string) error {
	if f.fail == nil {
		return nil
	}
	return f.fail(op, path)
}

func (f *faultFS) file(file vfs.File, path string, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &faultFile{File: file, fs: f, path: path}, nil
}

func (f *faultFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.check("create", name); err != nil {
		return nil, err
	}
	file, err := f.FS.Create(name, c)
	return f.file(file, name, err)
}

func (f *faultFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if err := f.check("open for writing", name); err != nil {
		return nil, err
	}
	file, err := f.FS.OpenReadWrite(name, c, opts...)
	return f.file(file, name, err)
}

func (f *faultFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.check("reuse", name); err != nil {
		return nil, err
	}
	file, err := f.FS.ReuseForWrite(old, name, c)
	return f.file(file, name, err)
}

func (f *faultFS) OpenDir(name string) (vfs.File, error) {
	file, err := f.FS.OpenDir(name)
	return f.file(file, name, err)
}

func (f *faultFS) Link(old, name string) error {
	if err := f.check("link", name); err != nil {
		return err
	}
	return f.FS.Link(old, name)
}

func (f *faultFS) Rename(old, name string) error {
	if err := f.check("rename", name); err != nil {
		return err
	}
	f.names.Lock()
	defer f.names.Unlock()
	return f.FS.Rename(old, name)
}

func (f *faultFS) Remove(name string) error {
	if err := f.check("remove", name); err != nil {
		return err
	}
	return f.FS.Remove(name)
}

func (f *faultFS) MkdirAll(dir string, perm os.FileMode) error {
	if err := f.check("mkdir", dir); err != nil {
		return err
	}
	return f.FS.MkdirAll(dir, perm)
}

func (f *faultFS) Lock(name string) (io.Closer, error) {
	if err := f.check("lock", name); err != nil {
		return nil, err
	}
	return f.FS.Lock(name)
}

func (f *faultFS) Unwrap() vfs.FS { return f.FS }

type faultFile struct {
	vfs.File
	fs   *faultFS
	path string
}

func (f *faultFile) Write(p []byte) (int, error) {
	if err := f.fs.check("write", f.path); err != nil {
		return 0, err
	}
	return f.File.Write(bytes.Clone(p))
}

func (f *faultFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fs.check("write", f.path); err != nil {
		return 0, err
	}
	return f.File.WriteAt(bytes.Clone(p), off)
}

func (f *faultFile) Sync() error {
	if err := f.fs.check("sync", f.path); err != nil {
		return err
	}
	f.fs.names.RLock()
	defer f.fs.names.RUnlock()
	return f.File.Sync()
}

func (f *faultFile) SyncData() error {
	if err := f.fs.check("sync", f.path); err != nil {
		return err
	}
	return f.File.SyncData()
}
