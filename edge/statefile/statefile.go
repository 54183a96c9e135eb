// Package statefile keeps what a program must know after a crash: small texts,
// each in a file of its own.
//
// What happens to the data: Write puts it into a new file beside the old one,
// syncs it, renames it over the old one, and syncs the directory. After a crash
// at any moment the file is the old one or the new one, whole; when Write has
// returned nil it is the new one.
package statefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// File is the path of a state file. Its directory must be there.
type File string

// Read returns what stands in the file. The error wraps fs.ErrNotExist if there
// is none; more than most octets are an error too.
func (f File) Read(most int64) ([]byte, error) {
	file, err := os.Open(string(f))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, most+1))
	if err == nil && int64(len(text)) > most {
		return nil, fmt.Errorf("%s: it has more than %d octets", f, most)
	}
	return text, err
}

// Write makes text what stands in the file, readable by its owner alone.
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

// Remove takes the file away. That there is none is no error: an earlier attempt
// may have failed behind this point.
func (f File) Remove() error {
	if err := os.Remove(string(f)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return SyncDir(filepath.Dir(string(f)))
}

// SyncDir brings the names in a directory to stable storage.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
