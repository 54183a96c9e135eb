package spool

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"anymx/edge/mail"
	"anymx/tests/kit"
)

// history records the results that callers got, to be compared with what a crash leaves.
type history struct {
	mu       sync.Mutex
	messages map[mail.ID]*record
}

// record is the history of one message.
type record struct {
	sum      uint32
	acked    bool // its commit has returned
	removing bool // its removal was requested
	// The attempts in the last acknowledged state, and in the last requested one.
	attempts, asked int
	about           mail.ID // a notification: the message that it replaces
}

// began records that a commit is under way.
func (h *history) began(id mail.ID, body []byte, about mail.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.messages[id] = &record{sum: crc32.ChecksumIEEE(body), about: about}
}

// with changes the record of a message.
func (h *history) with(id mail.ID, f func(*record)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f(h.messages[id])
}

// copy returns a copy of the history.
func (h *history) copy() map[mail.ID]record {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make(map[mail.ID]record, len(h.messages))
	for id, r := range h.messages {
		all[id] = *r
	}
	return all
}

// compare checks a recovered store against the histories just before and just after the crash:
// everything acknowledged before must be there, and nothing that was not requested until after.
func compare(s *Spool, before, after map[mail.ID]record) error {
	var errs []error
	bad := func(id mail.ID, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", id, fmt.Sprintf(format, args...)))
	}
	found := map[mail.ID]bool{}
	err := s.Each(func(e Entry) error {
		found[e.ID] = true
		r, ok := after[e.ID]
		if !ok {
			bad(e.ID, "nobody has stored this")
			return nil
		}
		sum, st, err := loaded(s, e.ID)
		if err != nil || sum != r.sum {
			bad(e.ID, "not whole: sum %08x, want %08x, %v", sum, r.sum, err)
		}
		if st.Attempts != e.State.Attempts {
			bad(e.ID, "Load says %d attempts, Each %d", st.Attempts, e.State.Attempts)
		}
		if st.Attempts < before[e.ID].attempts || st.Attempts > r.asked {
			bad(e.ID, "%d attempts, want %d to %d", st.Attempts, before[e.ID].attempts, r.asked)
		}
		return nil
	})
	errs = append(errs, err)
	for id, r := range before {
		if r.acked && !after[id].removing && !found[id] {
			bad(id, "acknowledged and lost")
		}
	}
	for id, r := range after {
		// A notification and the removal of the message that it is about are atomic.
		if r.about.IsZero() || r.removing || !before[r.about].acked {
			continue
		}
		if found[id] == found[r.about] {
			bad(id, "notification stored: %v; original %s stored: %v", found[id], r.about, found[r.about])
		}
	}
	if err := s.Attention(); err != nil {
		errs = append(errs, err) // a crash alone never looks like lost mail
	}
	return errors.Join(append(errs, compareFiles(s, found))...)
}

// compareFiles checks that each message that needs a file has one, and that there are no others.
func compareFiles(s *Spool, found map[mail.ID]bool) error {
	ids, others, err := s.bodies.list()
	if err != nil || len(others) > 0 {
		return fmt.Errorf("strange files %v, %w", others, err)
	}
	var want []mail.ID
	for id := range found {
		h, _, err := s.header(id)
		if err != nil {
			return err
		}
		if h.inFile {
			want = append(want, id)
		}
	}
	order := func(a, b mail.ID) int { return bytes.Compare(a[:], b[:]) }
	slices.SortFunc(want, order)
	slices.SortFunc(ids, order)
	if !slices.Equal(ids, want) {
		return fmt.Errorf("body files %v, want %v", ids, want)
	}
	return nil
}

// work is a session, a courier and an operator in one: it stores, updates, replaces and removes its
// own messages at random until stopped. It returns the first error.
func work(s *Spool, h *history, rng *rand.Rand, stop <-chan struct{}) error {
	var own []mail.ID // messages that it may still use
	commit := func(about mail.ID) (mail.ID, error) {
		d, err := s.Begin()
		if err != nil {
			return mail.ID{}, err
		}
		body := randomOf(rng, []int{0, 50, 500, 3000, 5000, 20_000}[rng.IntN(6)])
		h.began(d.ID(), body, about)
		if err := writePieces(d, body); err != nil {
			d.Discard()
			return mail.ID{}, err
		}
		if rng.IntN(10) == 0 && about.IsZero() {
			d.Discard()
			return mail.ID{}, nil
		}
		if about.IsZero() {
			_, err = d.Commit(message())
		} else {
			_, err = s.Replace(about, nil, d, message())
		}
		if err != nil {
			return mail.ID{}, err
		}
		h.with(d.ID(), func(r *record) { r.acked = true })
		return d.ID(), nil
	}
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		if len(own) == 0 || len(own) < 30 && rng.IntN(2) == 0 {
			id, err := commit(mail.ID{})
			if err != nil {
				return err
			}
			if !id.IsZero() {
				own = append(own, id)
			}
			continue
		}
		i := rng.IntN(len(own))
		id := own[i]
		switch rng.IntN(5) {
		case 0, 1:
			own = slices.Delete(own, i, i+1)
			h.with(id, func(r *record) { r.removing = true })
			if err := s.Remove(id); err != nil {
				return err
			}
		case 2:
			own = slices.Delete(own, i, i+1)
			h.with(id, func(r *record) { r.removing = true })
			notification, err := commit(id)
			if err != nil {
				return err
			}
			if rng.IntN(4) > 0 {
				own = append(own, notification)
			}
		default:
			attempts := 0
			h.with(id, func(r *record) { r.asked++; attempts = r.asked })
			if err := s.Update(id, State{Attempts: attempts, Recipients: make([]RecipientState, 1)}); err != nil {
				return err
			}
			h.with(id, func(r *record) { r.attempts = attempts })
		}
	}
}

