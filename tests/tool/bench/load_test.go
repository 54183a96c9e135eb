package main

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

func testMessage(t *testing.T, size int) *message {
	t.Helper()
	m, err := newMessage(size)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestLoadIntoSink(t *testing.T) {
	for _, c := range []struct {
		name                          string
		size, messages, sessions, per int
		pipeline                      bool
	}{
		{"one", smallSize, 1, 1, 1, true},
		{"one a connection", smallSize, 60, 7, 1, true},
		{"many a connection, the last one short", smallSize, 101, 5, 20, true},
		{"command by command", smallSize, 43, 4, 10, false},
		{"more sessions than messages", smallSize, 3, 20, 1, true},
		{"larger than one write", 3_000_000, 6, 2, 3, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			tl, address := startTestSink(t)
			m := testMessage(t, c.size)
			tl.beginRound(500, c.messages)
			out, err := (&load{
				address: address, message: m, first: 500, messages: c.messages, sessions: c.sessions,
				perConnection: c.per, pipeline: c.pipeline, limit: 20 * time.Second,
			}).run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := tl.wait(time.Second); err != nil {
				t.Fatal(err)
			}
			got := tl.current()
			if out.accepted < got.DoneAt || out.began >= got.DoneAt {
				t.Errorf("began %v, last at the sink %v, accepted %v", out.began, got.DoneAt, out.accepted)
			}
			want := counts{Messages: c.messages, Content: int64(c.messages) * int64(m.content), DoneAt: got.DoneAt}
			if got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

// startDiscard runs go-smtp in this process, as an independent server to check the load with.
func startDiscard(t *testing.T, change func(*smtp.Server)) string {
	t.Helper()
	cert, key, err := writeCertificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s, err := newDiscard(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	s.ErrorLog = log.New(io.Discard, "", 0)
	if change != nil {
		change(s)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { defer close(served); s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		<-served
	})
	return l.Addr().String()
}

func TestLoadWithSTARTTLS(t *testing.T) {
	address := startDiscard(t, nil)
	l := load{
		address: address, message: testMessage(t, smallSize), messages: 25, sessions: 3, perConnection: 4,
		pipeline: true, secure: clientTLS(), limit: 20 * time.Second,
	}
	if _, err := l.run(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestLoadReportsARefusal(t *testing.T) {
	address := startDiscard(t, func(s *smtp.Server) { s.MaxMessageBytes = 5000 })
	l := load{
		address: address, message: testMessage(t, smallSize), messages: 25, sessions: 3, perConnection: 4,
		pipeline: true, limit: 20 * time.Second,
	}
	_, err := l.run(t.Context())
	var reply *replyError
	if !errors.As(err, &reply) || reply.line[:3] != "552" {
		t.Errorf("got %v, want the 552 reply", err)
	}
}

// startSilent listens and never sends anything.
func startSilent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

func TestLoadIsBounded(t *testing.T) {
	l := load{
		address: startSilent(t), message: testMessage(t, smallSize), messages: 10, sessions: 3, perConnection: 1,
		pipeline: true, limit: 100 * time.Millisecond,
	}
	if _, err := l.run(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the end of the time limit", err)
	}
}

func TestLoadStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	l := load{
		address: startSilent(t), message: testMessage(t, smallSize), messages: 10, sessions: 3, perConnection: 1,
		pipeline: true, limit: time.Hour,
	}
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := l.run(ctx); err == nil {
		t.Error("a load that was cancelled has no error")
	}
}

func TestSteady(t *testing.T) {
	tl, address := startTestSink(t)
	const n, rate = 40, 200
	tl.beginRound(1, n)
	s := steady{
		address: address, message: testMessage(t, smallSize), first: 1, messages: n, rate: rate, limit: 20 * time.Second,
	}
	began := time.Now()
	all, err := s.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if took, least := time.Since(began), time.Second*(n-1)/rate; took < least {
		t.Errorf("%d at %d/s took %v, less than %v", n, rate, took, least)
	}
	if len(all) != n || tl.current().Messages != n {
		t.Errorf("%d latencies, %d messages at the sink, want %d", len(all), tl.current().Messages, n)
	}
	for _, lat := range all {
		if lat.transaction <= 0 || lat.whole < lat.transaction {
			t.Errorf("impossible latency %+v", lat)
		}
	}
}

func TestPercentile(t *testing.T) {
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(i+1))
	}
	for _, c := range []struct {
		all  []time.Duration
		p    float64
		want time.Duration
	}{
		{hundred, 0.5, 50}, {hundred, 0.99, 99}, {hundred, 1, 100}, {hundred[:1], 0.99, 1}, {hundred[:10], 0.99, 10}, {nil, 0.5, 0},
	} {
		if got := percentile(c.all, c.p); got != c.want {
			t.Errorf("p%v of %d: got %d, want %d", c.p*100, len(c.all), got, c.want)
		}
	}
}

func TestIdleConnectionsStayOpen(t *testing.T) {
	_, address := startTestSink(t)
	open, err := openIdle(t.Context(), address, 150, 20*time.Second, nil)
	defer closeIdle(open)
	if err != nil {
		t.Fatal(err)
	}
	if len(open) != 150 {
		t.Errorf("%d connections, want 150", len(open))
	}
	if err := stillOpen(open); err != nil {
		t.Error(err)
	}
	open[100].close()
	if err := stillOpen(open); err == nil {
		t.Error("a closed connection was not noticed")
	}
}
