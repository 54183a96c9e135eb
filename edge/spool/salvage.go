package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"anymx/edge/mail"
)

// salvage reads what is readable of a store that is not open, damaged or not. It changes nothing.
// Messages come from the engine's tables, and from each readable record of its logs, before and
// after damage.
type salvage struct {
	fs       vfs.FS
	dir      string
	db       *pebble.DB // only the tables; nil: they can't be read
	log      map[string]logged
	problems []string
	bodies   map[mail.ID]string // paths of body files, orphans among them
	orphans  map[mail.ID]bool   // those without a known envelope
}

// logged is the newest operation on a key in the logs.
type logged struct {
	seq     uint64
	value   []byte
	deleted bool
}

// withoutLogs hides the engine's logs, which salvage reads itself.
type withoutLogs struct{ vfs.FS }

func (w withoutLogs) List(dir string) ([]string, error) {
	names, err := w.FS.List(dir)
	return slices.DeleteFunc(names, func(name string) bool { return strings.HasSuffix(name, ".log") }), err
}

// openSalvage reads the store in dir.
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

// noteRecord records the operations of a record of the log.
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

// get reads the record of a message.
func (s *salvage) get(kind byte, id mail.ID) (value []byte, ok bool) {
	k := key(kind, id)
	return s.read(string(k[:]))
}

// read reads a key. Pebble may panic where a file is damaged.
func (s *salvage) read(k string) (value []byte, ok bool) {
	defer func() {
		if r := recover(); r != nil {
			value, ok = nil, false
		}
	}()
	if l, ok := s.log[k]; ok {
		return l.value, !l.deleted
	}
	if s.db == nil {
		return nil, false
	}
	v, closer, err := s.db.Get([]byte(k))
	if err != nil {
		return nil, false
	}
	defer closer.Close()
	return slices.Clone(v), true
}

// keys lists the keys from lower on, below upper, in order.
func (s *salvage) keys(lower, upper string) []string {
	found := map[string]bool{}
	if s.db != nil {
		it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte(lower), UpperBound: []byte(upper)})
		if err == nil {
			for ok := it.First(); ok; ok = it.Next() {
				found[string(it.Key())] = true
			}
			err = errors.Join(it.Error(), it.Close())
		}
		if err != nil {
			s.problems = append(s.problems, fmt.Sprintf("tables: %v", err))
		}
	}
	for k, l := range s.log {
		if lower <= k && k < upper {
			found[k] = !l.deleted
		}
	}
	maps.DeleteFunc(found, func(_ string, there bool) bool { return !there })
	return slices.Sorted(maps.Keys(found))
}

// ids lists all messages that have an envelope, the oldest first.
func (s *salvage) ids() (list []mail.ID) {
	for _, k := range s.keys(string(keyEnvelope), string(keyEnvelope+1)) {
		if id, ok := idOf([]byte(k)); ok {
			list = append(list, id)
		}
	}
	return list
}

// legs returns what is left of a message with several destinations. A record that can't be read is a
// problem of the store, and left out.
func (s *salvage) legs(id mail.ID, recipients int) (legs []Leg) {
	lower, upper := legKey(id, 0), legKey(id, MaxLegs-1)
	for _, k := range s.keys(string(lower[:]), string(upper[:])+"\x00") {
		record, ok := s.read(k)
		if !ok {
			continue
		}
		leg, err := decodeLeg(record, recipients)
		if err != nil {
			s.problems = append(s.problems, fmt.Sprintf("message %s: %v", id, err))
			continue
		}
		leg.Number = legOf([]byte(k))
		legs = append(legs, leg)
	}
	return legs
}

// close ends the reading.
func (s *salvage) close() error {
	if s.db == nil {
		return nil
	}
	return s.db.Close()
}

// lockForReading makes sure that no program has the store open. A store without a lock file, such
// as a folder of orphans, needs no lock.
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

// message returns a message and its body as it is delivered, or what is there of the stored body if
// something is wrong with the message.
func (s *salvage) message(id mail.ID) (m Salvaged, body func() (io.ReadCloser, error), selfTest bool) {
	m.ID = id
	record, _ := s.get(keyEnvelope, id)
	env, h, err := decodeEnvelope(id, record)
	if err != nil {
		m.Problem = "envelope: " + err.Error()
	}
	if m.Envelope = env; env != nil {
		m.Legs = s.legs(id, len(env.Recipients))
	}
	if b, ok := s.get(keyState, id); ok {
		if st, err := decodeState(b); err == nil {
			m.State = &st
		}
	}
	path, inFile := s.bodies[id]
	s.orphans[id] = false
	if inFile {
		m = s.withFile(m, path, h.size)
		return m, m.asDelivered(h, s.opener(path)), h.selfTest
	}
	if b, ok := s.get(keyBody, id); ok {
		m.Bytes = int64(len(b))
		if m.Problem == "" && m.Bytes != h.size {
			m.Problem = fmt.Sprintf("body has %d of %d bytes", m.Bytes, h.size)
		}
		raw := func() (*Body, error) {
			mem := &held{buf: &buffer{b: b}}
			mem.refs.Store(2) // the buffer is not of the pool: it is never freed
			return &Body{env: new(mail.Envelope), mem: mem, stored: m.Bytes}, nil
		}
		return m, m.asDelivered(h, raw), h.selfTest
	}
	if m.Problem == "" {
		m.Problem = "body is missing"
	}
	return m, nil, h.selfTest
}

// orphan returns a body without an envelope.
func (s *salvage) orphan(id mail.ID) (Salvaged, func() (io.ReadCloser, error)) {
	path := s.bodies[id]
	m := s.withFile(Salvaged{ID: id, Draft: strings.HasSuffix(path, draftSuffix)}, path, -1)
	return m, m.asDelivered(header{}, s.opener(path))
}

// asDelivered returns a function that opens the message as it is delivered: raw opens the stored
// body. A body that is not the one that the envelope describes is opened as it is.
func (m *Salvaged) asDelivered(h header, raw func() (*Body, error)) func() (io.ReadCloser, error) {
	env, whole := m.Envelope, m.Problem == "" && m.Envelope != nil
	return func() (io.ReadCloser, error) {
		b, err := raw()
		if err != nil {
			return nil, err
		}
		if whole {
			b.env, b.stored = env, h.size
		}
		return b, nil
	}
}

// withFile adds the size and problems of a body file; want is its expected size, or -1 if unknown.
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

// opener opens a body file.
func (s *salvage) opener(path string) func() (*Body, error) {
	return func() (*Body, error) {
		f, err := s.fs.Open(path, vfs.SequentialReadsOption)
		if err != nil {
			return nil, err
		}
		info, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return &Body{env: new(mail.Envelope), file: f, stored: info.Size()}, nil
	}
}
