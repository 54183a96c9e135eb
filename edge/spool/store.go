package spool

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"

	"anymx/edge/mail"
)

// Unsound is the error of Open for a store that seems to have lost acknowledged messages. Nothing
// was removed. Test for it with errors.As.
type Unsound struct {
	Dir      string
	Problems []string // each names what is missing or damaged
	Bodies   int      // number of body files
	Bytes    int64    // of them
}

// Error says what is wrong, what there is, and what to do.
func (u *Unsound) Error() string {
	return fmt.Sprintf("spool %s is damaged and was not opened: %s. Nothing was deleted; there are %d body files with %d bytes. "+
		"`anymx spool check` shows the details; `anymx spool set-aside` moves the spool away, for `anymx spool export`, and starts an empty one",
		u.Dir, strings.Join(u.Problems, "; "), u.Bodies, u.Bytes)
}

// Names of files in a store.
const (
	versionFile   = "VERSION"
	engineFile    = "ENGINE"    // identity of the engine, once it was created
	closedFile    = "CLOSED"    // content when the store was closed; removed while it is open
	attentionFile = "ATTENTION" // mail was lost, and the operator has not acted yet
	bodiesDir     = "bodies"
	engineDir     = "engine"
)

// inspection is the state of a store before its engine is opened.
type inspection struct {
	problems []string
	warnings []string
	records  int      // of the logs
	closed   *closing // nil: it was not closed, or another program has used it since
	older    bool     // last used by an older program, which gave drafts no suffix
}

// inspect reads what the engine would take for granted. It changes nothing. made says that there is
// a VERSION.
func inspect(fsys vfs.FS, dir string, made bool) (*inspection, error) {
	in := &inspection{}
	bodies, err := listBodies(fsys, fsys.PathJoin(dir, bodiesDir))
	if err != nil {
		return nil, err
	}
	engine := fsys.PathJoin(dir, engineDir)
	names, err := fsys.List(engine)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("engine: %w", err)
	}
	folder := err == nil
	manifest := ""
	if folder {
		if manifest, err = atomicfs.ReadMarker(fsys, engine, "manifest"); err != nil {
			return nil, fmt.Errorf("engine's manifest: %w", err)
		}
	}
	slices.Sort(names)
	used := len(bodies.files) > 0 || exists(fsys, fsys.PathJoin(dir, engineFile)) || exists(fsys, fsys.PathJoin(dir, closedFile))
	switch {
	case !made && (used || manifest != ""):
		in.problemf("the file %s is missing", versionFile)
		return in, nil
	case !folder && used:
		in.problemf("the folder %s is missing, with all envelopes and short messages", engineDir)
		return in, nil
	case manifest == "" && (used || hasData(names)):
		in.problemf("the folder %s has no manifest: it is empty, or files are missing", engineDir)
		return in, nil
	case manifest == "":
		return in, nil // the first start was cut short
	}
	in.older = !exists(fsys, fsys.PathJoin(dir, engineFile))
	if err := in.readManifest(fsys, engine, manifest); err != nil {
		return nil, err
	}
	ended, err := in.readLogs(fsys, engine, names)
	if err != nil {
		return nil, err
	}
	if in.closed, err = readClosing(fsys, dir, names); err != nil {
		in.problemf("%v", err)
	}
	if in.closed != nil {
		in.problems = append(in.problems, in.closed.missing(fsys, engine)...)
		if !ended {
			in.problemf("the newest log has lost its end: the spool was closed in order")
		}
	}
	return in, nil
}

// readLogs audits the engine's logs. It reports whether the newest one is marked as closed, or
// there is none.
func (in *inspection) readLogs(fsys vfs.FS, engine string, names []string) (ended bool, err error) {
	ended = true
	var data bytes.Buffer // one for all: to touch as much memory for the first time takes longer than the audit
	for _, name := range names {
		number, ok := logNumber(name)
		if !ok {
			continue
		}
		if err := readInto(&data, fsys, fsys.PathJoin(engine, name)); err != nil {
			return false, fmt.Errorf("engine's log %s: %w", name, err)
		}
		found := auditLog(data.Bytes(), number, func([]byte) {})
		in.note("log "+name, &found)
		ended = found.closed
	}
	return ended, nil
}

