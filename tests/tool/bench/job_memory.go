package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"
)

const (
	largeSection  = "Large messages"
	memorySection = "Memory"
)

// largeJob sends messages of 10 MB.
type largeJob struct {
	sessions int
	messages int
}

func (j largeJob) name() string      { return fmt.Sprintf("large-%d", j.sessions) }
func (j largeJob) systems() []system { return nil }
func (j largeJob) mostRounds() int   { return 0 }
func (j largeJob) fresh() bool       { return false }

func (j largeJob) calibrate(ctx context.Context, b *bench, i *instance) (int, error) {
	_, err := j.measure(ctx, b, i, j.sessions)
	return j.messages, err
}

func (j largeJob) measure(ctx context.Context, b *bench, i *instance, n int) (sample, error) {
	m, err := b.message(largeSize)
	if err != nil {
		return nil, err
	}
	got, err := b.relay(ctx, i, load{
		address: i.place.address, message: m, messages: n, sessions: j.sessions,
		perConnection: max(1, n/j.sessions), pipeline: b.opts.pipeline, limit: 5 * time.Minute,
	})
	if err == nil {
		got["megabytes"] = got["rate"] * largeSize / 1e6
	}
	return got, err
}

func (j largeJob) rows() []row {
	label := fmt.Sprintf("%d of 10 MB over %d sessions, ", j.messages, j.sessions)
	return []row{
		{section: largeSection, label: label + "MB/s delivered", metric: "megabytes", higher: true, target: ratioAtLeast(2)},
		{section: largeSection, label: label + "CPU ms for each", metric: "cpu"},
	}
}

// singleLargeJob sends messages of 10 MB one at a time over one connection, as many as fit into a round.
type singleLargeJob struct{ largeJob }

func (j singleLargeJob) name() string { return "large-1" }

func (j singleLargeJob) calibrate(ctx context.Context, b *bench, i *instance) (int, error) {
	const enough = 10
	got, err := j.measure(ctx, b, i, enough)
	if err != nil {
		return 0, err
	}
	return max(enough, int(got["rate"]*b.opts.round.Seconds())), nil
}

func (j singleLargeJob) measure(ctx context.Context, b *bench, i *instance, n int) (sample, error) {
	return largeJob{sessions: 1}.measure(ctx, b, i, n)
}

// idleJob opens connections that send EHLO and then nothing.
type idleJob struct {
	count int
	fewer map[string]int // lower counts for systems whose processes would not fit into memory
	tls   bool           // under TLS
}

func (j idleJob) name() string      { return "idle" }
func (j idleJob) systems() []system { return nil }
func (j idleJob) mostRounds() int   { return 2 }
func (j idleJob) fresh() bool       { return true }

func (j idleJob) calibrate(context.Context, *bench, *instance) (int, error) { return 0, nil }

// connections returns how many connections a system gets.
func (j idleJob) connections(name string) int {
	if n, ok := j.fewer[name]; ok {
		return n
	}
	return j.count
}

func (j idleJob) measure(ctx context.Context, b *bench, i *instance, _ int) (sample, error) {
	if err := j.wake(ctx, b, i); err != nil {
		return nil, err
	}
	n := j.connections(i.system.name())
	before := settledFootprint(i.process)
	var secure *tls.Config
	if j.tls {
		secure = b.secure
	}
	open, err := openIdle(ctx, i.place.address, n, 5*time.Minute, secure)
	defer closeIdle(open)
	if err != nil {
		return nil, err
	}
	after := settledFootprint(i.process)
	if err := stillOpen(open); err != nil {
		return nil, err
	}
	each := func(bytes int64) float64 { return float64(bytes) / float64(n) / 1024 }
	return sample{
		"process": each(after.process - before.process), "kernel": each(after.kernel - before.kernel),
		"base": float64(before.process) / (1 << 20), "connections": float64(n),
	}, nil
}

// wake has the system make what it makes for its first clients.
func (j idleJob) wake(ctx context.Context, b *bench, i *instance) error {
	if !j.tls {
		return b.wake(ctx, i)
	}
	open, err := openIdle(ctx, i.place.address, 100, time.Minute, b.secure) // chasquid relays nothing
	closeIdle(open)
	return err
}

func (j idleJob) rows() []row {
	label := fmt.Sprintf("each of %d idle connections, ", j.count)
	if n, ok := j.fewer["postfix"]; ok {
		label = fmt.Sprintf("each of %d idle connections (Postfix: %d), ", j.count, n)
	}
	return []row{
		{section: memorySection, label: label + "KiB of process memory", metric: "process", target: atMost(14)},
		{section: memorySection, label: label + "KiB of kernel memory", metric: "kernel"},
		{section: memorySection, label: "before the idle connections, MiB", metric: "base"},
	}
}

// memoryJob measures the peak of memory while many sessions send small messages, and then messages near
// the maximum size.
type memoryJob struct {
	sessions int
}

func (j memoryJob) name() string      { return "memory" }
func (j memoryJob) systems() []system { return nil }
func (j memoryJob) mostRounds() int   { return 1 }
func (j memoryJob) fresh() bool       { return true }

func (j memoryJob) calibrate(context.Context, *bench, *instance) (int, error) { return 0, nil }

func (j memoryJob) measure(ctx context.Context, b *bench, i *instance, _ int) (sample, error) {
	if err := b.wake(ctx, i); err != nil {
		return nil, err
	}
	small, _, err := j.peak(ctx, b, i, smallSize, 20)
	if err != nil {
		return nil, err
	}
	huge, got, err := j.peak(ctx, b, i, hugeSize, 1)
	if err != nil {
		return nil, err
	}
	got["small_peak"], got["peak"] = small, huge
	got["megabytes"] = got["rate"] * hugeSize / 1e6
	return got, nil
}

// peak sends messages of one size over all sessions and returns the peak of memory in MB.
func (j memoryJob) peak(ctx context.Context, b *bench, i *instance, size, each int) (float64, sample, error) {
	m, err := b.message(size)
	if err != nil {
		return 0, nil, err
	}
	p := startPeak(i.process)
	got, err := b.relay(ctx, i, load{
		address: i.place.address, message: m, messages: j.sessions * each, sessions: j.sessions, perConnection: each,
		pipeline: b.opts.pipeline, limit: 5 * time.Minute,
	})
	return float64(p.stop()) / 1e6, got, err
}

func (j memoryJob) rows() []row {
	return []row{
		{section: memorySection, label: fmt.Sprintf("peak with %d sessions of 10 KB messages, MB", j.sessions), metric: "small_peak"},
		{section: memorySection, label: fmt.Sprintf("peak with %d sessions of 35 MB messages, MB", j.sessions), metric: "peak", target: atMost(300)},
		{section: largeSection, label: fmt.Sprintf("%d of 35 MB over %d sessions, MB/s delivered", j.sessions, j.sessions), metric: "megabytes", higher: true},
	}
}

// wake sends some messages through a system that has just been started, so that it has what it creates on
// first use.
func (b *bench) wake(ctx context.Context, i *instance) error {
	m, err := b.message(smallSize)
	if err != nil {
		return err
	}
	_, err = b.relay(ctx, i, load{
		address: i.place.address, message: m, messages: 200, sessions: 10, perConnection: 10,
		pipeline: b.opts.pipeline, limit: time.Minute,
	})
	return err
}
