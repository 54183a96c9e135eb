package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"sort"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"anymx/edge/mail"
)

// The newest log is truncated at each byte of its last two records, as a crash before their sync
// would do, and each byte of the last record is corrupted. The store opens, all earlier messages
// are there, and a lost one is lost completely.
func TestTornLog(t *testing.T) {
	fsys, mem := crashable()
	o := testOptions(fsys)
	s := openTest(t, o)
	if err := s.Close(); err != nil { // the very first log has an older format
		t.Fatal(err)
	}
	s = openTest(t, o)
	var ids []mail.ID
	var ends []int // end of the log after each message
	for i := range 5 {
		ids = append(ids, store(t, s, []byte(strings.Repeat(fmt.Sprint(i), 40))).Envelope.ID)
		ends = append(ends, len(newestLog(t, mem, o.Dir)))
	}
	log := newestLog(t, mem, o.Dir)
	step := 1
	if racing || testing.Short() {
		step = 13
	}
	for _, garble := range []bool{false, true} {
		from := ends[2]
		if garble {
			from = ends[3]
		}
		for at := from; at < len(log); at += step {
			torn := bytes.Clone(log[:at])
			if garble {
				torn = bytes.Clone(log)
				torn[at] ^= 0x5a
			}
			clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 0})
			replaceNewestLog(t, clone, o.Dir, torn)
			whole := 3 // messages that must be there
			if at >= ends[3] {
				whole = 4
			}
			co := o
			co.FS = &faultFS{FS: clone}
			c, err := Open(co)
			if err != nil {
				t.Errorf("garbled %v at %d of %d: %v", garble, at, len(log), err)
				continue
			}
			found := 0
			for i, id := range ids {
				m, err := c.Load(id)
				if errors.Is(err, ErrNotFound) {
					break
				} else if err != nil {
					t.Fatal(err)
				}
				body, err := bodyOf(m)
				if err != nil || string(body) != strings.Repeat(fmt.Sprint(i), 40) {
					t.Errorf("garbled %v at %d: message %d is not whole: %q, %v", garble, at, i, body, err)
				}
				found++
			}
			if found < whole || found > len(ids) || len(entries(t, c)) != found {
				t.Errorf("garbled %v at %d of %d (ends %v): %d messages, want %d at least", garble, at, len(log), ends, found, whole)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func newestLogPath(t *testing.T, fsys vfs.FS, dir string) string {
	t.Helper()
	names, err := fsys.List(dir + "/engine")
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(names)
	newest := ""
	for _, n := range names {
		if path.Ext(n) == ".log" {
			newest = n
		}
	}
	return dir + "/engine/" + newest
}

func newestLog(t *testing.T, fsys vfs.FS, dir string) []byte {
	t.Helper()
	f, err := fsys.Open(newestLogPath(t, fsys, dir))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return b
}

func replaceNewestLog(t *testing.T, fsys *vfs.MemFS, dir string, log []byte) {
	t.Helper()
	if err := rewrite(&faultFS{FS: fsys}, newestLogPath(t, fsys, dir), log); err != nil {
		t.Fatal(err)
	}
}

// While the disk fills up, the spool refuses mail before it accepts a message; without a reserve, a
// message that does not fit gets an error. In neither case is an acknowledged message lost.
func TestDiskFull(t *testing.T) {
	for _, c := range []struct {
		name    string
		size    int
		reserve int64
	}{
		{"small, reserve", 3500, 24 << 20},
		{"big, reserve", 300_000, 24 << 20},
		{"small, no reserve", 3500, 0},
		{"big, no reserve", 300_000, 0},
	} {
		t.Run(strings.ReplaceAll(c.name, ", ", "_"), func(t *testing.T) {
			if os.Getuid() != 0 {
				t.Skip("needs root, to mount a small file system")
			}
			if !inChild(t) {
				return
			}
			dir := t.TempDir()
			if err := syscall.Mount("spool-test", dir, "tmpfs", 0, "size=48m"); err != nil {
				t.Skip("mount: ", err)
			}
			t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
			o := testOptions(nil)
			o.Dir, o.DiskReserve = dir+"/spool", c.reserve
			fillUp(t, o, c.size)
			if err := syscall.Mount("spool-test", dir, "tmpfs", syscall.MS_REMOUNT, "size=256m"); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// fillUp stores messages until no more fit.
func fillUp(t *testing.T, o Options, size int) {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	body := bytes.Repeat([]byte("x"), size)
	acked := map[mail.ID]bool{}
	var end error
	for range 200_000 {
		var m *Message
		if m, end = tryStore(s, body); end != nil {
			break
		}
		acked[m.Envelope.ID] = true
		m.Release()
	}
	var full *Full
	t.Logf("%d messages, then %v", len(acked), end)
	switch {
	case end == nil:
		t.Fatal("the disk does not fill")
	case o.DiskReserve > 0 && (!errors.As(end, &full) || full.Reason != ReasonReserve):
		t.Errorf("%v, want %s", end, ReasonReserve)
	case o.DiskReserve > 0:
		if err := s.Probe(t.Context()); err != nil {
			t.Errorf("probe: %v", err)
		}
	case !errors.Is(end, syscall.ENOSPC):
		t.Errorf("%v, want no space left", end)
	}
	if len(acked) < 10 {
		t.Errorf("only %d messages", len(acked))
	}
	closed := s.Close()
	if o.DiskReserve > 0 && closed != nil {
		t.Error(closed)
	}
	if s.engine.err() != nil {
		// As a restart would find it, except for the lock.
		if err := syscall.Mount("spool-test", path.Dir(o.Dir), "tmpfs", syscall.MS_REMOUNT, "size=256m"); err != nil {
			t.Fatal(err)
		}
		moved := o.Dir + ".crashed"
		if err := copyTree(o.Dir, moved); err != nil {
			t.Fatal(err)
		}
		o.Dir = moved
	}
	o.DiskReserve = 0
	s, err = Open(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries(t, s) {
		sum, _, err := loaded(s, e.ID)
		if err != nil || e.Size != int64(size) {
			t.Errorf("%s: %d bytes, sum %x, %v", e.ID, e.Size, sum, err)
		}
		delete(acked, e.ID)
	}
	if len(acked) > 0 {
		t.Errorf("%d messages acknowledged and lost", len(acked))
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func copyTree(from, to string) error {
	return os.CopyFS(to, os.DirFS(from))
}

// A long queue is recovered without holding it in memory.
func TestRecoverMany(t *testing.T) {
	n := 200_000
	if racing || testing.Short() {
		n = 20_000
	}
	o := Options{Dir: t.TempDir()}
	s := openTest(t, o)
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			for range n / 200 {
				if _, err := tryStore(s, []byte("a short body")); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	some := entries(t, s)[:100]
	for _, e := range some {
		if err := s.Update(e.ID, 0, State{Attempts: 4}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	s = openTest(t, o)
	t.Logf("opened in %v", time.Since(start))
	if st := s.Stats(); st.Messages != int64(n) || st.Bytes != int64(12*n) {
		t.Errorf("stats %+v", st)
	}
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start = time.Now()
	var peak uint64
	count, updated := 0, 0
	var last mail.ID
	err := s.Each(func(e Entry) error {
		if bytes.Compare(e.ID[:], last[:]) <= 0 {
			return fmt.Errorf("%s after %s", e.ID, last)
		}
		last = e.ID
		updated += e.State.Attempts / 4
		if count++; count%(n/20) == 0 {
			runtime.GC()
			runtime.ReadMemStats(&now)
			peak = max(peak, now.HeapAlloc)
		}
		return nil
	})
	if err != nil || count != n || updated != len(some) {
		t.Errorf("%d entries, %d updated, %v", count, updated, err)
	}
	grown := int64(peak) - int64(before.HeapAlloc)
	t.Logf("walked in %v, heap grew by %d KiB", time.Since(start), grown>>10)
	if grown > 16<<20 {
		t.Errorf("heap grew by %d bytes", grown)
	}
}
