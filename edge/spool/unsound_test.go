package spool

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// One bit is flipped anywhere in a log that fits in one block, in a longer one, in the manifest, or
// in a table. Nothing is lost silently, and everything in the log can be exported.
func TestFlippedBit(t *testing.T) {
	for _, c := range []struct {
		name, pattern string
		messages      int
		first, whole  bool // in the very first log; each bit is detected
		flushed       bool
	}{
		{"first log", "*.log", 13, true, true, false},
		{"one block", "*.log", 13, false, true, false},
		{"several blocks", "*.log", 60, false, true, false},
		{"manifest", "MANIFEST-*", 20, false, true, true},
		{"table", "*.sst", 20, false, false, true},
		{"blob", "*.blob", 20, false, false, true},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			// An engine that can't be closed leaves goroutines, which only end with the process.
			leaks := c.pattern == "*.blob"
			if leaks && !inChild(t) {
				return
			}
			fsys, mem := crashable()
			o := testOptions(fsys)
			openTest := openTest
			if leaks {
				openTest = func(t testing.TB, o Options) *Spool {
					s, err := Open(o)
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { _ = s.Close() })
					return s
				}
			}
			s := openTest(t, o)
			if !c.first {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = openTest(t, o)
			}
			all := stored{}
			all.fill(t, s, c.messages)
			if c.flushed {
				if err := s.engine.db.Flush(); err != nil {
					t.Fatal(err)
				}
			}
			source := killed(mem)
			if all.check(t, killed(mem), o, "untouched", nil) {
				t.Fatal("a store that nothing was done to is refused")
			}
			rng := rand.New(rand.NewPCG(7, 7))
			attempts := 80
			if racing || testing.Short() {
				attempts = 15
			}
			files := engineFiles(t, source, o.Dir, c.pattern)
			if len(files) == 0 {
				t.Fatalf("no file is like %s", c.pattern)
			}
			if c.pattern == "MANIFEST-*" {
				files = files[len(files)-1:] // the earlier ones are not read
			}
			refusals := 0
			for range attempts {
				file := files[rng.IntN(len(files))]
				data, err := readWhole(source, file)
				if err != nil {
					t.Fatal(err)
				}
				used := len(bytes.TrimRight(data, "\x00"))
				if used == 0 {
					continue
				}
				bit := rng.IntN(used * 8)
				data[bit/8] ^= 1 << (bit % 8)
				clone := killed(mem)
				if err := rewrite(&faultFS{FS: clone}, file, data); err != nil {
					t.Fatal(err)
				}
				want := all
				if c.flushed {
					want = nil
				}
				if all.check(t, clone, o, fmt.Sprintf("bit %d of %s", bit, path.Base(file)), want) {
					refusals++
				}
			}
			t.Logf("%d of %d refused", refusals, attempts)
			if c.whole && refusals < attempts*9/10 {
				t.Errorf("%d of %d were refused", refusals, attempts)
			}
		})
	}
}

// Files and folders go missing, in a killed store and in a cleanly closed one.
func TestMissingParts(t *testing.T) {
	type wreck func(fsys *vfs.MemFS, dir string) error
	removeLike := func(pattern string) wreck {
		return func(fsys *vfs.MemFS, dir string) error {
			names, err := fsys.List(dir + "/engine")
			for _, n := range names {
				if ok, _ := path.Match(pattern, n); ok {
					err = errors.Join(err, fsys.Remove(dir+"/engine/"+n))
				}
			}
			return err
		}
	}
	cut := func(pattern string, share float64) wreck {
		return func(fsys *vfs.MemFS, dir string) error {
			names, err := fsys.List(dir + "/engine")
			for _, n := range names {
				if ok, _ := path.Match(pattern, n); !ok || err != nil {
					continue
				}
				var data []byte
				if data, err = readWhole(fsys, dir+"/engine/"+n); err == nil {
					data = bytes.TrimRight(data, "\x00")
					err = rewrite(&faultFS{FS: fsys}, dir+"/engine/"+n, data[:int(float64(len(data))*share)])
				}
			}
			return err
		}
	}
	for _, c := range []struct {
		name   string
		wreck  wreck
		closed bool // the store was closed cleanly
		export bool // long bodies can be exported
	}{
		{"engine", func(f *vfs.MemFS, d string) error { return f.RemoveAll(d + "/engine") }, false, true},
		{"engine, closed", func(f *vfs.MemFS, d string) error { return f.RemoveAll(d + "/engine") }, true, true},
		{"engine is empty", removeLike("*"), false, true},
		{"VERSION", func(f *vfs.MemFS, d string) error { return f.Remove(d + "/VERSION") }, false, true},
		{"VERSION and engine", func(f *vfs.MemFS, d string) error {
			return errors.Join(f.Remove(d+"/VERSION"), f.Remove(d+"/ENGINE"), f.RemoveAll(d+"/engine"))
		}, false, true},
		{"manifest", removeLike("MANIFEST-*"), false, true},
		{"the manifest's marker", removeLike("marker.manifest*"), false, true},
		{"logs, closed", removeLike("*.log"), true, true},
		{"half of the logs, closed", cut("*.log", 0.5), true, true},
		{"half of the manifest, closed", cut("MANIFEST-*", 0.5), true, true},
		{"tables, closed", removeLike("*.sst"), true, true},
		{"logs", removeLike("*.log"), false, true},
		{"half of the logs", cut("*.log", 0.5), false, true},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			fsys, mem := crashable()
			o := testOptions(fsys)
			s := openTest(t, o)
			all := stored{}
			all.fill(t, s, 20)
			if err := s.engine.db.Flush(); err != nil {
				t.Fatal(err)
			}
			all.fill(t, s, 20)
			if c.closed {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			clone := killed(mem)
			if err := c.wreck(clone, o.Dir); err != nil {
				t.Fatal(err)
			}
			if !all.check(t, clone, o, c.name, all.large(o.InlineMax)) {
				t.Error("it was opened as if nothing had happened")
			}
		})
	}
}

