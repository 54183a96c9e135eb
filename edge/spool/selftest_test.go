package spool

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
)

// storeSelfTest commits a self-test with this body.
func storeSelfTest(t testing.TB, s *Spool, body []byte) *Message {
	t.Helper()
	d, err := s.BeginSelfTest()
	if err != nil {
		t.Fatal(err)
	}
	if err := writePieces(d, body); err != nil {
		t.Fatal(err)
	}
	m, err := d.Commit(message())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// figures returns the spool's metrics about messages, each 0 if there was none.
func figures(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		switch f.GetName() {
		case prefix + "committed_messages_total", prefix + "committed_bytes_total", prefix + "removed_messages_total":
			got[f.GetName()] = f.Metric[0].Counter.GetValue()
		case prefix + "messages", prefix + "bytes", prefix + "drafts", prefix + "memory_bytes":
			got[f.GetName()] = f.Metric[0].Gauge.GetValue()
		case prefix + "commit_seconds":
			got[f.GetName()] = float64(f.Metric[0].Histogram.GetSampleCount())
		}
	}
	if len(got) != 8 {
		t.Fatalf("metrics are missing: %v", got)
	}
	return got
}

// A self-test is stored and read like a message, but appears in no list and no metric.
func TestSelfTest(t *testing.T) {
	eachShape(t, func(t *testing.T, o Options) {
		reg := prometheus.NewRegistry()
		o.Metrics = reg
		s := openTest(t, o)
		for _, size := range []int{10, 3 * int(o.InlineMax)} {
			body := randomOf(rand.New(rand.NewPCG(1, 2)), size)
			m := storeSelfTest(t, s, body)
			id := m.Envelope.ID
			if got, err := s.Load(id); err != nil {
				t.Fatal(err)
			} else if text, err := bodyOf(got); err != nil || !bytes.Equal(text, body) || len(got.Envelope.Recipients) != len(message().Recipients) {
				t.Fatalf("read %d of %d bytes for %v (%v)", len(text), size, got.Envelope.Recipients, err)
			}
			if text, err := bodyOf(m); err != nil || !bytes.Equal(text, body) {
				t.Errorf("the message itself gives %d bytes (%v)", len(text), err)
			}
			if all := entries(t, s); len(all) != 0 {
				t.Errorf("it is listed: %v", all)
			}
			for name, v := range figures(t, reg) {
				if v != 0 {
					t.Errorf("it is counted: %s %v", name, v)
				}
			}
			if err := s.Remove(id); err != nil {
				t.Fatal(err)
			}
			wantGone(t, s, id)
			if err := s.Remove(id); !errors.Is(err, ErrNotFound) {
				t.Errorf("removed twice: %v", err)
			}
		}
		if st := s.Stats(); st.Messages != 0 || st.Bytes != 0 || st.Drafts != 0 {
			t.Errorf("%+v", st)
		}
		for name, v := range figures(t, reg) {
			if v != 0 {
				t.Errorf("its end is counted: %s %v", name, v)
			}
		}
	})
}

// Limits that refuse mail don't refuse a self-test; failed storage does, and so does a closed
// spool.
func TestSelfTestBeyondTheMarks(t *testing.T) {
	for name, set := range map[Reason]func(*Options){
		ReasonHighWater: func(o *Options) { o.HighWater = 1 },
		ReasonMessages:  func(o *Options) { o.MaxMessages = 1 },
		ReasonReserve: func(o *Options) {
			o.DiskReserve = 1 << 30
			o.DiskFree = func(string) (int64, error) { return 1 << 20, nil }
		},
	} {
		t.Run(string(name), func(t *testing.T) {
			o := testOptions(memory())
			var first *Message
			full := testOptions(o.FS)
			set(&full)
			if name != ReasonReserve {
				s, err := Open(o)
				if err != nil {
					t.Fatal(err)
				}
				first = store(t, s, []byte("waits for core"))
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			s := openTest(t, full)
			var refusal *Full
			if _, err := s.BeginDraft(); !errors.As(err, &refusal) || refusal.Reason != name {
				t.Fatalf("mail is not refused: %v", err)
			}
			m := storeSelfTest(t, s, []byte("small"))
			if err := s.Remove(m.Envelope.ID); err != nil {
				t.Error(err)
			}
			if first != nil && len(entries(t, s)) != 1 {
				t.Error("the message that was there is not")
			}
			s.ledger.hangs.Store(&Full{Reason: ReasonEngine})
			if _, err := s.BeginSelfTest(); !errors.As(err, &refusal) || refusal.Reason != ReasonEngine {
				t.Errorf("while a commit hangs: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := s.BeginSelfTest(); !errors.Is(err, ErrClosed) {
				t.Errorf("closed: %v", err)
			}
		})
	}
}

// A crash between the commit of a self-test and its removal leaves nothing that could be mistaken
// for mail, even if the next start crashes too, and does not affect real messages.
func TestSelfTestLeftByACrash(t *testing.T) {
	fs := vfs.NewCrashableMem()
	o := testOptions(fs)
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	kept := store(t, s, []byte("a message"))
	short, long := storeSelfTest(t, s, []byte("a self-test")), storeSelfTest(t, s, bytes.Repeat([]byte("long "), 4<<10))
	later := store(t, s, []byte("another message"))
	crashed := fs.CrashClone(vfs.CrashCloneCfg{}) // nothing unsynced survives
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	for range 3 { // each start may crash before its removals are on disk
		o := testOptions(crashed)
		s, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		all := entries(t, s)
		if len(all) != 2 || all[0].ID != kept.Envelope.ID || all[1].ID != later.Envelope.ID {
			t.Fatalf("after the crash: %v", all)
		}
		for _, m := range []*Message{short, long} {
			wantGone(t, s, m.Envelope.ID)
		}
		if st := s.Stats(); st.Messages != 2 || st.Bytes != kept.Envelope.Size+later.Envelope.Size {
			t.Errorf("%+v", st)
		}
		if ids, others, err := s.bodies.list(); err != nil || len(ids)+len(others) != 0 {
			t.Errorf("body files %v, %v (%v)", ids, others, err)
		}
		next := crashed.CrashClone(vfs.CrashCloneCfg{})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		crashed = next
	}
}

// The spool answers at once, under load and when it is closed; a stuck committer does not answer,
// and one that waits for a hanging disk does.
func TestAnswers(t *testing.T) {
	s := openTest(t, testOptions(memory()))
	answered := func() chan struct{} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.Answers()
		}()
		return done
	}
	await := func(what string, done chan struct{}) {
		t.Helper()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatal("no answer: " + what)
		}
	}
	await("at rest", answered())
	for range 20 {
		store(t, s, []byte("load"))
		await("under load", answered())
	}

	s.committer.mu.Lock()
	stuck := answered()
	select {
	case <-stuck:
		t.Error("it answers although its lock is held")
	case <-time.After(50 * time.Millisecond):
	}
	s.committer.mu.Unlock()
	await("after that", stuck)

	// As if a group never finished: nothing of it answers, or needs to.
	s.committer.began.Store(time.Now().UnixNano())
	await("while the disk hangs", answered())
	s.committer.began.Store(0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	await("closed", answered())
}
