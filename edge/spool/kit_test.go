package spool

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	dto "github.com/prometheus/client_model/go"

	"anymx/edge/mail"
	"anymx/tests/kit"
)

// testOptions returns a small spool in memory.
func testOptions(fs vfs.FS) Options {
	return Options{Dir: "/node/spool", FS: fs, InlineMax: 4 << 10, Memory: 1 << 20, tune: tuning{memtable: 1 << 20}}
}

// openTest opens a spool, and closes it at the end unless the test has.
func openTest(t testing.TB, o Options) *Spool {
	t.Helper()
	kit.NoLeaks(t)
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
	return s
}

// eachShape runs f on a spool in memory and on one on the disk.
func eachShape(t *testing.T, f func(t *testing.T, o Options)) {
	t.Run("memory", func(t *testing.T) { f(t, testOptions(memory())) })
	t.Run("disk", func(t *testing.T) {
		o := testOptions(nil)
		o.Dir = t.TempDir() + "/spool"
		f(t, o)
	})
}

// store commits a message.
func store(t testing.TB, s *Spool, body []byte) *Message {
	t.Helper()
	m, err := tryStore(s, body)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func tryStore(s *Spool, body []byte) (*Message, error) { return commit(s, message(), body) }

// commit stores a message.
func commit(s *Spool, env *mail.Envelope, body []byte) (*Message, error) {
	d, err := s.BeginDraft()
	if err != nil {
		return nil, err
	}
	if err := writePieces(d, body); err != nil {
		d.Discard()
		return nil, err
	}
	return d.Commit(env)
}

// writePieces writes body in pieces of different sizes.
func writePieces(d *Draft, body []byte) error {
	for size := 100; len(body) > 0; size = size*3 + 1 {
		n := min(size, len(body))
		if _, err := d.Write(body[:n]); err != nil {
			return err
		}
		body = body[n:]
	}
	return nil
}

// bodyOf reads a message's body.
func bodyOf(m *Message) ([]byte, error) {
	b, err := m.Body()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	_, err = b.WriteTo(&out)
	return out.Bytes(), errors.Join(err, b.Close())
}

// loaded returns what the store has of a message: the sum of its body, and its state.
func loaded(s *Spool, id mail.ID) (sum uint32, st State, err error) {
	m, st, err := loadOnly(s, id)
	if err != nil {
		return 0, st, err
	}
	body, err := bodyOf(m)
	if err == nil && m.Envelope.Size != int64(len(body)) {
		err = fmt.Errorf("body of %d bytes, envelope says %d", len(body), m.Envelope.Size)
	}
	return crc32.ChecksumIEEE(body), st, err
}

// entries lists the whole store.
func entries(t testing.TB, s *Spool) []Entry {
	t.Helper()
	var all []Entry
	if err := s.Each(func(e Entry) error { all = append(all, e); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

// wantGone fails the test if the store still has a message.
func wantGone(t testing.TB, s *Spool, id mail.ID) {
	t.Helper()
	if _, err := s.Load(id); !errors.Is(err, ErrNotFound) {
		t.Errorf("Load(%s): %v, want ErrNotFound", id, err)
	}
	for _, e := range entries(t, s) {
		if e.ID == id {
			t.Errorf("Each gives %s", id)
		}
	}
}

func randomOf(rng *rand.Rand, size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(rng.Uint32()), byte(rng.Uint32()), byte(rng.Uint32())}).Read(b)
	return b
}

// testLog writes to the test's log.
func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
}

const childOf = "SPOOL_TEST_CHILD"

// inChild reports whether this process is a child of the test; if it is not, it runs the test in
// one and reports the result. A failed engine leaves goroutines, which only end with the process.
func inChild(t *testing.T) bool {
	t.Helper()
	if os.Getenv(childOf) == t.Name() {
		return true
	}
	if testing.Short() {
		t.Skip("-short: starts a process of its own")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$", "-test.v", "-test.timeout", "5m")
	cmd.Env = append(os.Environ(), childOf+"="+t.Name())
	out, err := cmd.CombinedOutput()
	if err != nil || testing.Verbose() {
		t.Logf("%s", out)
	}
	if err != nil {
		t.Errorf("in a process of its own: %v", err)
	} else if !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("in a process of its own it did not pass:\n%s", out)
	}
	return false
}

// misused counts the errors that the engine found in our use of it.
func (m *metrics) misused() float64 {
	var out dto.Metric
	if err := m.errors.misuse.Write(&out); err != nil {
		return -1
	}
	return out.GetCounter().GetValue()
}

// list returns the IDs that have a file, and the names of files that are not ours.
func (b *bodies) list() (ids []mail.ID, others []string, err error) {
	l, err := listBodies(b.fs, b.dir)
	for _, f := range l.files {
		ids = append(ids, f.id)
	}
	return ids, l.strange, err
}

// size returns the size of a message's file.
func (b *bodies) size(id mail.ID) (int64, error) {
	info, err := b.fs.Stat(b.path(id))
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// loadOnly reads a message with one leg, and its state.
func loadOnly(s *Spool, id mail.ID) (*Message, State, error) {
	m, err := s.Load(id)
	if err != nil {
		return nil, State{}, err
	}
	return m, m.Legs[0].State, nil
}

// stateOf reads the state of a message with one leg.
func stateOf(s *Spool, id mail.ID) (State, error) {
	_, st, err := loadOnly(s, id)
	return st, err
}
