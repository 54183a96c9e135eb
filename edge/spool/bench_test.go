package spool

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"anymx/edge/mail"
)

// processor returns the processor time that this process has used.
func processor() time.Duration {
	var ru syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// message returns an envelope such as the ingress makes.
func message() *mail.Envelope {
	return &mail.Envelope{
		Arrived:    time.Now(),
		Sender:     mail.Path{Local: "newsletter", Domain: "lists.example.com"},
		Recipients: []mail.Recipient{{Path: mail.Path{Local: "somebody", Domain: "example.net"}}},
		Client: mail.Client{
			Addr:    netip.MustParseAddrPort("[2001:db8:1234::25]:43210"),
			Service: netip.MustParseAddrPort("[2001:db8:25::25]:25"),
			Helo:    "mail.lists.example.com", Name: "mail.lists.example.com",
			Proto: "ESMTPS", TLS: "TLS1.3 TLS_AES_128_GCM_SHA256",
		},
	}
}

func randomBody(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// measure shares b.N calls of f between n goroutines.
func measure(b *testing.B, n int, f func() error) {
	b.Helper()
	runtime.GC()
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	cpu, start := processor(), time.Now()
	for range n {
		wg.Go(func() {
			for next.Add(1) <= int64(b.N) {
				if err := f(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "msg/s")
	b.ReportMetric(float64((processor()-cpu).Microseconds())/float64(b.N), "cpu-us/msg")
	b.ReportMetric(0, "ns/op")
}

func benchSpool(b *testing.B, o Options) *Spool {
	b.Helper()
	if o.Dir == "" {
		o.Dir = b.TempDir()
	}
	s, err := Open(o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

func commitBody(s *Spool, body []byte) (*Message, error) {
	d, err := s.BeginDraft()
	if err != nil {
		return nil, err
	}
	if _, err := d.Write(body); err != nil {
		return nil, err
	}
	return d.Commit(message())
}

var sessions = []int{1, 20, 100, 300}

// BenchmarkCommit10K commits without removal: the backlog grows.
func BenchmarkCommit10K(b *testing.B) {
	for _, n := range sessions {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, body := benchSpool(b, Options{Memory: 32 << 20}), randomBody(10<<10)
			b.ReportAllocs()
			measure(b, n, func() error {
				m, err := commitBody(s, body)
				if err == nil {
					m.Release()
				}
				return err
			})
		})
	}
}

// BenchmarkCommitRemove measures a message's life in steady state: committed, read from memory for
// the first attempt, removed.
func BenchmarkCommitRemove(b *testing.B) {
	for _, n := range sessions {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, body := benchSpool(b, Options{Memory: 32 << 20}), randomBody(10<<10)
			b.ReportAllocs()
			measure(b, n, func() error {
				m, err := commitBody(s, body)
				if err != nil {
					return err
				}
				r, err := m.Body()
				if err != nil {
					return err
				}
				r.Close()
				m.Release()
				return s.Remove(m.Envelope.ID)
			})
			b.ReportMetric(float64(b.N)/float64(s.metrics.syncs.Load()), "msg/sync")
			e := s.Stats().Engine
			b.ReportMetric(float64(e.LogWritten+e.FlushWritten+e.CompactionWritten)/float64(b.N*len(body)), "written/mail")
		})
	}
}

// BenchmarkBusy is CommitRemove among sessions that have other work to do on two processors, as in
// the whole server: 50 us for each message.
func BenchmarkBusy(b *testing.B) {
	for _, n := range []int{20, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, body := benchSpool(b, Options{Memory: 32 << 20}), randomBody(10<<10)
			measure(b, n, func() error {
				spin(25 * time.Microsecond)
				m, err := commitBody(s, body)
				if err != nil {
					return err
				}
				spin(25 * time.Microsecond)
				m.Release()
				return s.Remove(m.Envelope.ID)
			})
			b.ReportMetric(float64(b.N)/float64(s.metrics.syncs.Load()), "msg/sync")
		})
	}
}

// spin uses d of processor time.
func spin(d time.Duration) {
	for start := time.Now(); time.Since(start) < d; {
		for i := range 100 {
			sink += i
		}
	}
}

var sink int

// BenchmarkBigBody writes 10 MB in pieces of 128 KiB from five goroutines, and
// removes it.
func BenchmarkBigBody(b *testing.B) {
	piece := randomBody(128 << 10)
	const pieces = 80
	s := benchSpool(b, Options{})
	b.SetBytes(int64(len(piece) * pieces))
	measure(b, 5, func() error {
		d, err := s.BeginDraft()
		if err != nil {
			return err
		}
		for range pieces {
			if _, err := d.Write(piece); err != nil {
				return err
			}
		}
		m, err := d.Commit(message())
		if err != nil {
			return err
		}
		return s.Remove(m.Envelope.ID)
	})
	b.ReportMetric(float64(b.N*pieces*len(piece))/1e6/b.Elapsed().Seconds(), "MB/s")
}

// BenchmarkBigRead sends a body of 10 MB from its file to a TCP connection.
func BenchmarkBigRead(b *testing.B) {
	s := benchSpool(b, Options{})
	m, err := commitBody(s, randomBody(10<<20))
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		c, err := l.Accept()
		if err == nil {
			_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, 1<<20))
			c.Close()
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(10 << 20)
	measure(b, 1, func() error {
		r, err := m.Body()
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = r.WriteTo(c)
		return err
	})
	c.Close()
	<-drained
}

// BenchmarkLoad reads messages of 10 KB back at random: envelope, state, body.
func BenchmarkLoad(b *testing.B) {
	s, body := benchSpool(b, Options{}), randomBody(10<<10)
	ids := make([]mail.ID, 20000) // six memtables: most are in tables and blob files
	for i := range ids {
		m, err := commitBody(s, body)
		if err != nil {
			b.Fatal(err)
		}
		ids[i] = m.Envelope.ID
	}
	b.ReportAllocs()
	var next atomic.Int64
	measure(b, 2, func() error {
		m, err := s.Load(ids[int(next.Add(7919))%len(ids)])
		if err != nil {
			return err
		}
		r, err := m.Body()
		if err != nil {
			return err
		}
		return r.Close()
	})
}

// BenchmarkBacklog commits b.N messages of 10 KB while nothing is delivered, then iterates over
// them as recovery does, reads and removes them all, and reclaims the space. Run it with -benchtime
// 300000x. It reports how many bytes were written for each byte of mail, and how much is left on
// the disk.
func BenchmarkBacklog(b *testing.B) {
	s, body := benchSpool(b, Options{}), randomBody(10<<10)
	b.StopTimer()
	mail := float64(b.N * len(body))
	amplification := func(when string) {
		e := s.Stats().Engine
		b.ReportMetric(float64(e.LogWritten+e.FlushWritten+e.CompactionWritten)/mail, "written/mail-"+when)
		b.Logf("%s: log %d MB, flush %d MB, compaction %d MB in %d; tables %d MB, bodies %d MB, %d levels in L0", when,
			e.LogWritten>>20, e.FlushWritten>>20, e.CompactionWritten>>20, e.Compactions, e.Tables>>20, e.Bodies>>20, e.Levels0)
	}
	measure(b, 100, func() error {
		_, err := commitBody(s, body)
		return err
	})
	amplification("full")

	start, cpu := time.Now(), processor()
	entries := make(chan Entry, 64)
	walked := make(chan error, 1)
	go func() {
		defer close(entries)
		walked <- s.Each(func(e Entry) error { entries <- e; return nil })
	}()
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for e := range entries {
				m, err := s.Load(e.ID)
				if err != nil {
					b.Error(err)
					return
				}
				r, err := m.Body()
				if err != nil {
					b.Error(err)
					return
				}
				r.Close()
				if err := s.Remove(e.ID); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := <-walked; err != nil {
		b.Error(err)
	}
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "drained/s")
	b.ReportMetric(float64((processor()-cpu).Microseconds())/float64(b.N), "drain-cpu-us/msg")
	amplification("drained")
	start = time.Now()
	s.reclaim(b.Context())
	b.Logf("space given back in %v", time.Since(start))
	amplification("reclaimed")
}
