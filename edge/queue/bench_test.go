package queue

import (
	"context"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"anymx/edge/mail"
	"anymx/edge/spool"
)

// sink takes everything at once.
type sink struct {
	n    atomic.Int64
	all  int64
	done chan struct{}
}

func (s *sink) Deliver(_ context.Context, t *Attempt) ([]mail.Result, error) {
	if s.n.Add(1) == s.all {
		close(s.done)
	}
	return []mail.Result{{Recipient: 0, Reply: mail.Reply{Code: 250, Enhanced: mail.Enhanced{2, 0, 0}}, Remote: "core[192.0.2.9]:25"}}, nil
}

func (s *sink) Reach(context.Context, string) error { return nil }

func processor() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkFirstTry is what a message costs between its commit and its end,
// when it goes out at its first try: the queue's part, and the spool's removal,
// which is measured alone by BenchmarkRemove.
func BenchmarkFirstTry(b *testing.B) {
	n, messages := stored(b)
	defer n.spool.Close()
	s := &sink{all: int64(b.N), done: make(chan struct{})}
	q, err := New(Options{Spool: n.spool, Courier: s, Hostname: func() string { return "mx.example.net" }, Concurrency: 16, Ready: b.N, Metrics: prometheus.NewRegistry()})
	if err != nil {
		b.Fatal(err)
	}
	// They are this run's, not an earlier one's.
	q.index, q.expiry, q.lanes, q.count, q.bytes, q.messages = index{}, heap[*entry, byExpiry]{}, map[string]*lane{}, [states]int{}, 0, 0
	q.turns, q.wakes = fifo[*lane]{}, heap[*lane, byWake]{}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- q.Run(ctx) }()
	b.ReportAllocs()
	b.ResetTimer()
	cpu := processor()
	for _, m := range messages {
		q.Accepted(m)
	}
	<-s.done
	stop()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	b.ReportMetric(float64((processor()-cpu).Nanoseconds())/float64(b.N), "cpu-ns/msg")
	if st := q.Stats(); st.Legs() != 0 {
		b.Fatalf("left: %+v", st)
	}
}

func BenchmarkRemove(b *testing.B) {
	n, messages := stored(b)
	defer n.spool.Close()
	b.ReportAllocs()
	b.ResetTimer()
	cpu := processor()
	for _, m := range messages {
		if err := n.spool.Remove(m.Envelope.ID); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64((processor()-cpu).Nanoseconds())/float64(b.N), "cpu-ns/msg")
}

// stored commits b.N small messages.
func stored(b *testing.B) (*node, []*spool.Message) {
	b.Helper()
	s, err := spool.Open(spool.Options{Dir: "spool", FS: vfs.NewMem(), DiskFree: func(string) (int64, error) { return 1 << 40, nil }})
	if err != nil {
		b.Fatal(err)
	}
	n := &node{spool: s}
	messages := make([]*spool.Message, b.N)
	for i := range messages {
		d, err := s.BeginDraft()
		if err != nil {
			b.Fatal(err)
		}
		env := &mail.Envelope{Arrived: time.Now(), Sender: mail.Path{Local: "a", Domain: "example.com"}, Recipients: []mail.Recipient{recipient("b", 0)}}
		if messages[i], err = d.Commit(env); err != nil {
			b.Fatal(err)
		}
	}
	return n, messages
}
