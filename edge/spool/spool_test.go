package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/prometheus/client_golang/prometheus"

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
				want := Entry{ID: e.ID, Size: env.Size, Arrived: env.Arrived.UTC().Round(0), Origin: env.Origin, Recipients: 1}
				if !reflect.DeepEqual(e, want) {
					t.Errorf("entry %+v, want %+v", e, want)
				}
				got = append(got, e.ID)
				m, st, err := s.Load(e.ID)
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
			if err := s.Update(id, State{Attempts: 2}); err != nil {
				t.Fatal(err)
			}
			if err := s.Remove(id); err != nil {
				t.Fatal(err)
			}
			wantGone(t, s, id)
			for what, err := range map[string]error{"Remove": s.Remove(id), "Update": s.Update(id, State{})} {
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
			if err := s.Update(id, st); err != nil {
				t.Fatal(err)
			}
		}
		check := func() {
			t.Helper()
			if _, st, err := s.Load(id); err != nil || !reflect.DeepEqual(st, want) {
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
		if err := s.Update(mail.ID{1}, State{}); !errors.Is(err, ErrNotFound) {
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
			delayed, err := s.Replace(id, &State{Attempts: 3, DelayNoticed: true}, d, message())
			if err != nil {
				t.Fatal(err)
			}
			if _, st, err := s.Load(id); err != nil || !st.DelayNoticed {
				t.Errorf("state %+v, %v", st, err)
			}
			failed, err := s.Replace(id, nil, begin(t, s, "failed"), message())
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
				if _, err := s.Replace(id, st, begin(t, s, "late"), message()); !errors.Is(err, ErrNotFound) {
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

func begin(t testing.TB, s *Spool, body string) *Draft {
	t.Helper()
	d, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(d, body); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDraftEnds(t *testing.T) {
	eachShape(t, func(t *testing.T, o Options) {
		s := openTest(t, o)
		for _, size := range []int{10, 100_000} {
			d := begin(t, s, strings.Repeat("x", size))
			if d.Size() != int64(size) || d.ID().IsZero() {
				t.Errorf("draft %s of %d bytes", d.ID(), d.Size())
			}
			d.Discard()
			d.Discard()
			if _, err := d.Write([]byte("x")); err == nil {
				t.Error("wrote to a discarded draft")
			}
			if _, err := d.Commit(message()); err == nil {
				t.Error("committed a discarded draft")
			}
			wantGone(t, s, d.ID())

			d = begin(t, s, strings.Repeat("y", size))
			m, err := d.Commit(message())
			if err != nil {
				t.Fatal(err)
			}
			d.Discard()
			if _, err := d.Commit(message()); err == nil {
				t.Error("committed twice")
			}
			if body, err := bodyOf(m); err != nil || len(body) != size {
				t.Errorf("body of %d bytes after Discard, %v", len(body), err)
			}
		}
		if ids, _, err := s.bodies.list(); err != nil || len(ids) != 1 {
			t.Errorf("body files %v, %v", ids, err)
		}
		if st := s.Stats(); st.Drafts != 0 || s.ledger.inFlight.Load() != 0 {
			t.Errorf("stats %+v, in flight %d", st, s.ledger.inFlight.Load())
		}
	})
}

// A draft uses no more memory than Options.InlineMax however long it gets, and nothing is lost
// between its pieces.
func TestDraftMemory(t *testing.T) {
	o := testOptions(memory())
	o.InlineMax = 256 << 10
	s := openTest(t, o)
	rng := rand.New(rand.NewPCG(8, 8))
	body := randomOf(rng, 3<<20)
	d := begin(t, s, "")
	for rest := body; len(rest) > 0; {
		n := min(len(rest), []int{1, 1000, 40_000, 64 << 10, 100_000}[rng.IntN(5)])
		if _, err := d.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
		if c := cap(d.buf.b); int64(c) > o.InlineMax || d.file != nil && c > spillPiece {
			t.Fatalf("buffer of %d bytes after %d", c, d.Size())
		}
	}
	m, err := d.Commit(message())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := bodyOf(m); err != nil || !bytes.Equal(got, body) {
		t.Errorf("other body, %v", err)
	}
}

// The memory of bodies is bounded, and freed by Release, but not before the last reader is done.
func TestMemoryBudget(t *testing.T) {
	o := testOptions(memory())
	o.Memory = 3 * firstBuffer
	s := openTest(t, o)
	var held []*Message
	for i := range 5 {
		m := store(t, s, []byte(fmt.Sprint("body ", i)))
		held = append(held, m)
	}
	if got := s.Stats().MemoryBytes; got != o.Memory {
		t.Errorf("%d bytes in memory, want %d", got, o.Memory)
	}
	r, err := held[0].Body()
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range held {
		if body, err := bodyOf(m); err != nil || string(body) != fmt.Sprint("body ", i) {
			t.Errorf("body %q, %v", body, err)
		}
		m.Release()
		m.Release()
	}
	if got := s.Stats().MemoryBytes; got != firstBuffer {
		t.Errorf("%d bytes in memory while one is read", got)
	}
	if b, ok := r.Bytes(); !ok || string(b) != "body 0" {
		t.Errorf("read %q", b)
	}
	r.Close()
	r.Close()
	if got := s.Stats().MemoryBytes; got != 0 {
		t.Errorf("%d bytes in memory", got)
	}
}

// An envelope of thousands of recipients does not leave its memory in the pool of small buffers,
// and is read back complete.
func TestManyRecipients(t *testing.T) {
	s := openTest(t, testOptions(memory()))
	env := message()
	for i := range 20_000 {
		env.Recipients = append(env.Recipients, mail.Recipient{Path: mail.Path{Local: fmt.Sprint("r", i), Domain: "example.net"}})
	}
	m, err := begin(t, s, "to all").Commit(env)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := s.Load(m.Envelope.ID)
	if err != nil || !slices.Equal(got.Envelope.Recipients, env.Recipients) {
		t.Errorf("%d recipients, %v", len(got.Envelope.Recipients), err)
	}
	for range 10 {
		if b := newBuffer(0); cap(b.b) != bufferSizes[0] {
			t.Fatalf("a small buffer of %d bytes", cap(b.b))
		}
	}
}

// Bodies from memory, the engine and a file are read in small steps, then with WriteTo, over a TCP
// connection.
func TestBodyReads(t *testing.T) {
	eachShape(t, func(t *testing.T, o Options) {
		s := openTest(t, o)
		for _, size := range []int{10, 3000, 200_000} {
			body := randomOf(rand.New(rand.NewPCG(3, 3)), size)
			m := store(t, s, body)
			for _, when := range []string{"memory", "disk"} {
				b, err := m.Body()
				if err != nil {
					t.Fatal(err)
				}
				if b.Size() != int64(size) {
					t.Errorf("size %d", b.Size())
				}
				head := make([]byte, 7)
				if _, err := io.ReadFull(b, head); err != nil {
					t.Fatal(err)
				}
				rest := overTCP(t, b)
				if !bytes.Equal(append(head, rest...), body) {
					t.Errorf("%d bytes from %s: read something else", size, when)
				}
				if n, err := b.Read(head); n != 0 || err != io.EOF {
					t.Errorf("after the end: %d, %v", n, err)
				}
				if err := b.Close(); err != nil {
					t.Error(err)
				}
				if _, err := b.Read(head); !errors.Is(err, fs.ErrClosed) {
					t.Errorf("read after Close: %v", err)
				}
				if _, err := b.WriteTo(io.Discard); !errors.Is(err, fs.ErrClosed) {
					t.Errorf("WriteTo after Close: %v", err)
				}
				m.Release()
			}
		}
	})
}

// overTCP sends b over a connection and returns what arrives.
func overTCP(t *testing.T, b io.WriterTo) []byte {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan []byte)
	go func() {
		c, err := l.Accept()
		if err != nil {
			got <- nil
			return
		}
		defer c.Close()
		all, _ := io.ReadAll(c)
		got <- all
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.WriteTo(c)
	if err := errors.Join(err, c.Close()); err != nil {
		t.Error(err)
	}
	return <-got
}

func TestLimits(t *testing.T) {
	const reserve = 1 << 20
	for _, c := range []struct {
		name string
		set  func(*Options)
		free int64
		want Reason // after three messages of 1000 bytes
	}{
		{"none", func(*Options) {}, 0, ""},
		{"high water", func(o *Options) { o.HighWater = 3000 }, 0, ReasonHighWater},
		{"below high water", func(o *Options) { o.HighWater = 3001 }, 0, ""},
		{"messages", func(o *Options) { o.MaxMessages = 3 }, 0, ReasonMessages},
		{"fewer messages", func(o *Options) { o.MaxMessages = 4 }, 0, ""},
		{"disk reserve", func(o *Options) { o.DiskReserve = reserve }, reserve + 2999, ReasonReserve},
		{"enough disk", func(o *Options) { o.DiskReserve = reserve }, reserve + 3000, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := testOptions(memory())
			o.DiskFree = func(string) (int64, error) { return c.free, nil }
			c.set(&o)
			s := openTest(t, o)
			s.stop() // the watch would check the disk again
			var last *Message
			for range 3 {
				if err := s.Accepting(); err != nil {
					t.Fatal(err)
				}
				last = store(t, s, make([]byte, 1000))
			}
			err := s.Accepting()
			var full *Full
			switch {
			case c.want == "" && err != nil:
				t.Fatalf("refuses: %v", err)
			case c.want != "" && (!errors.As(err, &full) || full.Reason != c.want):
				t.Fatalf("%v, want %s", err, c.want)
			case c.want != "" && !strings.Contains(s.Stats().Refusing, string(c.want)):
				t.Errorf("stats say %q", s.Stats().Refusing)
			}
			if _, err := s.Begin(); (err != nil) != (c.want != "") {
				t.Errorf("Begin: %v", err)
			}
			if c.want == ReasonHighWater || c.want == ReasonMessages {
				if err := s.Remove(last.Envelope.ID); err != nil {
					t.Fatal(err)
				}
				if err := s.Accepting(); err != nil {
					t.Errorf("refuses after a removal: %v", err)
				}
			}
		})
	}
}

// Bodies that are being written to files count before they are committed, and are refused when they
// have used up half of the reserve.
func TestLimitsInFlight(t *testing.T) {
	const reserve = 1 << 20
	o := testOptions(memory())
	o.DiskReserve, o.HighWater = reserve, 10<<20
	free := int64(reserve + 100_000)
	o.DiskFree = func(string) (int64, error) { return free, nil }
	s := openTest(t, o)
	d := begin(t, s, "")
	defer d.Discard()
	piece := make([]byte, 64<<10)
	var full *Full
	refused := false
	written := 0
	for range 100 {
		if _, err := d.Write(piece); err != nil {
			if !errors.As(err, &full) || full.Reason != ReasonReserve {
				t.Fatal(err)
			}
			break
		}
		written += len(piece)
		if err := s.Accepting(); errors.As(err, &full) {
			refused = true
		}
	}
	// The watch may have checked the disk in between, which does not fill: then the draft got
	// further.
	if !refused || written < reserve/2 {
		t.Errorf("refused new messages: %v; the draft got to %d bytes", refused, written)
	}
	if _, err := d.Commit(message()); !errors.As(err, &full) {
		t.Errorf("committed: %v", err)
	}
	if n := s.ledger.inFlight.Load(); n != 0 {
		t.Errorf("%d bytes in flight", n)
	}
	if ids, _, _ := s.bodies.list(); len(ids) != 0 {
		t.Errorf("body files %v", ids)
	}
}

// The disk is checked periodically.
func TestDiskWatch(t *testing.T) {
	o := testOptions(memory())
	o.DiskReserve = 1000
	var mu sync.Mutex
	free := int64(500)
	o.DiskFree = func(dir string) (int64, error) {
		if dir != o.Dir {
			t.Errorf("asked for %s", dir)
		}
		mu.Lock()
		defer mu.Unlock()
		return free, nil
	}
	s := openTest(t, o)
	if err := s.Accepting(); err == nil {
		t.Fatal("accepts on a full disk")
	}
	mu.Lock()
	free = 5000
	mu.Unlock()
	if !kit.Within(5*time.Second, func() bool { return s.Accepting() == nil }) {
		t.Error("does not accept when there is room again")
	}
}

// A hanging commit makes the spool refuse mail until it completes.
func TestHangingCommit(t *testing.T) {
	s := openTest(t, testOptions(memory()))
	s.committer.began.Store(time.Now().Add(-time.Minute).UnixNano())
	s.checkHealth(time.Now())
	var full *Full
	if err := s.Accepting(); !errors.As(err, &full) || full.Reason != ReasonEngine {
		t.Errorf("%v", err)
	}
	s.committer.began.Store(0)
	s.checkHealth(time.Now())
	if err := s.Accepting(); err != nil {
		t.Error(err)
	}
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
		"Close":     s.Close,
		"Accepting": s.Accepting,
		"Begin":     func() error { _, err := s.Begin(); return err },
		"Commit":    func() error { _, err := small.Commit(message()); return err },
		"Commit of a big one": func() error {
			_, err := big.Commit(message())
			return err
		},
		"Load":   func() error { _, _, err := s.Load(id); return err },
		"Body":   func() error { _, err := m.Body(); return err },
		"Update": func() error { return s.Update(id, State{}) },
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
				if _, _, err := s.Load(id); errors.Is(err, ErrClosed) {
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

func TestLocked(t *testing.T) {
	eachShape(t, func(t *testing.T, o Options) {
		s := openTest(t, o)
		if _, err := Open(o); !errors.Is(err, ErrLocked) {
			t.Errorf("opened twice: %v", err)
		}
		store(t, s, []byte("goes on"))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		openTest(t, o)
	})
}

// Another process holds the spool.
func TestLockedByProcess(t *testing.T) {
	if dir := os.Getenv("SPOOL_TEST_DIR"); dir != "" && os.Getenv(childOf) != "" {
		o := testOptions(nil)
		o.Dir = dir
		if _, err := Open(o); !errors.Is(err, ErrLocked) {
			t.Fatalf("opened what another process holds: %v", err)
		}
		return
	}
	o := testOptions(nil)
	o.Dir = t.TempDir()
	openTest(t, o)
	t.Setenv("SPOOL_TEST_DIR", o.Dir)
	inChild(t)
}

// A store of a newer schema, or in a format unknown to the engine, is refused, and not a byte of it
// changes.
func TestNewer(t *testing.T) {
	for name, age := range map[string]func(t *testing.T, dir string){
		"schema": func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "VERSION"), fmt.Sprintln("anymx spool", Schema+1))
		},
		"engine": func(t *testing.T, dir string) {
			old, err := filepath.Glob(filepath.Join(dir, "engine", "marker.format-version.*"))
			if err != nil || len(old) != 1 {
				t.Fatal(old, err)
			}
			if err := os.Rename(old[0], filepath.Join(dir, "engine", "marker.format-version.000099.999")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := testOptions(nil)
			o.Dir = t.TempDir()
			s := openTest(t, o)
			store(t, s, []byte("body"))
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			age(t, o.Dir)
			before := tree(t, o.Dir)
			if _, err := Open(o); !errors.Is(err, ErrNewer) {
				t.Errorf("error %v, want ErrNewer", err)
			}
			if after := tree(t, o.Dir); !reflect.DeepEqual(before, after) {
				t.Errorf("changed: %v, before %v", after, before)
			}
		})
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// tree returns all that a directory holds, with times.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		all[path] = fmt.Sprint(info.Mode(), info.Size(), info.ModTime())
		if !d.IsDir() {
			b, err := os.ReadFile(path)
			all[path] += string(b)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestOpenErrors(t *testing.T) {
	for _, c := range []struct {
		name, want string
		set        func(t *testing.T, o *Options)
	}{
		{"strange version", "is not a version of this program", func(t *testing.T, o *Options) { write(t, filepath.Join(o.Dir, "VERSION"), "something else") }},
		{"inline too big", "between 1 and", func(t *testing.T, o *Options) { o.InlineMax = MaxInline + 1 }},
		{"inline negative", "between 1 and", func(t *testing.T, o *Options) { o.InlineMax = -1 }},
		{"disk not known", "no figure", func(t *testing.T, o *Options) {
			o.DiskReserve, o.DiskFree = 1, func(string) (int64, error) { return 0, errors.New("no figure") }
		}},
		{"not a directory", "spool", func(t *testing.T, o *Options) { o.Dir = filepath.Join(o.Dir, "f"); write(t, o.Dir, "") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			kit.NoLeaks(t)
			o := Options{Dir: t.TempDir()}
			c.set(t, &o)
			s, err := Open(o)
			if err == nil {
				s.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), o.Dir) {
				t.Errorf("error %q", err)
			}
		})
	}
}

// Two spools can't share a registerer at the same time, but one after the other.
func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	o := testOptions(memory())
	o.Metrics = reg
	s := openTest(t, o)
	store(t, s, make([]byte, 123))
	o2 := testOptions(memory())
	o2.Metrics = reg
	if _, err := Open(o2); err == nil {
		t.Error("registered twice")
	}
	got := gathered(t, reg)
	for name, want := range map[string]float64{
		"anymx_spool_messages": 1, "anymx_spool_bytes": 123, "anymx_spool_committed_messages_total": 1, "anymx_spool_accepting": 1,
		"anymx_spool_commit_seconds": 1, "anymx_spool_group_commits": 1,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	openTest(t, o)
	if n := gathered(t, reg)["anymx_spool_messages"]; n != 1 {
		t.Errorf("%v messages after opening again", n)
	}
}

// gathered returns each metric without labels, of histograms the count.
func gathered(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		m := f.GetMetric()[0]
		all[f.GetName()] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	return all
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