func (in *inspection) problemf(format string, args ...any) {
	in.problems = append(in.problems, fmt.Sprintf(format, args...))
}

// readManifest audits the list of the engine's tables. The engine would forget and delete tables if
// the list is damaged.
func (in *inspection) readManifest(fsys vfs.FS, engine, name string) error {
	data, err := readWhole(fsys, fsys.PathJoin(engine, name))
	if errors.Is(err, fs.ErrNotExist) {
		in.problemf("the engine's manifest %s is missing", name)
		return nil
	}
	if err != nil {
		return fmt.Errorf("engine's manifest: %w", err)
	}
	found := auditManifest(data)
	in.note("manifest "+name, &found)
	if found.records == 0 {
		in.problemf("the engine's manifest %s has no readable record", name)
	}
	return nil
}

// note records the result of an audit.
func (in *inspection) note(what string, found *audit) {
	in.records += found.records
	for _, d := range found.damages {
		in.problemf("the engine's %s is damaged at offset %d: %s", what, d.offset, d.why)
	}
	if found.torn {
		in.warnings = append(in.warnings, fmt.Sprintf("the engine's %s ends in the middle of a record, at offset %d", what, found.end))
	}
}

// eachOperation walks through a record of the log.
func eachOperation(record []byte, yield func(kind pebble.InternalKeyKind, seq uint64, k, v []byte)) {
	header, ok := batchrepr.ReadHeader(record)
	if !ok {
		return
	}
	seq := uint64(header.SeqNum)
	for r := batchrepr.Read(record); ; seq++ {
		kind, k, v, ok, err := r.Next()
		if !ok || err != nil {
			return
		}
		yield(kind, seq, k, v)
	}
}

// hasData reports whether names of the engine's folder include files with data.
func hasData(names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		ext := path.Ext(name)
		return ext == ".sst" || ext == ".blob"
	})
}

// logNumber returns the number of a log, by its name.
func logNumber(name string) (uint32, bool) {
	number, ok := strings.CutSuffix(name, ".log")
	n, err := strconv.ParseUint(number, 10, 64)
	return uint32(n), ok && err == nil
}

func exists(fsys vfs.FS, path string) bool {
	_, err := fsys.Stat(path)
	return err == nil
}

// readWhole reads a whole file.
func readWhole(fsys vfs.FS, path string) ([]byte, error) {
	var b bytes.Buffer
	err := readInto(&b, fsys, path)
	return b.Bytes(), err
}

// readInto reads a whole file into b, in place of what that has.
func readInto(b *bytes.Buffer, fsys vfs.FS, path string) error {
	f, err := fsys.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return err
	}
	b.Reset()
	if info, err := f.Stat(); err == nil {
		b.Grow(int(info.Size()) + bytes.MinRead)
	}
	_, err = b.ReadFrom(f)
	return errors.Join(err, f.Close())
}

