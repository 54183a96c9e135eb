package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync"
	"time"
)

// openers is how many idle connections are opened at the same time.
const openers = 20

// openIdle opens count connections and sends EHLO on each, with secure under TLS. The connections can be used until limit. The
// caller closes the returned ones, also if there is an error.
func openIdle(ctx context.Context, address string, count int, limit time.Duration, secure *tls.Config) ([]*client, error) {
	var (
		wg       sync.WaitGroup
		mu       sync.Mutex
		idle     = make([]*client, 0, count)
		failed   error
		next     int
		open     = &openClients{all: map[*client]struct{}{}}
		deadline = time.Now().Add(limit)
	)
	defer context.AfterFunc(ctx, open.close)()
	another := func() bool {
		mu.Lock()
		defer mu.Unlock()
		next++
		return next <= count && failed == nil
	}
	for range openers {
		wg.Go(func() {
			for another() {
				c, err := dialClient(address, deadline)
				if err == nil {
					open.add(c)
					err = c.hello(secure)
				}
				mu.Lock()
				if c != nil {
					idle = append(idle, c)
				}
				if err != nil && failed == nil {
					failed = fmt.Errorf("idle connection %d: %w", len(idle), err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return idle, failed
}

// closeIdle closes the connections.
func closeIdle(open []*client) {
	for _, c := range open {
		c.close()
	}
}

// stillOpen sends NOOP on every hundredth connection, so that a system that has dropped its clients does
// not get credit for its small memory.
func stillOpen(open []*client) error {
	for i := 0; i < len(open); i += 100 {
		if err := open[i].command("NOOP\r\n", 250); err != nil {
			return fmt.Errorf("idle connection %d of %d was closed: %w", i, len(open), err)
		}
	}
	return nil
}
