package core

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"anymx/edge/mail"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// deep is a directory that does not exist at first, and neither do its parents.
const deep = "/var/lib/anymx/core"

func mustOpen(t testing.TB, fs vfs.FS) *store {
	t.Helper()
	s, err := openStore(fs, deep, 1, slog.New(slog.DiscardHandler), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// crashable is a file system that can be cloned while it is used: MemFS's Link takes the lock of
// CrashClone twice, and would hang if a clone came in between.
type crashable struct {
	*vfs.MemFS
	links sync.RWMutex
}

func (c *crashable) Link(from, to string) error {
	c.links.RLock()
	defer c.links.RUnlock()
	return c.MemFS.Link(from, to)
}

func (c *crashable) clone(cfg vfs.CrashCloneCfg) *vfs.MemFS {
	c.links.Lock()
	defer c.links.Unlock()
	return c.CrashClone(cfg)
}

// put stores one message as a session does, and returns keep's errors.
func put(s *store, who identity, text string, to ...string) []error {
	var paths []mail.Path
	for _, address := range to {
		p, err := mail.ParsePath(address)
		if err != nil {
			panic(err)
		}
		paths = append(paths, p)
	}
	fail := func(err error) []error {
		errs := make([]error, len(to))
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	in, err := s.newIncoming()
	if err != nil {
		return fail(err)
	}
	defer in.discard()
	if _, err := in.Write([]byte(text)); err != nil {
		return fail(err)
	}
	return in.keep(who, paths, false)
}

// kept returns the messages in new/ of a mailbox, by file name.
func kept(t testing.TB, fs vfs.FS, box string) map[string]string {
	t.Helper()
	dir := deep + "/mail/" + box + "/new"
	names, err := fs.List(dir)
	if err != nil && !errors.Is(err, iofs.ErrNotExist) {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, name := range names {
		f, err := fs.Open(fs.PathJoin(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(f)
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		all[name] = string(data)
	}
	return all
}

// parcel is a message of these tests, whose content has its identity and recipients.
type parcel struct {
	who  identity
	to   []string
	text string
}

func newParcel(ids *mail.IDs, n int) parcel {
	p := parcel{who: identity{ids.Next(time.Now()), "ams1"}}
	for i := range 1 + n%3 {
		p.to = append(p.to, fmt.Sprintf("b%d@d%d.example", (n+i)%7, n%5))
	}
	p.text = body(p.who.String(), 3000+n*531%20_000)
	return p
}

func (p parcel) put(s *store) []error { return put(s, p.who, p.text, p.to...) }

// check fails unless recipient i of p has the complete message exactly once.
func (p parcel) check(t testing.TB, fs vfs.FS, i int) {
	t.Helper()
	path, _ := mail.ParsePath(p.to[i])
	if got := kept(t, fs, mailboxOf(path))[fileName(p.who, time.Time{})]; got != p.text {
		t.Fatalf("%v of %v has %d bytes of %d", p.who, path, len(got), len(p.text))
	}
}

// TestCrashAfterReply: an acknowledged message is on stable storage, with each directory up to the
// root. Only synced data is left after the crash.
func TestCrashAfterReply(t *testing.T) {
	fs, ids := vfs.NewCrashableMem(), mail.NewIDs(1)
	s := mustOpen(t, fs)
	var all []parcel
	for n := range 20 {
		p := newParcel(ids, n)
		if err := errors.Join(p.put(s)...); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
		crashed := fs.CrashClone(vfs.CrashCloneCfg{})
		for _, p := range all {
			for i := range p.to {
				p.check(t, crashed, i)
			}
		}
		again := mustOpen(t, crashed)
		for _, p := range all {
			for i := range p.to { // as if a mail reader had moved it
				path, _ := mail.ParsePath(p.to[i])
				if err := crashed.Remove(deep + "/mail/" + mailboxOf(path) + "/new/" + fileName(p.who, time.Time{})); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(p.put(again)...); err != nil {
				t.Fatal(err)
			}
		}
		for d := range 5 {
			for b := range 7 {
				if got := kept(t, crashed, fmt.Sprintf("d%d.example/b%d", d, b)); len(got) != 0 {
					t.Fatalf("stored twice: %v", got)
				}
			}
		}
		closeStore(t, again)
	}
	closeStore(t, s)
}

func closeStore(t testing.TB, s *store) {
	t.Helper()
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
}

// TestCrashAnywhere cuts the power at random moments under load. All acknowledged messages are
// there and complete; nothing in new/ is torn, acknowledged or not; and after all messages are sent
// again, each mailbox has each message once.
func TestCrashAnywhere(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 40 {
		fs, ids := &crashable{MemFS: vfs.NewCrashableMem()}, mail.NewIDs(2)
		s := mustOpen(t, fs)
		var mu sync.Mutex
		var all, acknowledged, promised []parcel
		var crashed *vfs.MemFS
		crash := func() { // mu is held
			promised = acknowledged
			crashed = fs.clone(vfs.CrashCloneCfg{UnsyncedDataPercent: round % 5 * 25, RNG: rng})
		}
		const workers, each = 4, 10
		when := rng.IntN(workers * each)
		var running sync.WaitGroup
		for k := range workers {
			running.Go(func() {
				for n := range each {
					mu.Lock()
					p := newParcel(ids, k+n*workers)
					all = append(all, p)
					if len(all) > when && crashed == nil {
						crash() // while the other goroutines work
					}
					mu.Unlock()
					if err := errors.Join(p.put(s)...); err != nil {
						t.Error(err)
					}
					mu.Lock()
					acknowledged = append(acknowledged[:len(acknowledged):len(acknowledged)], p)
					mu.Unlock()
				}
			})
		}
		running.Wait()
		closeStore(t, s)
		if t.Failed() {
			return
		}
		checkCrashed(t, crashed, promised, all)
	}
}

func checkCrashed(t *testing.T, fs *vfs.MemFS, promised, all []parcel) {
	for _, p := range promised {
		for i := range p.to {
			p.check(t, fs, i)
		}
	}
	texts := make(map[string]string)
	boxes := make(map[string]int) // how many messages each must end up with
	for _, p := range all {
		texts[fileName(p.who, time.Time{})] = p.text
		for _, to := range p.to {
			path, _ := mail.ParsePath(to)
			boxes[mailboxOf(path)]++
		}
	}
	whole := func() {
		for box := range boxes {
			for name, text := range kept(t, fs, box) {
				if texts[name] != text {
					t.Fatalf("%s in %s is torn: %d bytes of %d", name, box, len(text), len(texts[name]))
				}
			}
		}
	}
	whole()
	s := mustOpen(t, fs)
	for _, p := range all {
		if err := errors.Join(p.put(s)...); err != nil {
			t.Fatal(err)
		}
	}
	whole()
	for box, n := range boxes {
		if got := len(kept(t, fs, box)); got != n {
			t.Fatalf("%s has %d messages, not %d", box, got, n)
		}
	}
	closeStore(t, s)
}

var errInjected = errors.New("injected")

// TestFaultAnywhere fails each write, sync, link and creation of a delivery in turn. No failed
// delivery is acknowledged; and when the message is sent again, to a store that was reopened after
// a power cut, each mailbox has it once.
func TestFaultAnywhere(t *testing.T) {
	seen := make(map[string]bool)
	for at := 0; ; at++ {
		mem, ids := vfs.NewCrashableMem(), mail.NewIDs(3)
		var on atomic.Bool
		var n atomic.Int64
		var failed atomic.Pointer[errorfs.Op]
		fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if on.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && n.Add(1) == int64(at+1) {
				failed.Store(&op)
				return errInjected
			}
			return nil
		}))
		s := mustOpen(t, fs)
		first := newParcel(ids, 0)
		if err := errors.Join(first.put(s)...); err != nil {
			t.Fatal(err)
		}
		p := parcel{who: identity{ids.Next(time.Now()), "ams1"}, to: []string{"b0@d0.example", "new@d0.example", "new@new.example"}, text: body("x", 40_000)}
		on.Store(true)
		errs := p.put(s)
		on.Store(false)
		op := failed.Load()
		if op == nil {
			if err := errors.Join(errs...); err != nil {
				t.Fatalf("nothing failed, but %v", err)
			}
			closeStore(t, s)
			break
		}
		what := fmt.Sprintf("fault %d, %v of %s", at, op.Kind, op.Path)
		seen[fmt.Sprint(op.Kind)] = true
		// Once without and once with a power cut.
		if s.ledger.err() == nil {
			for i, err := range errs {
				// A name whose sync failed must not count as stored.
				if path, _ := mail.ParsePath(p.to[i]); err != nil && kept(t, mem, mailboxOf(path))[fileName(p.who, time.Time{})] != "" {
					t.Errorf("%s: %s has what was refused with %v", what, path, err)
				}
			}
			checkFault(t, what, mem, s, p, errs)
			closeStore(t, s)
		}
		crashed := mem.CrashClone(vfs.CrashCloneCfg{})
		s = mustOpen(t, crashed)
		checkFault(t, what, crashed, s, p, errs)
		first.check(t, crashed, 0)
		closeStore(t, s)
		if t.Failed() {
			return
		}
		if at > 500 {
			t.Fatal("no end")
		}
	}
	for _, kind := range []errorfs.OpKind{errorfs.OpCreate, errorfs.OpLink, errorfs.OpMkdirAll, errorfs.OpFileWrite, errorfs.OpFileSync} {
		if !seen[fmt.Sprint(kind)] {
			t.Errorf("no %v has failed", kind)
		}
	}
	t.Log("failed:", seen)
}

func checkFault(t *testing.T, what string, fs vfs.FS, s *store, p parcel, errs []error) {
	t.Helper()
	for i, err := range errs {
		if err == nil {
			p.check(t, fs, i)
		}
		if r := storeReply(err); err != nil && !r.Transient() {
			t.Errorf("%s: %v", what, r)
		}
	}
	if err := errors.Join(p.put(s)...); err != nil {
		t.Errorf("%s: again: %v", what, err)
		return
	}
	for i := range p.to {
		p.check(t, fs, i)
		path, _ := mail.ParsePath(p.to[i])
		if got := len(kept(t, fs, mailboxOf(path))); got != 1 && !strings.HasPrefix(p.to[i], "b0@") || got > 2 {
			t.Errorf("%s: %s has %d messages", what, p.to[i], got)
		}
	}
}

// TestLedgerFails: when the engine fails, all mail is refused temporarily, Run returns an error,
// and Close does not hang.
func TestLedgerFails(t *testing.T) {
	var on atomic.Bool
	mem := vfs.NewMem()
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 40, TotalBytes: 1 << 40})
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if on.Load() && strings.Contains(op.Path, "/ledger/") && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return errInjected
		}
		return nil
	}))
	n := start(t, Options{Dir: deep, FS: fs})
	ended := make(chan error, 1)
	go func() { ended <- n.server.Run(t.Context()) }()
	smtp, lmtp := greet(t, n.smtp, "EHLO"), greet(t, n.lmtp, "LHLO")
	to := []string{"b@example.net", "c@example.net"}
	smtp.mustGive(transaction{ident: newIdent(), to: to, body: "x"}, false)
	on.Store(true)
	for _, r := range lmtp.give(transaction{ident: newIdent(), to: to, body: "x"}, true) {
		if !strings.HasPrefix(r, "451 4.3.0 ") {
			t.Errorf("got %q", r)
		}
	}
	if err := <-ended; !errors.Is(err, errLedger) {
		t.Errorf("Run ended with %v", err)
	}
	on.Store(false)
	smtp.say("MAIL FROM:<a@b.example>", "451 4.3.0 ")
	n.stop()
	if err := n.server.Close(t.Context()); !errors.Is(err, errLedger) {
		t.Errorf("Close: %v", err)
	}
}
