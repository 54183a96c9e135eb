package slot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// This file writes to a FAT file system, which has no journal: renaming changes one or two sectors
// of the directory. A power cut in the middle may leave the old name, the new one, both, or, if the
// two sectors are apart and only the one with the old name was written, neither. That is why the
// entries of the two slots are never renamed without a sync between them, and the one that should
// boot is made good first.

// Rename gives the entry e of the ESP the counts of as, and removes spare, further entries of the
// same version. It returns when that is on stable storage. It does nothing for an entry that
// already has that name and no spares.
func Rename(esp string, e, as Entry, spare ...Entry) (Entry, error) {
	dir := filepath.Join(esp, entriesDir)
	if e.Version != as.Version {
		return e, fmt.Errorf("boot entry %s can't be renamed to version %s", e.File, as.Version)
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

// sameCounts reports whether two names mean the same: "+3-0" is "+3".
func sameCounts(a, b Entry) bool { return a.Left == b.Left && a.Done == b.Done }

// Remove removes boot entries, and returns when that is on stable storage.
func Remove(esp string, entries ...Entry) error {
	dir := filepath.Join(esp, entriesDir)
	for _, e := range entries {
		if err := os.Remove(filepath.Join(dir, e.File)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("boot entry: %w", err)
		}
	}
	return syncESP(dir)
}

// syncESP writes the whole ESP to stable storage: FAT stores a file's directory entry in no inode
// that a sync of the directory alone would be sure to reach.
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

// Path returns the path of an entry.
func (t *Table) Path(e Entry) string { return filepath.Join(t.ESP, entriesDir, e.File) }