// writeWhole writes a file atomically: after a crash it is complete or unchanged.
func writeWhole(fsys vfs.FS, dir, name string, data []byte) error {
	at := fsys.PathJoin(dir, name)
	f, err := fsys.Create(at+".new", vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = fsys.Rename(at+".new", at)
	}
	if err == nil {
		err = syncDir(fsys, dir)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// removeSynced removes a file and syncs its directory.
func removeSynced(fsys vfs.FS, dir, name string) error {
	err := fsys.Remove(fsys.PathJoin(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = syncDir(fsys, dir)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// closing is the content of the store at a clean Close. Open must find the same.
type closing struct {
	Messages int64            `json:"messages"`
	Bytes    int64            `json:"bytes"`
	Files    map[string]int64 `json:"files"` // of the engine, with their sizes
}

// readClosing reads what the last Close has written. It returns nil if there was none, or if an
// older program has used the store since: each start of the engine creates a newer OPTIONS file.
func readClosing(fsys vfs.FS, dir string, names []string) (*closing, error) {
	b, err := readWhole(fsys, fsys.PathJoin(dir, closedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	c := &closing{}
	if err == nil {
		err = json.Unmarshal(b, c)
	}
	if err != nil {
		return nil, fmt.Errorf("the file %s is damaged: %w", closedFile, err)
	}
	for _, name := range names {
		if _, known := c.Files[name]; !known && strings.HasPrefix(name, "OPTIONS-") {
			return nil, nil
		}
	}
	return c, nil
}

// missing compares the engine's files with those at the Close.
func (c *closing) missing(fsys vfs.FS, engine string) (problems []string) {
	for name, size := range c.Files {
		info, err := fsys.Stat(fsys.PathJoin(engine, name))
		switch {
		case err != nil:
			problems = append(problems, fmt.Sprintf("the engine's file %s is missing (%v)", name, err))
		case info.Size() != size:
			problems = append(problems, fmt.Sprintf("the engine's file %s has %d of %d bytes", name, info.Size(), size))
		}
	}
	slices.Sort(problems)
	return problems
}

// writeClosing records the content of the store after the engine was closed.
func (s *Spool) writeClosing() error {
	c := closing{Messages: s.ledger.messages.Load(), Bytes: s.ledger.bytes.Load(), Files: map[string]int64{}}
	engine := s.fs.PathJoin(s.options.Dir, engineDir)
	names, err := s.fs.List(engine)
	if err != nil {
		return fmt.Errorf("engine: %w", err)
	}
	for _, name := range names {
		if name == "LOCK" || path.Ext(name) == ".dbtmp" {
			continue
		}
		info, err := s.fs.Stat(s.fs.PathJoin(engine, name))
		if err != nil {
			return fmt.Errorf("engine: %w", err)
		}
		c.Files[name] = info.Size()
	}
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return writeWhole(s.fs, s.options.Dir, closedFile, append(b, '\n'))
}

// keyIdentity is the kind of key of the engine's identity, which is a single record.
const keyIdentity = 'i'

// identityText is the start of the file with the identity of the engine.
const identityText = "anymx spool engine "

// identify checks that the engine is the one that belongs to the store, or gives a new one its
// identity. An engine that lost its files and was recreated has another one, or none.
func (s *Spool) identify() error {
	b, err := readWhole(s.fs, s.fs.PathJoin(s.options.Dir, engineFile))
	made := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", engineFile, err)
	}
	k := key(keyIdentity, mail.ID{})
	var identity string
	found, err := s.engine.find(k[:], func(v []byte) error { identity = string(v); return nil })
	if err != nil {
		return err
	}
	switch {
	case made && (!found || string(b) != identityText+identity+"\n"):
		return s.unsound("the engine is not the one that belongs to this spool: its folder was lost or replaced")
	case made:
		return nil
	case !found:
		random := make([]byte, 16)
		if _, err := io.ReadFull(rand.Reader, random); err != nil {
			return err
		}
		identity = hex.EncodeToString(random)
		err := s.engine.run(func() error { return s.engine.db.Set(k[:], []byte(identity), pebble.Sync) })
		if err != nil {
			return fmt.Errorf("engine: %w", err)
		}
	}
	if err := syncDir(s.fs, s.options.Dir); err != nil { // the entry of the engine's folder
		return err
	}
	return writeWhole(s.fs, s.options.Dir, engineFile, []byte(identityText+identity+"\n"))
}

// unsound returns an Unsound with these problems.
func (s *Spool) unsound(problems ...string) error { return newUnsound(s.fs, s.options.Dir, problems) }

func newUnsound(fsys vfs.FS, dir string, problems []string) error {
	u := &Unsound{Dir: dir, Problems: problems}
	if bodies, err := listBodies(fsys, fsys.PathJoin(dir, bodiesDir)); err == nil {
		u.Bodies = len(bodies.files)
		for _, f := range bodies.files {
			u.Bytes += f.size
		}
	}
	return u
}

// asUnsound turns err into an Unsound if it says that the store is damaged.
func asUnsound(fsys vfs.FS, dir string, err error) error {
	if u := (*Unsound)(nil); err == nil || errors.As(err, &u) {
		return err
	}
	if pebble.IsCorruptionError(err) || errors.Is(err, ErrDamaged) || errors.Is(err, errRecord) || isMissing(err) {
		return newUnsound(fsys, dir, []string{err.Error()})
	}
	return err
}

// isMissing reports whether a file of the engine is missing.
func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
