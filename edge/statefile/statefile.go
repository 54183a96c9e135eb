// Package statefile stores small state that must survive a crash, each in a file of its own.
//
// What happens to the data: Write creates a new file next to the old one, syncs it, renames it over
// the old one, and syncs the directory. After a crash at any moment, the file is the complete old
// one or the complete new one; once Write has returned nil it is the new one.
package statefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// File is the path of a state file. Its directory must exist.
type File string

// Read returns the content of the file. The error wraps fs.ErrNotExist if there is none. A file of
// more than most bytes is an error too.
func (f File) Read(most int64) ([]byte, error) {
	file, err := os.Open(string(f))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, most+1))
	if err == nil && int64(len(text)) > most {
		return nil, fmt.Errorf("%s: file is larger than %d bytes", f, most)
	}
	return text, err
}

// Write replaces the content of the file, which only its owner can read.
func (f File) Write(text []byte) error {
	next := string(f) + ".new"
	file, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(next, string(f))
	}
	if err != nil {
		return errors.Join(err, os.Remove(next))
	}
	return SyncDir(filepath.Dir(string(f)))
}

// Remove removes the file. A missing file is not an error: an earlier call may have failed after
// removing it.
func (f File) Remove() error {
	if err := os.Remove(string(f)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return SyncDir(filepath.Dir(string(f)))
}

// SyncDir brings the entries of a directory to stable storage.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// OpenRegular opens a regular file to read it. It never blocks on a FIFO without a writer.
func OpenRegular(path string) (*os.File, fs.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}