// A recreated engine in place of a lost one is not the store's own.
func TestReplacedEngine(t *testing.T) {
	fsys, mem := crashable()
	o := testOptions(fsys)
	s := openTest(t, o)
	all := stored{}
	all.fill(t, s, 3) // short ones only
	clone := killed(mem)
	if err := clone.RemoveAll(o.Dir + "/engine"); err != nil {
		t.Fatal(err)
	}
	other := testOptions(&faultFS{FS: clone})
	other.Dir = "/node/other"
	x := openTest(t, other)
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	if err := clone.Rename("/node/other/engine", o.Dir+"/engine"); err != nil {
		t.Fatal(err)
	}
	if !all.check(t, clone, o, "replaced", nil) {
		t.Error("an engine of another store is taken for this one's")
	}
}

// The mark of a clean close that a program without this feature has left in place, as after a
// rollback, is ignored.
func TestStaleClosing(t *testing.T) {
	o := testOptions(memory())
	s := openTest(t, o)
	all := stored{}
	all.fill(t, s, 4)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	closing, err := readWhole(o.FS, o.Dir+"/CLOSED")
	if err != nil {
		t.Fatal(err)
	}
	s = openTest(t, o)
	all.fill(t, s, 4)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := rewrite(o.FS.(*faultFS), o.Dir+"/CLOSED", closing); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, o)
	if n := len(entries(t, s)); n != len(all) {
		t.Errorf("%d of %d messages", n, len(all))
	}
}

// The complete recovery from a damaged store on a disk: it is refused, checked, set aside and
// exported, and a new one starts. Then orphans in a working store: it needs attention, even after
// restarts, until they are set aside.
func TestSetAside(t *testing.T) {
	o := testOptions(nil)
	o.Dir = filepath.Join(t.TempDir(), "spool")
	s := openTest(t, o)
	all := stored{}
	all.fill(t, s, 8)
	if _, err := SetAside(o.Dir, time.Now()); !errors.Is(err, ErrLocked) {
		t.Errorf("set aside while it is open: %v", err)
	}
	if _, err := Check(o.Dir); !errors.Is(err, ErrLocked) {
		t.Errorf("checked while it is open: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if r, err := Check(o.Dir); err != nil || !r.Sound() || r.Messages != 8 || r.BodyFiles != 2 {
		t.Errorf("check of a sound store: %+v, %v", r, err)
	}
	if err := os.RemoveAll(o.Dir + "/engine"); err != nil {
		t.Fatal(err)
	}
	var u *Unsound
	for range 2 {
		if _, err := Open(o); !errors.As(err, &u) || u.Bodies != 2 {
			t.Fatalf("open: %v", err)
		}
	}
	if r, err := Check(o.Dir); err != nil || r.Sound() || r.Lost != 2 || r.Messages != 0 {
		t.Errorf("check: %+v, %v", r, err)
	}
	aside, err := SetAside(o.Dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	all.checkExport(t, Options{FS: vfs.Default, Dir: aside}, "set aside", all.large(o.InlineMax))

	s = openTest(t, o)
	all = stored{}
	all.fill(t, s, 8)
	if err := s.engine.db.DeleteRange([]byte{keyEnvelope}, []byte{keyEnvelope + 1}, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(o.Dir + "/CLOSED"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s = openTest(t, o)
		if s.Attention() == nil {
			t.Fatal("lost envelopes, and nobody has to look")
		}
		if r, err := s.Report(); err != nil || r.Sound() || r.Lost != 2 {
			t.Errorf("report: %+v, %v", r, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s = openTest(t, o)
	aside, err = s.SetAside()
	if err != nil || s.Attention() != nil {
		t.Fatalf("set aside: %v, %v", err, s.Attention())
	}
	if r, err := s.Report(); err != nil || !r.Sound() || r.Orphans != 0 || len(r.Aside) != 2 {
		t.Errorf("report: %+v, %v", r, err)
	}
	all.checkExport(t, Options{FS: vfs.Default, Dir: aside}, "orphans", all.large(o.InlineMax))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, o)
	if err := s.Attention(); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}
