package spool

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"sync"
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
		d, err := s.BeginDraft()
		if err != nil {
			return mail.ID{}, err
		}
		body := randomOf(rng, []int{0, 50, 500, 3000, 5000, 20_000}[rng.IntN(6)])
		env := message()
		setParts(rng, env, body)
		h.began(d.ID(), deliveredOf(env, body), about)
		if err := writePieces(d, body); err != nil {
			d.Discard()
			return mail.ID{}, err
		}
		if rng.IntN(10) == 0 && about.IsZero() {
			d.Discard()
			return mail.ID{}, nil
		}
		if about.IsZero() {
			_, err = d.Commit(env)
		} else {
			_, err = s.Replace(about, 0, nil, d, env)
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
			if err := s.Update(id, 0, State{Attempts: attempts, Recipients: make([]RecipientState, 1)}); err != nil {
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
		_, err = c.Load(id)
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
