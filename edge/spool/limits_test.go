package spool

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"anymx/tests/kit"
)

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
			if _, err := s.BeginDraft(); (err != nil) != (c.want != "") {
				t.Errorf("BeginDraft: %v", err)
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

// Bodies that are being written to files are refused when they have used up half of the reserve. The
// spool accepts others all the time: what is not committed doesn't fill it.
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
	if refused || written < reserve/2 {
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
