package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// openers is how many idle connections are being opened at the same time.
const openers = 20

// openIdle opens count connections, says EHLO on each and leaves them open. All of it, with what is done on
// the connections later, has to end within limit. The caller closes what it gets, also beside an error.
func openIdle(ctx context.Context, address string, count int, limit time.Duration) ([]*client, error) {
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
	take := func() bool {
		mu.Lock()
		defer mu.Unlock()
		next++
		return next <= count && failed == nil
	}
	for range openers {
		wg.Go(func() {
			for take() {
				c, err := dialClient(address, deadline)
				if err == nil {
					open.add(c)
					err = c.hello(nil)
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

// stillOpen asks every hundredth connection for a NOOP reply, so that a system which has silently dropped
// its clients is not praised for its small memory.
func stillOpen(open []*client) error {
	for i := 0; i < len(open); i += 100 {
		if err := open[i].command("NOOP\r\n", 250); err != nil {
			return fmt.Errorf("idle connection %d of %d is gone: %w", i, len(open), err)
		}
	}
	return nil
}
