package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"anymx/edge/service"
)

// steady is an open loop: transactions start at a fixed rate, each on a connection of its own, whether or
// not earlier ones have ended.
type steady struct {
	address  string
	message  *message
	first    uint64
	messages int
	rate     float64 // transactions per second
	limit    time.Duration
}

// maxInFlight is the number of open transactions from which on a system counts as too slow.
const maxInFlight = 500

// latency is how long one transaction took.
type latency struct {
	whole       time.Duration // from connect to the 250 at the end of data
	transaction time.Duration // from MAIL to that 250
}

// run returns one latency for each message, unordered.
func (s *steady) run(ctx context.Context) ([]latency, error) {
	ctx, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	var (
		wg      sync.WaitGroup
		slots   = make(chan struct{}, maxInFlight)
		mu      sync.Mutex
		all     = make([]latency, 0, s.messages)
		failed  error
		open    = &openClients{all: map[*client]struct{}{}}
		started = time.Now()
	)
	defer context.AfterFunc(ctx, open.close)()
	fail := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		failed = errors.Join(failed, err)
		cancel()
	}
	for i := range s.messages {
		at := started.Add(time.Duration(float64(i) / s.rate * float64(time.Second)))
		if !service.Sleep(ctx, time.Until(at)) {
			break
		}
		select {
		case slots <- struct{}{}:
		default:
			fail(fmt.Errorf("the system is too slow for %.0f/s: %d transactions are open", s.rate, maxInFlight))
			continue
		}
		wg.Go(func() {
			defer func() { <-slots }()
			lat, err := s.one(open, started.Add(s.limit), s.first+uint64(i))
			if err != nil {
				fail(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, lat)
		})
	}
	wg.Wait()
	if failed == nil && len(all) < s.messages {
		failed = fmt.Errorf("%d of %d transactions ended: %w", len(all), s.messages, context.Cause(ctx))
	}
	return all, failed
}

// one sends one message on a connection of its own.
func (s *steady) one(open *openClients, deadline time.Time, id uint64) (latency, error) {
	var lat latency
	began := time.Now()
	c, err := dialClient(s.address, deadline)
	if err != nil {
		return lat, err
	}
	open.add(c)
	defer open.remove(c)
	defer c.close()
	if err := c.hello(nil); err != nil {
		return lat, err
	}
	mail := time.Now()
	if err := c.open(s.message, id, true); err != nil {
		return lat, err
	}
	if err := c.send(s.message, id, []byte(quit)); err != nil {
		return lat, err
	}
	if err := c.expect(250); err != nil {
		return lat, fmt.Errorf("end of data: %w", err)
	}
	done := time.Now()
	lat = latency{whole: done.Sub(began), transaction: done.Sub(mail)}
	return lat, c.expect(221)
}

// percentile returns the p quantile of sorted durations by the nearest rank, 0 if there are none.
func percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(p*float64(len(sorted))+0.999999) - 1
	return sorted[min(max(rank, 0), len(sorted)-1)]
}

// spread returns one part of the latencies, sorted.
func spread(all []latency, part func(latency) time.Duration) []time.Duration {
	out := make([]time.Duration, len(all))
	for i, lat := range all {
		out[i] = part(lat)
	}
	slices.Sort(out)
	return out
}
