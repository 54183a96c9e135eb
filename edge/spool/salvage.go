package spool

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"anymx/edge/mail"
)

// salvage is what can be read of a store that nobody has open, damaged or not. It changes nothing.
// Messages come from the engine's tables, and from each record of its logs that is readable, before
// and after damage.
type salvage struct {
	fs       vfs.FS
	dir      string
	db       *pebble.DB // of the tables alone; nil: they can't be read
	log      map[string]logged
	problems []string
	bodies   map[mail.ID]string // paths of body files, orphans among them
	orphans  map[mail.ID]bool   // those that have no envelope, as far as is known
}

// logged is the newest operation on a key in the logs.
type logged struct {
	seq     uint64
	value   []byte
	deleted bool
}

// withoutLogs hides the engine's logs, which salvage reads by itself.
type withoutLogs struct{ vfs.FS }

func (w withoutLogs) List(dir string) ([]string, error) {
	names, err := w.FS.List(dir)
	return slices.DeleteFunc(names, func(name string) bool { return strings.HasSuffix(name, ".log") }), err
}

// openSalvage reads what there is in dir.
func openSalvage(fsys vfs.FS, dir string) (*salvage, error) {
	s := &salvage{fs: fsys, dir: dir, log: map[string]logged{}, bodies: map[mail.ID]string{}, orphans: map[mail.ID]bool{}}
	if err := s.listFiles(); err != nil {
		return nil, err
	}
	engine := fsys.PathJoin(dir, engineDir)
	names, err := fsys.List(engine)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("engine: %w", err)
	}
	slices.Sort(names)
	for _, name := range names {
		number, ok := logNumber(name)
		if !ok {
			continue
		}
		data, err := readWhole(fsys, fsys.PathJoin(engine, name))
		if err != nil {
			s.problems = append(s.problems, fmt.Sprintf("log %s: %v", name, err))
			continue
		}
		auditLog(data, number, s.noteRecord)
	}
	s.openTables(engine)
	return s, nil
}

// openTables opens the engine's tables for reading.
func (s *salvage) openTables(engine string) {
	opts := readOnly(withoutLogs{s.fs})
	defer opts.Cache.Unref()
	defer func() {
		if r := recover(); r != nil {
			s.problems = append(s.problems, fmt.Sprintf("tables: %v", r))
		}
	}()
	db, err := pebble.Open(engine, opts)
	if err != nil {
		s.problems = append(s.problems, fmt.Sprintf("tables: %v", err))
		return
	}
	s.db = db
}

// noteRecord takes the operations of a record of the log.
func (s *salvage) noteRecord(record []byte) {
	eachOperation(record, func(kind pebble.InternalKeyKind, seq uint64, k, v []byte) {
		if before, ok := s.log[string(k)]; ok && before.seq > seq {
			return
		}
		s.log[string(k)] = logged{seq: seq, value: slices.Clone(v), deleted: kind != pebble.InternalKeyKindSet}
	})
}

// listFiles finds the body files.
func (s *salvage) listFiles() error {
	dirs := []string{s.fs.PathJoin(s.dir, bodiesDir)}
	names, _, err := orphanFolders(s.fs, s.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		dirs = append(dirs, s.fs.PathJoin(s.dir, bodiesDir, orphansDir, name))
	}
	for _, dir := range dirs {
		list, err := listBodies(s.fs, dir)
		if err != nil {
			return err
		}
		for i := range list.files {
			f := &list.files[i]
			s.bodies[f.id], s.orphans[f.id] = s.fs.PathJoin(dir, f.name()), true
		}
	}
	return nil
}

// get reads a key. Pebble may panic where a file is damaged.
func (s *salvage) get(kind byte, id mail.ID) (value []byte, ok bool) {
	defer func() {
		if r := recover(); r != nil {
			value, ok = nil, false
		}
	}()
	k := key(kind, id)
	if l, ok := s.log[string(k[:])]; ok {
		return l.value, !l.deleted
	}
	if s.db == nil {
		return nil, false
	}
	v, closer, err := s.db.Get(k[:])
	if err != nil {
		return nil, false
	}
	defer closer.Close()
	return slices.Clone(v), true
}

