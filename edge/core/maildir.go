package core

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// maildirs holds the Maildirs, DIR/<domain>/<local part>/{tmp,new,cur}, and DIR/.incoming for
// messages being received. mailboxOf names the mailboxes.
type maildirs struct {
	fs    vfs.FS
	dir   string
	files atomic.Uint64 // created in .incoming since the start

	mu   sync.Mutex
	made map[string]struct{} // mailboxes known to be durable, with all directories above; bounded
}

const (
	incomingDir = ".incoming"
	maxMade     = 100_000
	// maxSyncs is how many directories one message syncs concurrently.
	maxSyncs = 16
)

// openMaildirs creates the directories and drops messages that were being received when the program
// ended: none of them was acknowledged. No other program may have them open.
func openMaildirs(fs vfs.FS, dir string) (*maildirs, error) {
	m := &maildirs{fs: fs, dir: dir, made: make(map[string]struct{})}
	way := fs.PathJoin(dir, incomingDir)
	if err := makeDir(fs, way); err != nil {
		return nil, fmt.Errorf("mail directory: %w", err)
	}
	left, err := fs.List(way)
	if err != nil {
		return nil, fmt.Errorf("mail directory: %w", err)
	}
	for _, name := range left {
		if err := fs.Remove(fs.PathJoin(way, name)); err != nil {
			return nil, fmt.Errorf("mail directory: %w", err)
		}
	}
	return m, nil
}

// create creates a file for a message.
func (m *maildirs) create() (file vfs.File, name string, err error) {
	name = m.fs.PathJoin(m.dir, incomingDir, strconv.FormatUint(m.files.Add(1), 10))
	file, err = m.fs.Create(name, vfs.WriteCategoryUnspecified)
	return file, name, err
}

// deliver links file, which is synced, durably into new/ of all boxes as name. An existing name is
// the same message. It returns an error or nil for each box. boxes must not have duplicates.
func (m *maildirs) deliver(file, name string, boxes []string) []error {
	errs := make([]error, len(boxes))
	m.ensure(boxes, errs)
	for i, box := range boxes {
		if errs[i] == nil {
			errs[i] = m.link(file, name, box)
		}
	}
	// Links before syncs: a file system with a journal then writes it once.
	each(len(boxes), func(i int) {
		if errs[i] != nil {
			return
		}
		if err := syncDir(m.fs, m.newDir(boxes[i])); err != nil {
			// A later sync may succeed without having written this.
			errs[i] = errors.Join(wrap("mailbox", err), m.undo(name, boxes[i]))
		}
	})
	return errs
}

// undo removes name from box, which was not acknowledged yet.
func (m *maildirs) undo(name, box string) error {
	return wrap("mailbox", m.fs.Remove(m.fs.PathJoin(m.newDir(box), name)))
}

func (m *maildirs) newDir(box string) string { return m.fs.PathJoin(m.dir, box, "new") }

func (m *maildirs) link(file, name, box string) error {
	to := m.fs.PathJoin(m.newDir(box), name)
	err := m.fs.Link(file, to)
	if errors.Is(err, iofs.ErrNotExist) {
		// The mailbox was removed after we created it.
		m.forget(box)
		var again [1]error
		if m.ensure([]string{box}, again[:]); again[0] != nil {
			return again[0]
		}
		err = m.fs.Link(file, to)
	}
	if errors.Is(err, iofs.ErrExist) {
		return nil
	}
	return wrap("mailbox", err)
}

// ensure creates the directories of boxes and syncs their parents.
func (m *maildirs) ensure(boxes []string, errs []error) {
	fresh := m.unknown(boxes)
	if len(fresh) == 0 {
		return
	}
	parents := make(map[string]error)
	for _, i := range fresh {
		for _, sub := range []string{"tmp", "new", "cur"} {
			if err := m.fs.MkdirAll(m.fs.PathJoin(m.dir, boxes[i], sub), 0o700); err != nil && errs[i] == nil {
				errs[i] = wrap("mailbox", err)
			}
		}
		for _, dir := range m.above(boxes[i]) {
			parents[dir] = nil
		}
	}
	m.syncAll(parents)
	for _, i := range fresh {
		for _, dir := range m.above(boxes[i]) {
			if errs[i] == nil {
				errs[i] = wrap("mailbox", parents[dir])
			}
		}
		if errs[i] == nil {
			m.remember(boxes[i])
		}
	}
}

// above returns the directories whose entries a new mailbox needs: its own, that of its domain and
// that of all Maildirs. openMaildirs syncs those above.
func (m *maildirs) above(box string) [3]string {
	dir := m.fs.PathJoin(m.dir, box)
	return [3]string{dir, m.fs.PathDir(dir), m.dir}
}

// syncAll syncs the directories that are the keys of dirs, and sets their errors as values.
func (m *maildirs) syncAll(dirs map[string]error) {
	names := make([]string, 0, len(dirs))
	for dir := range dirs {
		names = append(names, dir)
	}
	errs := make([]error, len(names))
	each(len(names), func(i int) { errs[i] = syncDir(m.fs, names[i]) })
	for i, dir := range names {
		dirs[dir] = errs[i]
	}
}

// unknown returns the indexes of the boxes that are not known to exist durably.
func (m *maildirs) unknown(boxes []string) []int {
	m.mu.Lock()
	defer m.mu.Unlock()
	var fresh []int
	for i, box := range boxes {
		if _, ok := m.made[box]; !ok {
			fresh = append(fresh, i)
		}
	}
	return fresh
}

func (m *maildirs) remember(box string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.made) >= maxMade {
		clear(m.made)
	}
	m.made[box] = struct{}{}
}

func (m *maildirs) forget(box string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.made, box)
}

// makeDir creates dir with its parents, and syncs the parents up to the first that existed.
func makeDir(fs vfs.FS, dir string) error {
	_, err := fs.Stat(dir)
	existed := err == nil
	parents := []string{fs.PathDir(dir)}
	for {
		last := parents[len(parents)-1]
		if _, err := fs.Stat(last); err == nil || fs.PathDir(last) == last {
			break
		}
		parents = append(parents, fs.PathDir(last))
	}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, parent := range parents {
		err := syncDir(fs, parent)
		if existed && errors.Is(err, iofs.ErrPermission) {
			continue // another user created it in a directory that we can't read
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// each calls f with 0 to n-1, some concurrently, and returns when all calls have.
func each(n int, f func(int)) {
	if n == 1 {
		f(0)
		return
	}
	var next atomic.Int64
	var running sync.WaitGroup
	for range min(n, maxSyncs) {
		running.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	running.Wait()
}

// wrap prefixes err with the noun that failed; nil stays nil.
func wrap(noun string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", noun, err)
}
