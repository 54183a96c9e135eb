package spool

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"anymx/edge/mail"
	"anymx/tests/kit"
)

var errInjected = errors.New("injected")

// nth makes the n-th operation of one kind fail, counted from when it is armed, and all later ones
// of that kind if it stays failed.
type nth struct {
	kind  string // as returned by kindOf; "": any
	n     int64
	stays bool

	armed  atomic.Bool
	mu     sync.Mutex
	seen   map[string]int64 // kinds of operations, and how many
	struck string           // the operation that failed first
}

func (f *nth) fail(op, path string) error {
	if !f.armed.Load() {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen == nil {
		f.seen = make(map[string]int64)
	}
	kind := kindOf(op, path)
	f.seen[kind]++
	f.seen[""]++
	if kind != f.kind && f.kind != "" {
		return nil
	}
	if seen := f.seen[f.kind]; seen != f.n && (!f.stays || seen < f.n) {
		return nil
	}
	if f.struck == "" {
		f.struck = op + " " + path
	}
	return fmt.Errorf("%s %s: %w", op, path, errInjected)
}

func (f *nth) what() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.struck
}

// kindOf classifies an operation by what it does, and to which sort of file.
func kindOf(op, path string) string {
	for _, c := range []struct{ part, sort string }{
		{".log", "log"}, {".sst", "table"}, {".blob", "blob"}, {"MANIFEST", "manifest"}, {"marker", "marker"},
		{"/bodies/", "body"}, {"/bodies", "bodies"}, {"/engine", "engine"},
	} {
		if strings.Contains(path, c.part) {
			return op + " " + c.sort
		}
	}
	return op + " other"
}

// script runs a whole life of a spool in one goroutine: small and big messages, a notification,
// updates and removals, enough of them to rotate logs and flush memtables. It stops at the first
// error after which nothing can work.
func script(s *Spool, h *history) (err error) {
	rng := rand.New(rand.NewPCG(5, 5))
	var ids []mail.ID
	commit := func(size int, about mail.ID) error {
		d, err := s.BeginDraft()
		if err != nil {
			return err
		}
		body := randomOf(rng, size)
		h.began(d.ID(), body, about)
		if err := writePieces(d, body); err != nil {
			d.Discard()
			return err
		}
		if about.IsZero() {
			_, err = d.Commit(message())
		} else {
			_, err = s.Replace(about, 0, nil, d, message())
		}
		if err == nil {
			h.with(d.ID(), func(r *record) { r.acked = true })
			ids = append(ids, d.ID())
		}
		return err
	}
	for i := range 110 {
		if e := commit([]int{100, 3000, 20_000, 4000, 4000}[i%5], mail.ID{}); e != nil {
			err = errors.Join(err, e)
			continue
		}
		id := ids[0]
		switch i % 7 {
		case 1:
			h.with(id, func(r *record) { r.asked++ })
			e := s.Update(id, 0, State{Attempts: 1})
			if e == nil {
				h.with(id, func(r *record) { r.attempts = 1 })
			}
			err = errors.Join(err, e)
		case 2, 3:
			ids = ids[1:]
			h.with(id, func(r *record) { r.removing = true })
			err = errors.Join(err, s.Remove(id))
		case 4:
			ids = ids[1:]
			h.with(id, func(r *record) { r.removing = true })
			err = errors.Join(err, commit(200, id))
		}
	}
	return err
}

// Each write operation in the life of a spool fails once, and in a second pass so do all later ones
// of its kind: after the following crash, exactly the acknowledged messages are there, and
// complete. A failed engine reports that it failed.
func TestFaults(t *testing.T) {
	for _, stays := range []bool{false, true} {
		t.Run(fmt.Sprintf("stays=%v", stays), func(t *testing.T) {
			if !inChild(t) {
				return
			}
			none := &nth{n: -1}
			faultAt(t, none, script)
			for _, kind := range []string{
				"create log", "reuse log", "write log", "sync log", "sync engine", "create table", "write table", "sync table",
				"create blob", "write blob", "sync blob", "write manifest", "sync manifest",
				"create body", "write body", "sync body", "sync bodies", "remove body",
			} {
				if none.seen[kind] == 0 {
					t.Errorf("no operation to fail: %s", kind)
				}
				failed := 0
				for n := int64(1); faultAt(t, &nth{kind: kind, n: n, stays: stays}, script); n += every() {
					if failed++; failed > 2000 {
						t.Fatalf("%s: no end of operations", kind)
					}
				}
				t.Logf("%s: %d failed", kind, failed)
			}
		})
	}
}

