package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// load is a closed loop: sessions send messages as fast as the system answers, until all are accepted or
// limit is over.
type load struct {
	address       string
	message       *message
	first         uint64 // number of the first message
	messages      int    // how many in all
	sessions      int    // connections at the same time
	perConnection int    // messages sent before QUIT
	pipeline      bool
	secure        *tls.Config   // nil: no STARTTLS
	limit         time.Duration // for the whole load
}

// outcome is when a load began and ended, on the clock of now.
type outcome struct {
	began    time.Duration // just before the first connect
	accepted time.Duration // when the last message got its 250
}

// now is the machine's monotonic clock, which all processes on it share.
func now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // cannot fail on Linux with a valid clock
	}
	return time.Duration(ts.Nano())
}

// run sends all messages. The first failure stops all sessions and is returned.
func (l *load) run(ctx context.Context) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, l.limit)
	defer cancel()
	var (
		wg     sync.WaitGroup
		once   sync.Once
		failed error
		next   atomic.Int64
		last   atomic.Int64
	)
	open := &openClients{all: map[*client]struct{}{}}
	defer context.AfterFunc(ctx, open.close)()
	out := outcome{began: now()}
	for range l.sessions {
		wg.Go(func() {
			s := session{load: l, open: open, last: &last}
			for ctx.Err() == nil {
				from := int(next.Add(int64(l.perConnection))) - l.perConnection
				if from >= l.messages {
					return
				}
				count := min(l.perConnection, l.messages-from)
				if err := s.connection(ctx, l.first+uint64(from), count); err != nil {
					once.Do(func() { failed = err })
					cancel()
					return
				}
			}
		})
	}
	wg.Wait()
	out.accepted = time.Duration(last.Load())
	if failed == nil && ctx.Err() != nil {
		failed = ctx.Err()
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(failed, os.ErrDeadlineExceeded) {
		failed = fmt.Errorf("load: %w after %v: %w", context.DeadlineExceeded, l.limit, failed)
	}
	return out, failed
}

// session is one of the load's concurrent sessions. It reuses its buffers for the next connection.
type session struct {
	load *load
	open *openClients
	last *atomic.Int64 // when the latest message of all sessions was accepted
	out  []byte
	tail []byte
}

// connection sends count messages over one connection, from number id on.
func (s *session) connection(ctx context.Context, id uint64, count int) error {
	deadline, _ := ctx.Deadline()
	c, err := dialClient(s.load.address, deadline)
	if err != nil {
		return err
	}
	c.out = s.out
	s.open.add(c)
	defer func() {
		s.out = c.out
		s.open.remove(c)
		c.close()
	}()
	if err := c.hello(s.load.secure); err != nil {
		return err
	}
	if err := c.open(s.load.message, id, s.load.pipeline); err != nil {
		return err
	}
	for end := id + uint64(count); id < end; id++ {
		if err := s.message(c, id, id+1 < end); err != nil {
			return fmt.Errorf("message %d: %w", id, err)
		}
	}
	if err := c.expect(221); err != nil {
		return fmt.Errorf("QUIT: %w", err)
	}
	return nil
}

// message sends one message, whose transaction is open, and opens the next transaction if there is one.
func (s *session) message(c *client, id uint64, more bool) error {
	l := s.load
	s.tail = s.tail[:0]
	switch {
	case !more:
		s.tail = append(s.tail, quit...)
	case l.pipeline:
		s.tail = appendGroup(s.tail, id+1, l.message.size)
	}
	if err := c.send(l.message, id, s.tail); err != nil {
		return err
	}
	if err := c.expect(250); err != nil {
		return fmt.Errorf("end of data: %w", err)
	}
	noteLatest(s.last, now())
	switch {
	case !more:
		return nil
	case l.pipeline:
		return c.opened()
	}
	return c.open(l.message, id+1, false)
}

// openClients are the connections to close when a load is interrupted, so that no session waits on.
type openClients struct {
	mu     sync.Mutex
	all    map[*client]struct{}
	closed bool
}

func (o *openClients) add(c *client) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		c.close()
	}
	o.all[c] = struct{}{}
}

func (o *openClients) remove(c *client) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.all, c)
}

func (o *openClients) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	for c := range o.all {
		c.close()
	}
}

// noteLatest raises last to t.
func noteLatest(last *atomic.Int64, t time.Duration) {
	for {
		old := last.Load()
		if int64(t) <= old || last.CompareAndSwap(old, int64(t)) {
			return
		}
	}
}

// clientTLS returns the load's TLS configuration: a full handshake for each connection, as for a first
// contact, and only X25519, so that every system does the same key exchange.
func clientTLS() *tls.Config {
	return &tls.Config{
		InsecureSkipVerify:          true, // MTAs don't verify certificates of opportunistic TLS
		MinVersion:                  tls.VersionTLS12,
		CurvePreferences:            []tls.CurveID{tls.X25519},
		DynamicRecordSizingDisabled: true,
	}
}
