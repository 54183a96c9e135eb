package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// asideName is the folder next to a store for what was set aside.
const asideName = "spool-aside"

// asideFolders lists what was set aside of the store in dir.
func asideFolders(dir string) (list []string) {
	names, _ := os.ReadDir(filepath.Join(filepath.Dir(dir), asideName))
	for _, n := range names {
		list = append(list, filepath.Join(filepath.Dir(dir), asideName, n.Name()))
	}
	return list
}

// SetAside moves the store in dir, which no program may have open, to a new folder next to it, and returns its path. The next Open creates a new store.
func SetAside(dir string, now time.Time) (to string, err error) {
	fsys := vfs.Default
	if _, err := fsys.Stat(dir); err != nil {
		return "", fmt.Errorf("spool: %w", err)
	}
	lock, err := lockStore(fsys, dir)
	if err != nil {
		return "", fmt.Errorf("spool %s: %w", dir, err)
	}
	to, err = newAside(fsys, dir, now)
	if err == nil {
		err = fsys.Rename(dir, to)
	}
	for _, d := range []string{filepath.Dir(to), filepath.Dir(dir)} {
		if err == nil {
			err = syncDir(fsys, d)
		}
	}
	return to, errors.Join(err, lock.Close())
}

// newAside returns the name of a new folder for what is set aside, and creates its parent.
func newAside(fsys vfs.FS, dir string, now time.Time) (string, error) {
	top := fsys.PathJoin(fsys.PathDir(dir), asideName)
	to := fsys.PathJoin(top, now.UTC().Format(folderTime))
	for n := 2; exists(fsys, to); n++ {
		to = fsys.PathJoin(top, fmt.Sprintf("%s-%d", now.UTC().Format(folderTime), n))
	}
	if err := fsys.MkdirAll(top, 0o700); err != nil {
		return "", fmt.Errorf("set aside: %w", err)
	}
	return to, nil
}

// SetAside moves the orphans to a folder next to the spool, and clears Attention. It returns "" if there was nothing to move.
func (s *Spool) SetAside() (to string, err error) {
	if err := s.reading(); err != nil {
		return "", err
	}
	defer s.readers.done()
	s.orphans.mu.Lock()
	defer s.orphans.mu.Unlock()
	orphans := s.fs.PathJoin(s.bodies.dir, orphansDir)
	if exists(s.fs, orphans) {
		if to, err = newAside(s.fs, s.options.Dir, s.options.Now()); err != nil {
			return "", err
		}
		bodies := s.fs.PathJoin(to, bodiesDir)
		err = s.fs.MkdirAll(bodies, 0o700)
		if err == nil {
			err = s.fs.Rename(orphans, s.fs.PathJoin(bodies, orphansDir))
		}
		for _, d := range []string{bodies, to, s.fs.PathDir(to), s.fs.PathDir(s.options.Dir), s.bodies.dir} {
			if err == nil {
				err = syncDir(s.fs, d)
			}
		}
		if err != nil {
			return "", fmt.Errorf("set aside: %w", err)
		}
	}
	if err := removeSynced(s.fs, s.options.Dir, attentionFile); err != nil {
		return to, err
	}
	s.attention.Store(nil)
	s.orphans.files.Store(0)
	s.orphans.bytes.Store(0)
	return to, nil
}
