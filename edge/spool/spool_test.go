package spool

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"anymx/edge/mail"
	"anymx/tests/kit"
)

// bodySizes are close to the sizes at which a body is stored differently.
var bodySizes = []int{0, 1, 100, 4<<10 - 1, 4 << 10, 4<<10 + 1, 70_000, 300_000}

// A message has its envelope and body: just committed, released, loaded, and after the store was
// reopened.
func TestStoreAndLoad(t *testing.T) {
	eachShape(t, func(t *testing.T, o Options) {
		s := openTest(t, o)
		rng := rand.New(rand.NewPCG(1, 1))
		bodies := map[mail.ID][]byte{}
		envs := map[mail.ID]*mail.Envelope{}
		var order []mail.ID
		for _, size := range bodySizes {
			body := randomOf(rng, size)
			m := store(t, s, body)
			id := m.Envelope.ID
			if m.Envelope.Size != int64(size) {
				t.Errorf("size %d, want %d", m.Envelope.Size, size)
			}
			bodies[id], envs[id] = body, m.Envelope
			order = append(order, id)
			for _, when := range []string{"committed", "released"} {
				if got, err := bodyOf(m); err != nil || !bytes.Equal(got, body) {
					t.Errorf("%d bytes, %s: other body, %v", size, when, err)
				}
				m.Release()
			}
		}
		check := func() {
			t.Helper()
			var got []mail.ID
			for _, e := range entries(t, s) {
				env := envs[e.ID]
				want := Entry{ID: e.ID, Size: env.Size, Arrived: env.Arrived.UTC().Round(0), Origin: env.Origin, Domain: "example.net", Recipients: 1}
				if !reflect.DeepEqual(e, want) {
					t.Errorf("entry %+v, want %+v", e, want)
				}
				got = append(got, e.ID)
				m, st, err := loadOnly(s, e.ID)
				if err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(st, State{}) {
					t.Errorf("state %+v", st)
				}
				if !m.Envelope.Arrived.Equal(env.Arrived) {
					t.Errorf("arrived %v, want %v", m.Envelope.Arrived, env.Arrived)
				}
				m.Envelope.Arrived = env.Arrived
				if !reflect.DeepEqual(m.Envelope, env) {
					t.Errorf("envelope %+v, want %+v", m.Envelope, env)
				}
				if body, err := bodyOf(m); err != nil || !bytes.Equal(body, bodies[e.ID]) {
					t.Errorf("%d bytes: other body, %v", e.Size, err)
				}
			}
			if !slices.Equal(got, order) {
				t.Errorf("order %v, want %v", got, order)
			}
			var sum int64
			for _, b := range bodies {
				sum += int64(len(b))
			}
			if st := s.Stats(); st.Messages != int64(len(order)) || st.Bytes != sum || st.Drafts != 0 || st.MemoryBytes != 0 {
				t.Errorf("stats %+v, want %d messages of %d bytes", st, len(order), sum)
			}
		}
		check()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openTest(t, o)
		check()
		// New IDs are greater than all existing ones.
		if id := store(t, s, nil).Envelope.ID; bytes.Compare(id[:], order[len(order)-1][:]) <= 0 {
			t.Errorf("%s after %s", id, order[len(order)-1])
		}
	})
}

