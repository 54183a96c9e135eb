package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"anymx/edge/mail"
)

// bodyEntry is one file in the bodies directory.
type bodyEntry struct {
	id    mail.ID
	draft bool // has the suffix of a draft
	size  int64
}

// name returns the name of the file.
func (e *bodyEntry) name() string {
	if e.draft {
		return e.id.String() + draftSuffix
	}
	return e.id.String()
}

// bodyList is what a directory of bodies holds.
type bodyList struct {
	files   []bodyEntry
	strange []string // unknown names
}

// listBodies lists a directory of bodies or of orphans. A missing directory counts as empty.
func listBodies(fsys vfs.FS, dir string) (list bodyList, err error) {
	names, err := fsys.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return list, nil
	}
	if err != nil {
		return list, fmt.Errorf("directory of bodies: %w", err)
	}
	slices.Sort(names)
	for _, name := range names {
		text, draft := strings.CutSuffix(name, draftSuffix)
		id, err := mail.ParseID(text)
		switch {
		case err == nil:
		case name == orphansDir:
			continue
		default:
			list.strange = append(list.strange, name)
			continue
		}
		info, err := fsys.Stat(fsys.PathJoin(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // its message was delivered in the meantime
		}
		if err != nil {
			return list, fmt.Errorf("directory of bodies: %w", err)
		}
		list.files = append(list.files, bodyEntry{id: id, draft: draft, size: info.Size()})
	}
	return list, nil
}

// folderTime is the format of folder names: the time of their creation. It sorts.
const folderTime = "20060102T150405Z"

// keepOrphans moves files to a new folder of orphans. Those that are not drafts were acknowledged:
// before they are moved, a file records for later starts that the operator has to act. In a store
// of an older program a file may be either, and every crash left drafts: they are moved like the
// others, but an update doesn't take the node out of service for them.
func (s *Spool) keepOrphans(orphans []bodyEntry, older bool) error {
	if len(orphans) == 0 {
		return nil
	}
	var lost, bytes int64
	for i := range orphans {
		bytes += orphans[i].size
		if !orphans[i].draft && !older {
			lost++
		}
	}
	now := s.options.Now().UTC().Format(folderTime)
	if lost > 0 {
		text := fmt.Sprintf("%s: %s", now, lostText(lost))
		if err := s.raiseAttention(text); err != nil {
			return err
		}
	}
	top := s.fs.PathJoin(s.bodies.dir, orphansDir)
	folder := s.fs.PathJoin(top, now)
	if err := s.fs.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("orphans: %w", err)
	}
	for i := range orphans {
		name := orphans[i].name()
		if err := s.fs.Rename(s.fs.PathJoin(s.bodies.dir, name), s.fs.PathJoin(folder, name)); err != nil {
			return fmt.Errorf("orphan %s: %w", name, err)
		}
		s.metrics.orphans.Inc()
	}
	for _, dir := range []string{folder, top, s.bodies.dir} {
		if err := syncDir(s.fs, dir); err != nil {
			return err
		}
	}
	log := s.options.Log.Warn
	if lost > 0 {
		log = s.options.Log.Error
	}
	log("spool: body files without an envelope were moved to "+folder, "acknowledged", lost, "drafts", int64(len(orphans))-lost, "bytes", bytes, "of_older_version", older)
	return nil
}

func lostText(n int64) string {
	if n == 1 {
		return "the body of 1 acknowledged message has no envelope, and no record of its delivery"
	}
	return fmt.Sprintf("the bodies of %d acknowledged messages have no envelope, and no record of their delivery", n)
}

// raiseAttention records that the operator has to act, until SetAside.
func (s *Spool) raiseAttention(text string) error {
	before, err := readWhole(s.fs, s.fs.PathJoin(s.options.Dir, attentionFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", attentionFile, err)
	}
	if err := writeWhole(s.fs, s.options.Dir, attentionFile, append(before, text+"\n"...)); err != nil {
		return err
	}
	s.attention.Store(&text)
	return nil
}

// readAttention reads what an earlier start has recorded.
func (s *Spool) readAttention() error {
	b, err := readWhole(s.fs, s.fs.PathJoin(s.options.Dir, attentionFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", attentionFile, err)
	}
	text := strings.ReplaceAll(strings.TrimSpace(string(b)), "\n", "; ")
	s.attention.Store(&text)
	return nil
}

// Attention returns why the operator has to act, or nil. The reason is lost acknowledged mail. It
// persists over restarts until SetAside.
func (s *Spool) Attention() error {
	if text := s.attention.Load(); text != nil {
		return fmt.Errorf("spool: %s; run `anymx spool check` for details, and `anymx spool set-aside` to confirm", *text)
	}
	return nil
}

// orphanFolders lists the folders of orphans, the oldest first.
func orphanFolders(fsys vfs.FS, dir string) (names []string, lists []bodyList, err error) {
	top := fsys.PathJoin(dir, bodiesDir, orphansDir)
	names, err = fsys.List(top)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("orphans: %w", err)
	}
	slices.Sort(names)
	for _, name := range names {
		list, err := listBodies(fsys, fsys.PathJoin(top, name))
		if err != nil {
			return nil, nil, err
		}
		lists = append(lists, list)
	}
	return names, lists, nil
}

// pruneOrphans removes drafts that are too old or too many, the oldest first. Bodies of
// acknowledged messages stay, and so does everything while Attention is set.
func (s *Spool) pruneOrphans() error {
	s.orphans.mu.Lock()
	defer s.orphans.mu.Unlock()
	names, lists, err := orphanFolders(s.fs, s.options.Dir)
	if err != nil {
		return err
	}
	var bytes, files int64
	for _, l := range lists {
		for _, f := range l.files {
			bytes += f.size
			files++
		}
	}
	for i, name := range names {
		made, err := time.Parse(folderTime, name)
		old := err == nil && s.options.Now().Sub(made) > s.options.OrphansKeep
		if s.attention.Load() != nil || !old && bytes <= s.options.OrphansMax {
			break
		}
		removed, size, err := s.removeDrafts(s.fs.PathJoin(s.bodies.dir, orphansDir, name), &lists[i])
		if err != nil {
			return err
		}
		bytes, files = bytes-size, files-removed
		if removed > 0 {
			s.options.Log.Warn("spool: removed drafts that a crash had cut off", "folder", name, "files", removed, "bytes", size)
		}
	}
	s.orphans.files.Store(files)
	s.orphans.bytes.Store(bytes)
	return nil
}

// removeDrafts removes the drafts in a folder of orphans, and the folder if nothing else is there.
func (s *Spool) removeDrafts(folder string, list *bodyList) (removed, size int64, err error) {
	for i := range list.files {
		f := &list.files[i]
		if !f.draft {
			continue
		}
		if err := s.fs.Remove(s.fs.PathJoin(folder, f.name())); err != nil {
			return removed, size, fmt.Errorf("orphan %s: %w", f.name(), err)
		}
		removed, size = removed+1, size+f.size
	}
	if int(removed) == len(list.files) && len(list.strange) == 0 {
		if err := s.fs.Remove(folder); err != nil {
			return removed, size, fmt.Errorf("orphans: %w", err)
		}
	}
	return removed, size, nil
}
