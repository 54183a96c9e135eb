package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	goodRate     = 10               // messages a second
	goodClients  = 40               // networks that send good mail; half have sent before the attack
	goodPatience = 20 * time.Second // of an attempt
	goodAttempts = 3
	goodPause    = 2 * time.Second // between two attempts
)

// never is the time of a message that was not accepted.
const never = time.Duration(math.MaxInt64)

// goodMail sends good mail to a system that is attacked.
type goodMail struct {
	b       *bench
	address string

	mu       sync.Mutex
	accepted int
	times    []time.Duration
}

// goodAddress returns the address of a good client: every other one has IPv6.
func goodAddress(n int) net.IP {
	if n%2 == 0 {
		return net.IPv4(127, 200, byte(n), 1)
	}
	ip := net.ParseIP("2001:db8:100::1")
	ip[5] = byte(n)
	return ip
}

// introduce sends a message from each of the first half of the clients, as they did on the day before.
func (g *goodMail) introduce(ctx context.Context) error {
	first := g.b.reserveNumbers(goodClients)
	if err := g.b.sink.beginRound(first, goodClients/2); err != nil {
		return err
	}
	var all sync.WaitGroup
	failed := make([]error, goodClients/2)
	for n := range failed {
		all.Go(func() {
			for range goodAttempts {
				if failed[n] = g.attempt(ctx, n, first+uint64(n)); failed[n] == nil {
					return
				}
			}
		})
	}
	all.Wait()
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("before the attack: %w", err)
	}
	_, err := g.b.sink.wait(stall)
	return err
}

// send sends good mail for a time, and returns what it met.
func (g *goodMail) send(ctx context.Context, length time.Duration) (got attackResult, err error) {
	n := int(length.Seconds() * goodRate)
	first := g.b.reserveNumbers(n)
	if err := g.b.sink.beginRound(first, n); err != nil {
		return got, err
	}
	var all sync.WaitGroup
	ticks := time.NewTicker(time.Second / goodRate)
	defer ticks.Stop()
	for i := range n {
		all.Go(func() { g.deliver(ctx, i%goodClients, first+uint64(i), &got) })
		select {
		case <-ctx.Done():
			return got, ctx.Err()
		case <-ticks.C:
		}
	}
	all.Wait()
	got.Sent, g.accepted = n, got.First+got.Late
	for len(g.times) < n {
		g.times = append(g.times, never)
	}
	slices.Sort(g.times)
	got.P50, got.P99 = percentile(g.times, 0.50), percentile(g.times, 0.99)
	return got, nil
}

// deliver sends one message, with all attempts that it needs.
func (g *goodMail) deliver(ctx context.Context, client int, number uint64, got *attackResult) {
	began := time.Now()
	for attempt := range goodAttempts {
		if err := g.attempt(ctx, client, number); err == nil {
			g.mu.Lock()
			defer g.mu.Unlock()
			if attempt == 0 {
				got.First++
			} else {
				got.Late++
			}
			g.times = append(g.times, time.Since(began))
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(goodPause):
		}
	}
}

// attempt sends one message over a connection of its own.
func (g *goodMail) attempt(ctx context.Context, client int, number uint64) error {
	conn, err := dialFrom(ctx, goodAddress(client), g.address, goodPatience)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(goodPatience)); err != nil {
		return err
	}
	m, err := g.message()
	if err != nil {
		return err
	}
	c := newClient(conn)
	if err := c.hello(nil); err != nil {
		return err
	}
	if err := c.open(m, number, false); err != nil {
		return err
	}
	if err := c.send(m, number, nil); err != nil {
		return err
	}
	if err := c.expect(250); err != nil {
		return fmt.Errorf("final dot: %w", err)
	}
	return c.command(quit, 221)
}

func (g *goodMail) message() (*message, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.b.message(smallSize)
}

// missing returns how many messages were accepted and have not come to the sink once it is quiet.
func (g *goodMail) missing(ctx context.Context) (int, error) {
	last := -1
	for range 30 {
		c, err := g.b.sink.counts()
		if err != nil {
			return 0, err
		}
		arrived := c.Messages
		if arrived >= g.accepted {
			return 0, nil
		}
		last = arrived
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(time.Second):
		}
	}
	return g.accepted - last, nil
}