// ids lists all messages that have an envelope, the oldest first.
func (s *salvage) ids() []mail.ID {
	found := map[mail.ID]bool{}
	if s.db != nil {
		it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{keyEnvelope}, UpperBound: []byte{keyEnvelope + 1}})
		if err == nil {
			for ok := it.First(); ok; ok = it.Next() {
				if id, ok := idOf(it.Key()); ok {
					found[id] = true
				}
			}
			err = errors.Join(it.Error(), it.Close())
		}
		if err != nil {
			s.problems = append(s.problems, fmt.Sprintf("tables: %v", err))
		}
	}
	for k, l := range s.log {
		if id, ok := idOf([]byte(k)); ok && k[0] == keyEnvelope {
			found[id] = !l.deleted
		}
	}
	var list []mail.ID
	for id, there := range found {
		if there {
			list = append(list, id)
		}
	}
	slices.SortFunc(list, func(a, b mail.ID) int { return strings.Compare(string(a[:]), string(b[:])) })
	return list
}

// close ends the reading.
func (s *salvage) close() error {
	if s.db == nil {
		return nil
	}
	return s.db.Close()
}

// Salvaged is one message as Export found it.
type Salvaged struct {
	ID       mail.ID        `json:"id"`
	Problem  string         `json:"problem,omitempty"` // "": envelope and body are whole
	Envelope *mail.Envelope `json:"envelope,omitempty"`
	State    *State         `json:"state,omitempty"` // nil: no attempt after the first was made
	Draft    bool           `json:"draft,omitempty"` // a crash cut it off: nothing was promised
	Bytes    int64          `json:"bytes"`           // of the body that was found
}

// Exported counts what Export has written.
type Exported struct {
	Messages int64    `json:"messages"` // with envelope and body
	Orphans  int64    `json:"orphans"`  // bodies without envelope
	Damaged  int64    `json:"damaged"`  // whose envelope or body is not whole
	Bytes    int64    `json:"bytes"`
	Problems []string `json:"problems,omitempty"` // what could not be read at all
}

// Export reads the store in dir, which no program may have open, and writes what can be read of it
// to the folder to: for each message ID.eml and ID.json, which is a Salvaged. It makes the folder if
// it is not there, and overwrites nothing. With to "" it writes nothing and counts. each is called
// after each message; nil: nobody is told.
func Export(dir, to string, each func(Salvaged)) (Exported, error) {
	return exportFrom(vfs.Default, dir, to, each)
}

func exportFrom(fsys vfs.FS, dir, to string, each func(Salvaged)) (sum Exported, err error) {
	if _, err := fsys.Stat(dir); err != nil {
		return sum, fmt.Errorf("spool: %w", err)
	}
	release, err := lockForReading(fsys, dir)
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, release()) }()
	s, err := openSalvage(fsys, dir)
	if err != nil {
		return sum, fmt.Errorf("spool %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if to != "" {
		if err := os.MkdirAll(to, 0o700); err != nil {
			return sum, err
		}
	}
	export := func(m Salvaged, body func() (io.ReadCloser, error)) error {
		if err := m.write(to, body); err != nil {
			return fmt.Errorf("message %s: %w", m.ID, err)
		}
		switch {
		case m.Problem != "":
			sum.Damaged++
		case m.Envelope == nil:
			sum.Orphans++
		default:
			sum.Messages++
		}
		sum.Bytes += m.Bytes
		if each != nil {
			each(m)
		}
		return nil
	}
	for _, id := range s.ids() {
		m, body, proof := s.message(id)
		if proof {
			continue
		}
		if err := export(m, body); err != nil {
			return sum, err
		}
	}
	for id, orphan := range s.orphans {
		if _, gone := s.get(keyGone, id); gone || !orphan {
			continue
		}
		m, body := s.orphan(id)
		if err := export(m, body); err != nil {
			return sum, err
		}
	}
	sum.Problems = s.problems
	if to == "" {
		return sum, nil
	}
	return sum, syncAll(to)
}

