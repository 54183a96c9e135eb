package spool

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"anymx/edge/mail"
	"anymx/tests/kit"
)

// A state without a message is removed when the store is opened. A draft that a crash cut off is
// moved away, kept for as long as the options say, and causes a warning.
func TestOrphans(t *testing.T) {
	o := testOptions(memory())
	var log bytes.Buffer
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	o.Now = func() time.Time { return now }
	s := openTest(t, o)
	kept := store(t, s, make([]byte, 10_000)).Envelope.ID
	orphan := s.nextID()
	f, err := s.bodies.create(orphan)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.write([]byte("x")), f.seal()); err != nil {
		t.Fatal(err)
	}
	st := State{Attempts: 3}
	if err := s.committer.commit(&change{stateOf: orphan, state: appendState(nil, &st)}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, o)
	if ids, _, err := s.bodies.list(); err != nil || !slices.Equal(ids, []mail.ID{kept}) {
		t.Errorf("body files %v, %v", ids, err)
	}
	if _, found, err := s.stateRecord(orphan); found || err != nil {
		t.Errorf("state without message: %v, %v", found, err)
	}
	path := s.bodies.dir + "/orphans/20260304T050607Z/" + orphan.String() + ".draft"
	if b, err := readWhole(o.FS, path); err != nil || string(b) != "x" {
		t.Errorf("the draft is not where it should be: %q, %v", b, err)
	}
	if text := log.String(); !strings.Contains(text, "level=WARN") || !strings.Contains(text, "acknowledged=0 drafts=1 bytes=1") {
		t.Errorf("log: %s", text)
	}
	if err := s.Attention(); err != nil {
		t.Errorf("nothing was promised of a draft: %v", err)
	}
	for day, want := range []bool{true, false} {
		now = now.Add(time.Duration(day) * (DefaultOrphansKeep + time.Second))
		if err := s.pruneOrphans(); err != nil {
			t.Fatal(err)
		}
		if got := exists(o.FS, path); got != want {
			t.Errorf("after %v: the draft is there: %v", now, got)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// A program from before drafts had a suffix has left files that may or may not be drafts: after an
// update they are kept, with a warning, and the node stays in service.
func TestOrphansOfAnOlderProgram(t *testing.T) {
	for name, older := range map[string]bool{"older": true, "this": false} {
		t.Run(name, func(t *testing.T) {
			o := testOptions(memory())
			var log bytes.Buffer
			o.Log = slog.New(slog.NewTextHandler(&log, nil))
			o.Now = func() time.Time { return time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC) }
			s := openTest(t, o)
			id := s.nextID()
			f, err := s.bodies.create(id)
			if err == nil {
				err = errors.Join(f.write([]byte("x")), f.seal(), s.bodies.promote(id), s.Close())
			}
			if err == nil && older {
				err = errors.Join(o.FS.Remove(o.Dir+"/"+engineFile), o.FS.Remove(o.Dir+"/"+closedFile))
			}
			if err != nil {
				t.Fatal(err)
			}
			s = openTest(t, o)
			if err := s.Attention(); (err == nil) != older {
				t.Errorf("attention: %v", err)
			}
			if b, err := readWhole(o.FS, s.bodies.dir+"/orphans/20260304T050607Z/"+id.String()); err != nil || string(b) != "x" {
				t.Errorf("the file is not where it should be: %q, %v", b, err)
			}
			level := "level=ERROR"
			if older {
				level = "level=WARN"
			}
			if text := log.String(); !strings.Contains(text, level+` msg="spool: body files without an envelope`) {
				t.Errorf("log: %s", text)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = openTest(t, o)
			if err := s.Attention(); (err == nil) != older {
				t.Errorf("attention after a restart: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A body file that differs from what was written is never returned.
func TestDamagedFile(t *testing.T) {
	body := make([]byte, 10_000)
	for name, damage := range map[string]func(fs *faultFS, path string) error{
		"missing": func(fs *faultFS, path string) error { return fs.Remove(path) },
		"short":   func(fs *faultFS, path string) error { return rewrite(fs, path, body[1:]) },
		"altered": func(fs *faultFS, path string) error {
			other := bytes.Clone(body)
			other[5000]++
			return rewrite(fs, path, other)
		},
	} {
		t.Run(name, func(t *testing.T) {
			fs := memory()
			o := testOptions(fs)
			s := openTest(t, o)
			id := store(t, s, body).Envelope.ID
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := damage(fs, s.bodies.path(id)); err != nil {
				t.Fatal(err)
			}
			s = openTest(t, o)
			m, err := s.Load(id)
			if err != nil {
				t.Fatal(err)
			}
			want := ErrDamaged
			if _, err := m.Body(); !errors.Is(err, want) {
				t.Errorf("Body: %v, want ErrDamaged", err)
			}
			if err := s.Remove(id); err != nil {
				t.Error(err)
			}
		})
	}
}

func rewrite(fs *faultFS, path string, body []byte) error {
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	return errors.Join(err, f.Sync(), f.Close())
}

// The file of a removed message stays until the removal is on stable storage.
func TestFileOutlivesRemoval(t *testing.T) {
	fs := memory()
	var block atomic.Bool
	reached, release := make(chan struct{}), make(chan struct{})
	fs.fail = func(op, path string) error {
		if op == "sync" && strings.HasSuffix(path, ".log") && block.CompareAndSwap(true, false) {
			close(reached)
			<-release
		}
		return nil
	}
	s := openTest(t, testOptions(fs))
	id := store(t, s, make([]byte, 10_000)).Envelope.ID
	block.Store(true)
	if err := s.Remove(id); err != nil {
		t.Fatal(err)
	}
	<-reached
	if _, err := s.bodies.size(id); err != nil {
		t.Errorf("while the removal is being synced: %v", err)
	}
	close(release)
	if !kit.Within(5*time.Second, func() bool { _, err := s.bodies.size(id); return err != nil }) {
		t.Error("the file stays")
	}
}