func TestRemove(t *testing.T) {
	eachShape(t, func(t *testing.T, o Options) {
		s := openTest(t, o)
		for _, size := range bodySizes {
			m := store(t, s, make([]byte, size))
			id := m.Envelope.ID
			if err := s.Update(id, 0, State{Attempts: 2}); err != nil {
				t.Fatal(err)
			}
			if err := s.Remove(id); err != nil {
				t.Fatal(err)
			}
			wantGone(t, s, id)
			for what, err := range map[string]error{"Remove": s.Remove(id), "Update": s.Update(id, 0, State{})} {
				if !errors.Is(err, ErrNotFound) {
					t.Errorf("%s of a removed message: %v", what, err)
				}
			}
			if body, err := bodyOf(m); size <= 4<<10 && (err != nil || len(body) != size) {
				t.Errorf("body in memory after removal: %d bytes, %v", len(body), err)
			}
			m.Release()
		}
		if st := s.Stats(); st.Messages != 0 || st.Bytes != 0 || st.MemoryBytes != 0 {
			t.Errorf("stats %+v", st)
		}
		if n := s.states.Load(); n != 0 {
			t.Errorf("%d states", n)
		}
		// The files are removed once the removals are on stable storage.
		if !kit.Within(2*time.Second, func() bool {
			ids, _, err := s.bodies.list()
			return err == nil && len(ids) == 0
		}) {
			t.Error("body files are left")
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openTest(t, o)
		if all := entries(t, s); len(all) != 0 {
			t.Errorf("%d messages after opening again", len(all))
		}
	})
}

// Of several removals of one message one succeeds.
func TestRemoveOnce(t *testing.T) {
	s := openTest(t, testOptions(memory()))
	for range 50 {
		id := store(t, s, []byte("x")).Envelope.ID
		var wg sync.WaitGroup
		results := make(chan error, 8)
		for range cap(results) {
			wg.Go(func() { results <- s.Remove(id) })
		}
		wg.Wait()
		close(results)
		ok := 0
		for err := range results {
			if err == nil {
				ok++
			} else if !errors.Is(err, ErrNotFound) {
				t.Error(err)
			}
		}
		if ok != 1 {
			t.Fatalf("%d removals succeeded", ok)
		}
	}
	if n := s.Stats().Messages; n != 0 {
		t.Errorf("%d messages", n)
	}
}

func TestUpdate(t *testing.T) {
	eachShape(t, func(t *testing.T, o Options) {
		s := openTest(t, o)
		id := store(t, s, []byte("body")).Envelope.ID
		other := store(t, s, []byte("other")).Envelope.ID
		want := states()["all"]
		for _, st := range []State{{Attempts: 2}, want} {
			if err := s.Update(id, 0, st); err != nil {
				t.Fatal(err)
			}
		}
		check := func() {
			t.Helper()
			if st, err := stateOf(s, id); err != nil || !reflect.DeepEqual(st, want) {
				t.Errorf("loaded %+v, %v", st, err)
			}
			all := entries(t, s)
			if len(all) != 2 || !reflect.DeepEqual(all[0].State, want) || !reflect.DeepEqual(all[1].State, State{}) {
				t.Errorf("entries %+v", all)
			}
			if n := s.states.Load(); n != 1 {
				t.Errorf("%d states", n)
			}
		}
		check()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openTest(t, o)
		check()
		if err := s.Update(mail.ID{1}, 0, State{}); !errors.Is(err, ErrNotFound) {
			t.Errorf("update of nothing: %v", err)
		}
		if err := s.Remove(other); err != nil {
			t.Fatal(err)
		}
	})
}

func TestReplace(t *testing.T) {
	eachShape(t, func(t *testing.T, o Options) {
		s := openTest(t, o)
		for _, size := range []int{100, 10_000} {
			id := store(t, s, make([]byte, size)).Envelope.ID

			d := begin(t, s, "delayed")
			delayed, err := s.Replace(id, 0, &State{Attempts: 3, DelayNoticed: true}, d, message())
			if err != nil {
				t.Fatal(err)
			}
			if st, err := stateOf(s, id); err != nil || !st.DelayNoticed {
				t.Errorf("state %+v, %v", st, err)
			}
			failed, err := s.Replace(id, 0, nil, begin(t, s, "failed"), message())
			if err != nil {
				t.Fatal(err)
			}
			wantGone(t, s, id)
			for m, want := range map[*Message]string{delayed: "delayed", failed: "failed"} {
				if body, err := bodyOf(m); err != nil || string(body) != want {
					t.Errorf("notification %q, %v", body, err)
				}
			}
			// A second notification about a removed message leaves nothing.
			for _, st := range []*State{nil, {Attempts: 9}} {
				before := len(entries(t, s))
				if _, err := s.Replace(id, 0, st, begin(t, s, "late"), message()); !errors.Is(err, ErrNotFound) {
					t.Errorf("replaced a message that is gone: %v", err)
				}
				if n := len(entries(t, s)); n != before {
					t.Errorf("%d messages, %d before", n, before)
				}
			}
		}
		if st := s.Stats(); st.Messages != 4 || st.Drafts != 0 {
			t.Errorf("stats %+v", st)
		}
	})
}

func TestProbe(t *testing.T) {
	eachShape(t, func(t *testing.T, o Options) {
		s := openTest(t, o)
		if err := s.Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
		it, err := s.engine.scan(keyProbe)
		if err != nil {
			t.Fatal(err)
		}
		if it.First() {
			t.Errorf("left %q", it.Key())
		}
		it.Close()
		if ids, others, _ := s.bodies.list(); len(ids)+len(others) != 0 {
			t.Errorf("left %v %v", ids, others)
		}
		if n := s.Stats().Messages; n != 0 {
			t.Errorf("%d messages", n)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Probe(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if !kit.Within(time.Second, func() bool { return len(s.probing) == 0 }) {
			t.Error("the probe goes on")
		}
	})
}

func TestClosed(t *testing.T) {
	s := openTest(t, testOptions(memory()))
	m := store(t, s, make([]byte, 100))
	inFile := store(t, s, make([]byte, 10_000))
	small, big := begin(t, s, "draft"), begin(t, s, strings.Repeat("x", 10_000))
	id := m.Envelope.ID
	m.Release()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	calls := map[string]func() error{
		"Close":      s.Close,
		"Accepting":  s.Accepting,
		"BeginDraft": func() error { _, err := s.BeginDraft(); return err },
		"Commit":     func() error { _, err := small.Commit(message()); return err },
		"Commit of a big one": func() error {
			_, err := big.Commit(message())
			return err
		},
		"Load":   func() error { _, err := s.Load(id); return err },
		"Body":   func() error { _, err := m.Body(); return err },
		"Update": func() error { return s.Update(id, 0, State{}) },
		"Remove": func() error { return s.Remove(id) },
		"Each":   func() error { return s.Each(func(Entry) error { return nil }) },
		"Probe":  func() error { return s.Probe(t.Context()) },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	small.Discard()
	if ids, _, _ := s.bodies.list(); !slices.Equal(ids, []mail.ID{inFile.Envelope.ID}) {
		t.Errorf("body files %v", ids)
	}
	if st := s.Stats(); st.Messages != 2 || st.Refusing == "" {
		t.Errorf("stats %+v", st)
	}
}

// Close waits for readers, and makes their next calls fail instead of hang.
func TestCloseWaitsForReaders(t *testing.T) {
	s := openTest(t, testOptions(memory()))
	id := store(t, s, []byte("x")).Envelope.ID
	inside, closed := make(chan struct{}), make(chan error, 1)
	walked := make(chan error, 1)
	go func() {
		walked <- s.Each(func(Entry) error {
			close(inside)
			for {
				if _, err := s.Load(id); errors.Is(err, ErrClosed) {
					return err
				}
			}
		})
	}()
	<-inside
	go func() { closed <- s.Close() }()
	if err := <-walked; !errors.Is(err, ErrClosed) {
		t.Errorf("Each: %v", err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// After the clock was set back no ID is reused, neither within a run nor after a restart.
func TestClockStepsBack(t *testing.T) {
	o := testOptions(memory())
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	o.Now = func() time.Time { return now }
	s := openTest(t, o)
	first := store(t, s, nil).Envelope.ID
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	now = now.Add(-time.Hour)
	s = openTest(t, o)
	second := store(t, s, nil).Envelope.ID
	if bytes.Compare(second[:], first[:]) <= 0 {
		t.Errorf("%s (%v) after %s (%v)", second, second.Time(), first, first.Time())
	}
}

// The space that the engine holds for removed messages can be reclaimed.
func TestReclaim(t *testing.T) {
	o := testOptions(memory())
	s := openTest(t, o)
	var ids []mail.ID
	for range 1500 {
		ids = append(ids, store(t, s, make([]byte, 4000)).Envelope.ID)
	}
	kept := ids[700]
	for _, id := range ids {
		if id != kept {
			if err := s.Remove(id); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Two blob files of a memtable's size, and what the engine has beside them.
	const twoFiles = 2_200_000
	before := s.engine.usage()
	if before < twoFiles {
		t.Fatalf("the engine only has %d bytes on the disk", before)
	}
	shrinks := func(to int64) {
		t.Helper()
		if !kit.Within(5*time.Second, func() bool { // once the removals are written
			s.reclaim(t.Context())
			return s.engine.usage() < to
		}) {
			t.Errorf("%d bytes, %d before", s.engine.usage(), before)
		}
	}
	// Young data is not rewritten because of a single message among its neighbours, so a blob file
	// or two remain.
	shrinks(twoFiles)
	if _, _, err := loaded(s, kept); err != nil {
		t.Error(err)
	}
	if err := s.Remove(kept); err != nil {
		t.Fatal(err)
	}
	shrinks(100_000)
}

// An error in background work makes the spool refuse mail until the engine works again; corruption
// makes it refuse for good.
func TestBackgroundTrouble(t *testing.T) {
	s := openTest(t, testOptions(memory()))
	l := s.engine.listener()
	wantEngine := func(want bool) {
		t.Helper()
		var full *Full
		if err := s.Accepting(); errors.As(err, &full) != want || want && full.Reason != ReasonEngine {
			t.Errorf("%v", err)
		}
		if err := s.Probe(t.Context()); (err != nil) != want {
			t.Errorf("probe: %v", err)
		}
	}
	wantEngine(false)
	l.BackgroundError(errors.New("read"))
	wantEngine(true)
	l.FlushEnd(pebble.FlushInfo{Err: errors.New("again")})
	wantEngine(true)
	l.FlushEnd(pebble.FlushInfo{})
	wantEngine(false)
	l.DataCorruption(pebble.DataCorruptionInfo{Path: "x", Details: errors.New("bits")})
	l.FlushEnd(pebble.FlushInfo{})
	wantEngine(true)
	if err := s.engine.err(); err != nil {
		t.Errorf("failed for good: %v", err)
	}
}