// lockForReading makes sure that no program has the store open. A store without a lock file, as a
// folder of orphans, is nobody's.
func lockForReading(fsys vfs.FS, dir string) (release func() error, err error) {
	if !exists(fsys, fsys.PathJoin(dir, "LOCK")) {
		return func() error { return nil }, nil
	}
	lock, err := lockStore(fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("spool %s: %w", dir, err)
	}
	return lock.Close, nil
}

// message finds a message and its body.
func (s *salvage) message(id mail.ID) (m Salvaged, body func() (io.ReadCloser, error), proof bool) {
	m.ID = id
	record, _ := s.get(keyEnvelope, id)
	env, h, err := decodeEnvelope(id, record)
	if err != nil {
		m.Problem = "envelope: " + err.Error()
	}
	m.Envelope = env
	if b, ok := s.get(keyState, id); ok {
		if st, err := decodeState(b); err == nil {
			m.State = &st
		}
	}
	path, inFile := s.bodies[id]
	s.orphans[id] = false
	if inFile {
		return s.withFile(m, path, h.size), s.opener(path), h.proof
	}
	if b, ok := s.get(keyBody, id); ok {
		m.Bytes = int64(len(b))
		if m.Problem == "" && m.Bytes != h.size {
			m.Problem = fmt.Sprintf("body has %d of %d bytes", m.Bytes, h.size)
		}
		return m, func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(string(b))), nil }, h.proof
	}
	if m.Problem == "" {
		m.Problem = "body is missing"
	}
	return m, nil, h.proof
}

// orphan is a body without envelope.
func (s *salvage) orphan(id mail.ID) (Salvaged, func() (io.ReadCloser, error)) {
	path := s.bodies[id]
	m := s.withFile(Salvaged{ID: id, Draft: strings.HasSuffix(path, draftSuffix)}, path, -1)
	return m, s.opener(path)
}

// withFile adds what is known of a body file; want is its size, -1 if that is not known.
func (s *salvage) withFile(m Salvaged, path string, want int64) Salvaged {
	info, err := s.fs.Stat(path)
	switch {
	case err != nil:
		m.Problem = "body: " + err.Error()
	case want >= 0 && m.Problem == "" && info.Size() != want:
		m.Problem = fmt.Sprintf("body has %d of %d bytes", info.Size(), want)
	}
	if err == nil {
		m.Bytes = info.Size()
	}
	return m
}

func (s *salvage) opener(path string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return s.fs.Open(path, vfs.SequentialReadsOption) }
}

