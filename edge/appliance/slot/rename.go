package slot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// What is written here is written to a FAT file system, which has no journal: a
// name is changed by one or two sectors of its directory. A power cut in the
// middle may leave the old name, the new one, both, or, if the two sectors lie
// apart and only the one with the old name was written, neither. That is why the
// entries of the two slots are never renamed without a sync between them, and
// the one that is to be booted is made good first.

// Rename gives the entry e of the ESP the counts of as, and removes spare, further
// entries of the same version. It returns when that is on stable storage. There
// is nothing to do for an entry that has that name, and no spares.
func Rename(esp string, e, as Entry, spare ...Entry) (Entry, error) {
	dir := filepath.Join(esp, entriesDir)
	if e.Version != as.Version {
		return e, fmt.Errorf("boot entry %s can't become one of version %s", e.File, as.Version)
	}
	as.File = as.Name()
	changed := false
	if e.File != as.File && !sameCounts(e, as) {
		if err := os.Rename(filepath.Join(dir, e.File), filepath.Join(dir, as.File)); err != nil {
			return e, fmt.Errorf("boot entry: %w", err)
		}
		changed = true
	} else {
		as.File = e.File
	}
	for _, s := range spare {
		if s.Version != as.Version || s.File == as.File {
			continue
		}
		if err := os.Remove(filepath.Join(dir, s.File)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return as, fmt.Errorf("boot entry: %w", err)
		}
		changed = true
	}
	if !changed {
		return as, nil
	}
	return as, syncESP(dir)
}

// sameCounts says that two names mean the same: "+3-0" is "+3".
func sameCounts(a, b Entry) bool { return a.Left == b.Left && a.Done == b.Done }

// Remove takes boot entries away, and returns when that is on stable storage.
func Remove(esp string, entries ...Entry) error {
	dir := filepath.Join(esp, entriesDir)
	for _, e := range entries {
		if err := os.Remove(filepath.Join(dir, e.File)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("boot entry: %w", err)
		}
	}
	return syncESP(dir)
}

// syncESP brings all of the ESP to stable storage: FAT keeps what a directory
// says about a file in no inode that a sync of the directory alone would be sure to
// reach.
func syncESP(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("ESP: %w", err)
	}
	defer d.Close()
	if err := errors.Join(d.Sync(), unix.Syncfs(int(d.Fd()))); err != nil {
		return fmt.Errorf("ESP: sync: %w", err)
	}
	return nil
}

// Path is where an entry lies.
func (t *Table) Path(e Entry) string { return filepath.Join(t.ESP, entriesDir, e.File) }