// every returns the step from one failing operation to the next: 1, but more under the race
// detector, which makes this slow.
func every() int64 {
	if racing {
		return 13
	}
	return 1
}

// faultAt runs work on a fresh spool with the fault f, crashes it, and checks what is recovered. It
// reports false if the fault did not occur.
func faultAt(t *testing.T, f *nth, work func(*Spool, *history) error) bool {
	fs, mem := crashable()
	fs.fail = f.fail
	o := testOptions(fs)
	o.tune.memtable = 64 << 10
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	h := &history{messages: map[mail.ID]*record{}}
	f.armed.Store(true)
	err = work(s, h)
	struck := f.what()
	if struck == "" && err != nil {
		t.Errorf("no fault, but %v", err)
	}
	checkFailed(t, s, struck)
	before := h.copy()
	clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: int(f.n%3) * 50, RNG: rand.New(rand.NewPCG(uint64(f.n), 1))})
	after := h.copy()
	f.armed.Store(false)
	if s.engine.err() == nil {
		err := s.Close()
		if err != nil && s.engine.err() == nil && !errors.Is(err, errInjected) {
			t.Errorf("%s: Close: %v", struck, err)
		}
	} else if err := s.Close(); !errors.Is(err, ErrEngine) {
		t.Errorf("%s: Close of a failed spool: %v", struck, err)
	}
	o.FS = &faultFS{FS: clone}
	c, err := Open(o)
	if err != nil {
		t.Errorf("%s: not recovered: %v", struck, err)
		return struck != ""
	}
	if err := compare(c, before, after); err != nil {
		t.Errorf("%s: %v", struck, err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("%s: Close after recovery: %v", struck, err)
	}
	return struck != ""
}

// checkFailed checks that every call on a failed engine returns that error at once.
func checkFailed(t *testing.T, s *Spool, struck string) {
	t.Helper()
	if s.engine.err() == nil {
		return
	}
	select {
	case <-s.Failed():
	default:
		t.Errorf("%s: Failed is not closed", struck)
	}
	var full *Full
	if err := s.Accepting(); !errors.As(err, &full) || full.Reason != ReasonEngine || !errors.Is(err, ErrEngine) {
		t.Errorf("%s: Accepting: %v", struck, err)
	}
	if err := s.Probe(t.Context()); !errors.Is(err, ErrEngine) {
		t.Errorf("%s: Probe: %v", struck, err)
	}
	if _, err := s.Load(mail.ID{1}); !errors.Is(err, ErrEngine) {
		t.Errorf("%s: Load: %v", struck, err)
	}
	if s.Stats().Refusing == "" {
		t.Errorf("%s: stats refuse nothing", struck)
	}
}

// A fault during many concurrent commits: each of them returns, and no acknowledged message is
// lost.
func TestFaultsAmongMany(t *testing.T) {
	if !inChild(t) {
		return
	}
	many := func(s *Spool, h *history) error {
		stop := make(chan struct{})
		errs := make(chan error, 8)
		for i := range cap(errs) {
			go func() { errs <- work(s, h, rand.New(rand.NewPCG(uint64(i), 9)), stop) }()
		}
		kit.Within(2*time.Second, func() bool { return s.engine.err() != nil || s.metrics.syncs.Load() > 100 })
		close(stop)
		var err error
		for range cap(errs) {
			select {
			case e := <-errs:
				err = errors.Join(err, e)
			case <-time.After(20 * time.Second):
				t.Fatalf("%s", stacks())
			}
		}
		return err
	}
	struck, failed := 0, 0
	for n := int64(1); n < 400; n += 7 * every() {
		f := &nth{n: n, stays: n%2 == 0}
		if faultAt(t, f, many) {
			struck++
		}
		if t.Failed() {
			failed++
			if failed > 3 {
				break
			}
		}
	}
	if struck < 20/int(every()) {
		t.Errorf("only %d faults struck", struck)
	}
}