// write writes the message's two files into a folder; "": it writes nothing.
func (m *Salvaged) write(to string, body func() (io.ReadCloser, error)) error {
	if to == "" {
		return nil
	}
	if body != nil {
		r, err := body()
		if err != nil {
			return err
		}
		err = writeNew(filepath.Join(to, m.ID.String()+".eml"), func(w io.Writer) error { _, err := io.Copy(w, r); return err })
		if err = errors.Join(err, r.Close()); err != nil {
			return err
		}
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return writeNew(filepath.Join(to, m.ID.String()+".json"), func(w io.Writer) error { _, err := w.Write(append(b, '\n')); return err })
}

// writeNew writes a file that is not there yet, for its owner alone.
func writeNew(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// syncAll brings all that was written to the file system of a folder to stable storage.
func syncAll(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
}

// Report is what Check found.
type Report struct {
	Dir      string   `json:"dir"`
	Open     bool     `json:"open"`               // by a running node, which made the report
	Problems []string `json:"problems,omitempty"` // why the node does not open it, or is not ready
	Warnings []string `json:"warnings,omitempty"`

	Messages    int64    `json:"messages"` // with an envelope
	Bytes       int64    `json:"bytes"`    // of their bodies
	BodyFiles   int64    `json:"body_files"`
	BodyBytes   int64    `json:"body_bytes"`
	Damaged     int64    `json:"damaged"`      // bodies that are missing or not as they were stored
	Orphans     int64    `json:"orphans"`      // body files without envelope
	OrphanBytes int64    `json:"orphan_bytes"` // of them
	Lost        int64    `json:"lost"`         // of the orphans: those that had been acknowledged
	Strange     int64    `json:"strange"`      // files that are none of ours
	Aside       []string `json:"aside,omitempty"`
}

// Sound says whether nothing is wrong.
func (r *Report) Sound() bool { return len(r.Problems) == 0 && r.Damaged == 0 && r.Lost == 0 }

// Check looks at the store in dir, which no program may have open. It changes nothing.
func Check(dir string) (r Report, err error) {
	fsys := vfs.Default
	r.Dir = dir
	r.Aside = asideFolders(dir)
	if _, err := fsys.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return r, nil // it will be made
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
		m, _, proof := s.message(id)
		if proof {
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
		r.Strange = int64(len(list.strange))
	}
	return r, readNote(fsys, dir, &r)
}

// readNote adds what an earlier start has noted.
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

// Report is that of a spool that is open.
func (s *Spool) Report() (Report, error) {
	r := Report{
		Dir: s.o.Dir, Open: true, Messages: s.ledger.messages.Load(), Bytes: s.ledger.bytes.Load(),
		Damaged: s.damagedBodies.Load(), Strange: s.strange, Aside: asideFolders(s.o.Dir),
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
	_, folders, err := orphanFolders(s.fs, s.o.Dir)
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
	return r, readNote(s.fs, s.o.Dir, &r)
}

// asideName is the folder beside a store that has what was set aside.
const asideName = "spool-aside"

// asideFolders lists what was set aside of the store in dir.
func asideFolders(dir string) (list []string) {
	names, _ := os.ReadDir(filepath.Join(filepath.Dir(dir), asideName))
	for _, n := range names {
		list = append(list, filepath.Join(filepath.Dir(dir), asideName, n.Name()))
	}
	return list
}

// SetAside moves the store in dir, which no program may have open, to a folder of its own beside it,
// and returns its path. The next Open makes a new one.
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

// newAside names a folder for what is set aside, and makes the one that it belongs in.
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

// SetAside moves the orphans to a folder beside the spool, and takes back that somebody has to look.
// "" says that there was nothing to be moved.
func (s *Spool) SetAside() (to string, err error) {
	if err := s.reading(); err != nil {
		return "", err
	}
	defer s.readers.done()
	s.orphans.mu.Lock()
	defer s.orphans.mu.Unlock()
	orphans := s.fs.PathJoin(s.bodies.dir, orphansDir)
	if exists(s.fs, orphans) {
		if to, err = newAside(s.fs, s.o.Dir, s.o.Now()); err != nil {
			return "", err
		}
		bodies := s.fs.PathJoin(to, bodiesDir)
		err = s.fs.MkdirAll(bodies, 0o700)
		if err == nil {
			err = s.fs.Rename(orphans, s.fs.PathJoin(bodies, orphansDir))
		}
		for _, d := range []string{bodies, to, s.fs.PathDir(to), s.fs.PathDir(s.o.Dir), s.bodies.dir} {
			if err == nil {
				err = syncDir(s.fs, d)
			}
		}
		if err != nil {
			return "", fmt.Errorf("set aside: %w", err)
		}
	}
	if err := removeSynced(s.fs, s.o.Dir, attentionFile); err != nil {
		return to, err
	}
	s.attention.Store(nil)
	s.orphans.files.Store(0)
	s.orphans.bytes.Store(0)
	return to, nil
}
