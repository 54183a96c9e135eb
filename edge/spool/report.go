package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Report is the result of Check, and of Spool.Report for an open spool.
type Report struct {
	Dir      string
	Open     bool     // by a running node, which wrote the report
	Problems []string // why the node does not open it, or is not ready
	Warnings []string

	Messages     int64 // with an envelope
	Bytes        int64 // of their bodies
	BodyFiles    int64
	BodyBytes    int64
	Damaged      int64 // bodies that are missing or damaged
	Orphans      int64 // body files without envelope
	OrphanBytes  int64 // of them
	Lost         int64 // orphans that were acknowledged
	UnknownFiles int64 // unknown files in the bodies directory
	Aside        []string
}

// Sound reports whether nothing is wrong.
func (r *Report) Sound() bool { return len(r.Problems) == 0 && r.Damaged == 0 && r.Lost == 0 }

// Check checks the store in dir, which no program may have open. It changes nothing.
func Check(dir string) (r Report, err error) {
	fsys := vfs.Default
	r.Dir = dir
	r.Aside = asideFolders(dir)
	if _, err := fsys.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return r, nil // it will be created
	}
	release, err := lockForReading(fsys, dir)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, release()) }()
	made, err := checkStore(fsys, dir)
	if err != nil {
		return r, fmt.Errorf("spool %s: %w", dir, err)
	}
	in, err := inspect(fsys, dir, made)
	if err != nil {
		return r, fmt.Errorf("spool %s: %w", dir, err)
	}
	r.Problems, r.Warnings = in.problems, in.warnings
	s, err := openSalvage(fsys, dir)
	if err != nil {
		return r, fmt.Errorf("spool %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	for _, id := range s.ids() {
		m, _, selfTest := s.message(id)
		if selfTest {
			continue
		}
		r.Messages++
		r.Bytes += m.Bytes
		if m.Problem != "" {
			r.Damaged++
		}
	}
	if made && exists(fsys, fsys.PathJoin(dir, engineDir)) {
		r.Problems = append(r.Problems, s.problems...)
	}
	for id, path := range s.bodies {
		if _, gone := s.get(keyGone, id); gone {
			continue
		}
		m := s.withFile(Salvaged{}, path, -1)
		r.BodyFiles++
		r.BodyBytes += m.Bytes
		if s.orphans[id] {
			r.Orphans++
			r.OrphanBytes += m.Bytes
			if !strings.HasSuffix(path, draftSuffix) {
				r.Lost++
			}
		}
	}
	if list, err := listBodies(fsys, fsys.PathJoin(dir, bodiesDir)); err == nil {
		r.UnknownFiles = int64(len(list.strange))
	}
	return r, readNote(fsys, dir, &r)
}

// readNote adds what an earlier start has recorded.
func readNote(fsys vfs.FS, dir string, r *Report) error {
	b, err := readWhole(fsys, fsys.PathJoin(dir, attentionFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		r.Problems = append(r.Problems, strings.TrimSpace(line))
	}
	return nil
}

// Report returns the report of an open spool.
func (s *Spool) Report() (Report, error) {
	r := Report{
		Dir: s.options.Dir, Open: true, Messages: s.ledger.messages.Load(), Bytes: s.ledger.bytes.Load(),
		Damaged: s.damagedBodies.Load(), UnknownFiles: s.strange, Aside: asideFolders(s.options.Dir),
	}
	list, err := listBodies(s.fs, s.bodies.dir)
	if err != nil {
		return r, err
	}
	for _, f := range list.files {
		if !f.draft {
			r.BodyFiles++
			r.BodyBytes += f.size
		}
	}
	_, folders, err := orphanFolders(s.fs, s.options.Dir)
	if err != nil {
		return r, err
	}
	for _, l := range folders {
		for _, f := range l.files {
			r.Orphans++
			r.OrphanBytes += f.size
			if !f.draft {
				r.Lost++
			}
		}
	}
	return r, readNote(s.fs, s.options.Dir, &r)
}