func stacks() []byte {
	b := make([]byte, 1<<20)
	return b[:runtime.Stack(b, true)]
}

// Each write operation during Open fails: Open returns an error or works, and no stored message is
// lost.
func TestFaultsOfOpen(t *testing.T) {
	for _, fresh := range []bool{true, false} {
		t.Run(fmt.Sprintf("fresh=%v", fresh), func(t *testing.T) {
			if !inChild(t) {
				return
			}
			n := int64(1)
			for ; faultOfOpen(t, n, fresh); n += every() {
				if n > 1000 {
					t.Fatal("no end of operations")
				}
			}
			t.Logf("the first %d operations failed", n-1)
			if n < 10 {
				t.Errorf("only %d operations", n-1)
			}
		})
	}
}

func faultOfOpen(t *testing.T, n int64, fresh bool) bool {
	fs, mem := crashable()
	o := testOptions(fs)
	h := &history{messages: map[mail.ID]*record{}}
	if !fresh {
		s, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := script(s, h); err != nil {
			t.Fatal(err)
		}
		// Not closed: a crash leaves more to recover.
		mem = mem.CrashClone(vfs.CrashCloneCfg{})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	f := &nth{n: n}
	f.armed.Store(true)
	o.FS = &faultFS{FS: mem, fail: f.fail}
	s, err := Open(o)
	if err == nil {
		err = s.Close()
	}
	struck := f.what()
	if err != nil && struck == "" {
		t.Errorf("no fault, but %v", err)
	}
	known := h.copy()
	o.FS = &faultFS{FS: mem.CrashClone(vfs.CrashCloneCfg{})}
	c, err := Open(o)
	if err != nil {
		t.Errorf("%s: not recovered: %v", struck, err)
		return struck != ""
	}
	if err := compare(c, known, known); err != nil {
		t.Errorf("%s: %v", struck, err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("%s: Close after recovery: %v", struck, err)
	}
	return struck != ""
}

// A body file that can't be written affects only that message.
func TestBodyFault(t *testing.T) {
	for _, op := range []string{"create", "write", "sync"} {
		t.Run(op, func(t *testing.T) {
			fs := memory()
			var on atomic.Bool
			fs.fail = func(o, path string) error {
				if on.Load() && o == op && strings.Contains(path, "/bodies") {
					return syscall.ENOSPC
				}
				return nil
			}
			s := openTest(t, testOptions(fs))
			on.Store(true)
			if _, err := tryStore(s, make([]byte, 50_000)); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("error %v", err)
			}
			on.Store(false)
			if ids, _, err := s.bodies.list(); err != nil || len(ids) != 0 {
				t.Errorf("left %v, %v", ids, err)
			}
			if st := s.Stats(); st.Drafts != 0 || st.Messages != 0 || s.ledger.inFlight.Load() != 0 {
				t.Errorf("stats %+v", st)
			}
			if err := s.Accepting(); err != nil {
				t.Error(err)
			}
			store(t, s, make([]byte, 50_000))
		})
	}
}

// After a fatal error of the engine, no call reports success.
func TestFatal(t *testing.T) {
	if !inChild(t) {
		return
	}
	s, err := Open(testOptions(memory()))
	if err != nil {
		t.Fatal(err)
	}
	d := begin(t, s, "draft")
	went := make(chan bool)
	go func() {
		defer close(went)
		engineLog{s.engine}.Fatalf("no more %s", "disk")
		went <- true
	}()
	if <-went {
		t.Error("Fatalf returns")
	}
	checkFailed(t, s, "Fatalf")
	for what, err := range map[string]error{
		"Commit": func() error { _, err := d.Commit(message()); return err }(),
		"Update": s.Update(mail.ID{1}, 0, State{}),
		"Remove": s.Remove(mail.ID{1}),
		"Each":   s.Each(func(Entry) error { return nil }),
		"Close":  s.Close(),
	} {
		if !errors.Is(err, ErrEngine) || !strings.Contains(err.Error(), "no more disk") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