// A crash at any moment, with any part of the unsynced data surviving, loses nothing acknowledged
// and leaves nothing incomplete. The store works on afterwards and can crash again.
func TestCrash(t *testing.T) {
	rounds := 12
	if testing.Short() || racing {
		rounds = 2
	}
	for round := range rounds {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(round), 42))
			fs, mem := crashable()
			o := testOptions(fs)
			o.Log = testLog(t)
			o.tune.memtable = 256 << 10 // so that logs rotate and memtables are written out
			h := &history{messages: map[mail.ID]*record{}}
			for range 3 { // crashes, one after another
				mem = crash(t, o, mem, h, rng)
				o.FS = &faultFS{FS: mem}
				h.crashed(t, o)
			}
		})
	}
}

// crash uses a store, clones its file system several times as a crash at that moment would leave
// it, and checks each clone. It returns the last one.
func crash(t *testing.T, o Options, mem *vfs.MemFS, h *history, rng *rand.Rand) *vfs.MemFS {
	t.Helper()
	s := openTest(t, o)
	stop := make(chan struct{})
	errs := make(chan error, 8)
	var wg sync.WaitGroup
	for range cap(errs) {
		own := rand.New(rand.NewPCG(rng.Uint64(), rng.Uint64()))
		wg.Go(func() { errs <- work(s, h, own, stop) })
	}
	var clone *vfs.MemFS
	for i := range 4 {
		committed := s.Stats().Messages + s.metrics.syncs.Load() + 20 + rng.Int64N(60)
		kit.Within(time.Second, func() bool { return s.Stats().Messages+s.metrics.syncs.Load() >= committed })
		before := h.copy()
		clone = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 10, 50, 90}[rng.IntN(4)], RNG: rng})
		after := h.copy()
		co := o
		co.FS = &faultFS{FS: clone}
		co.Log = nil
		c, err := Open(co)
		if err != nil {
			t.Fatalf("clone %d: %v", i, err)
		}
		if err := compare(c, before, after); err != nil {
			t.Errorf("clone %d: %v", i, err)
		}
		if n := c.metrics.misused(); n != 0 {
			t.Errorf("clone %d: %v times the engine was misused", i, n)
		}
		if err := c.Close(); err != nil {
			t.Errorf("clone %d: %v", i, err)
		}
	}
	close(stop)
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	if n := s.metrics.misused(); n != 0 {
		t.Errorf("%v times the engine was misused", n)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	return clone
}

// crashed resets the history to what the store holds now.
func (h *history) crashed(t *testing.T, o Options) {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	messages := map[mail.ID]*record{}
	for _, e := range entries(t, s) {
		sum, st, err := loaded(s, e.ID)
		if err != nil {
			t.Fatal(err)
		}
		messages[e.ID] = &record{sum: sum, acked: true, attempts: st.Attempts, asked: st.Attempts}
	}
	h.messages = messages
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// A removal reaches stable storage soon, even if nothing waits for it and nothing else is written.
func TestRemovalIsSynced(t *testing.T) {
	fs, mem := crashable()
	o := testOptions(fs)
	s := openTest(t, o)
	id := store(t, s, []byte("x")).Envelope.ID
	start := time.Now()
	if err := s.Remove(id); err != nil {
		t.Fatal(err)
	}
	gone := kit.Within(5*time.Second, func() bool {
		co := o
		co.FS = &faultFS{FS: mem.CrashClone(vfs.CrashCloneCfg{})}
		c, err := Open(co)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = c.Load(id)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		return errors.Is(err, ErrNotFound)
	})
	if !gone {
		t.Error("a crash still brings the message back")
	}
	t.Logf("gone for good after %v", time.Since(start))
}

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
			m, _, err := s.Load(id)
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
