package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"anymx/edge/mail"
	"anymx/edge/spool"
)

// BenchmarkSize measures what a queue of so many legs and destinations costs: its start, its memory, and
// what an operator asks of it. The process that measures is a fresh one, which has only opened the spool,
// and its memory is compared with that of one whose spool is empty again, after as many messages:
//
//	CGO_ENABLED=0 go test -run '^$' -bench BenchmarkSize -benchtime 1x -timeout 30m ./edge/queue
func BenchmarkSize(b *testing.B) {
	for _, size := range []struct{ legs, destinations int }{{10_000, 1000}, {100_000, 10_000}, {1_000_000, 100_000}} {
		b.Run(fmt.Sprintf("%d/%d", size.legs, size.destinations), func(b *testing.B) {
			empty, full := filepath.Join(b.TempDir(), "empty"), filepath.Join(b.TempDir(), "full")
			fillSpool(b, empty, size.legs, 1)
			emptySpool(b, empty)
			fillSpool(b, full, size.legs, size.destinations)
			before, after := measureSize(b, empty), measureSize(b, full)
			if after.Legs != size.legs || after.Lanes != size.destinations || after.Flushed != size.legs/size.destinations {
				b.Fatalf("%+v", after)
			}
			b.ReportMetric(float64(after.RSS-before.RSS)/(1<<20), "MiB")
			for unit, took := range map[string]time.Duration{
				"open-ms": after.Open, "list-ms": after.List, "summary-ms": after.Summary, "flush-ms": after.Flush, "stats-ms": after.Stats,
			} {
				b.ReportMetric(float64(took.Microseconds())/1000, unit)
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// sizes is what the measuring process says.
type sizes struct {
	Legs, Lanes, Flushed int
	RSS                  int64         // bytes, after all of it
	Open                 time.Duration // of spool and queue
	List, Summary        time.Duration // the first page of each
	Flush                time.Duration // of the legs to one destination
	Stats                time.Duration
}

// measured is the environment variable with the directory that the measuring process opens.
const measured = "ANYMX_MEASURED_SPOOL"

func measureSize(b *testing.B, dir string) (s sizes) {
	cmd := exec.Command(os.Args[0], "-test.run", "^TestMeasureSize$", "-test.v")
	cmd.Env = append(os.Environ(), measured+"="+dir)
	out, err := cmd.Output()
	_, text, ok := strings.Cut(string(out), "sizes: ")
	text, _, _ = strings.Cut(text, "\n")
	if err == nil && ok {
		err = json.Unmarshal([]byte(text), &s)
	}
	if err != nil || !ok {
		b.Fatalf("%v: %s", err, out)
	}
	return s
}

// TestMeasureSize is the measuring process of BenchmarkSize. By itself it measures a small queue.
func TestMeasureSize(t *testing.T) {
	dir := os.Getenv(measured)
	if dir == "" {
		dir = filepath.Join(t.TempDir(), "spool")
		fillSpool(t, dir, 300, 30)
	}
	s, err := sizesOf(dir)
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv(measured) == "" && (s.Legs != 300 || s.Lanes != 30 || s.Flushed != 10) {
		t.Errorf("%+v", s)
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("sizes: %s\n", text)
}

// sizesOf opens a spool, which nobody else has open, and a queue of it that doesn't run.
func sizesOf(dir string) (s sizes, err error) {
	began := time.Now()
	lap := func() time.Duration {
		took := time.Since(began)
		began = time.Now()
		return took
	}
	store, err := spool.Open(spool.Options{Dir: dir, Route: byDomain})
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	q, err := New(Options{Spool: store, Courier: &fakeCourier{}, Hostname: func() string { return "mx.example.net" }})
	if err != nil {
		return s, err
	}
	s.Open = lap()
	if _, _, err = q.List(context.Background(), Filter{}); err != nil {
		return s, err
	}
	s.List = lap()
	q.Summary(20, []time.Duration{time.Minute, time.Hour})
	s.Summary = lap()
	to := "d0.example"
	for after, more := (mail.ID{}), true; more; more = !after.IsZero() {
		var items []Item
		if items, after, err = q.List(context.Background(), Filter{Destination: &to, After: after, Limit: 1000}); err != nil {
			return s, err
		}
		for i := range items {
			s.Flushed += len(q.Flush(items[i].Envelope.ID).Done)
		}
	}
	s.Flush = lap()
	st := q.Stats()
	s.Stats = lap()
	s.Legs, s.Lanes = st.Legs(), st.Lanes
	s.RSS, err = residentSize()
	runtime.KeepAlive(q) // it is what was measured
	return s, err
}

// residentSize is the resident memory of this process, in bytes (proc(5)).
func residentSize() (int64, error) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// fillSpool makes a spool of messages to one recipient each, at the destinations in turn.
func fillSpool(t testing.TB, dir string, legs, destinations int) {
	t.Helper()
	s, err := spool.Open(spool.Options{Dir: dir, Route: byDomain})
	if err != nil {
		t.Fatal(err)
	}
	var next atomic.Int64
	var writers sync.WaitGroup
	for range min(legs, 256) { // who share a sync
		writers.Go(func() {
			for i := int(next.Add(1)) - 1; i < legs; i = int(next.Add(1)) - 1 {
				if err := storeOne(s, fmt.Sprintf("d%d.example", i%destinations)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// emptySpool removes all messages.
func emptySpool(t testing.TB, dir string) {
	t.Helper()
	s, err := spool.Open(spool.Options{Dir: dir, Route: byDomain})
	if err != nil {
		t.Fatal(err)
	}
	var ids []mail.ID
	err = s.Each(func(e spool.Entry) error { ids = append(ids, e.ID); return nil })
	for _, id := range ids {
		err = errors.Join(err, s.RemoveLeg(id, 0))
	}
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
}

func storeOne(s *spool.Spool, domain string) error {
	d, err := s.BeginDraft()
	if err == nil {
		_, err = d.Write([]byte("Subject: x\r\n\r\nx\r\n"))
	}
	if err != nil {
		return err
	}
	m, err := d.Commit(&mail.Envelope{
		Arrived: time.Now(), Sender: mail.Path{Local: "a", Domain: "example.com"},
		Recipients: []mail.Recipient{{Path: mail.Path{Local: "b", Domain: domain}}},
	})
	if err == nil {
		m.Release()
	}
	return err
}
