package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// longestRun bounds the whole benchmark.
const longestRun = 40 * time.Minute

// bench is one run: the sink, the running systems, and the next message number.
type bench struct {
	opts     options
	progress io.Writer
	started  time.Time
	dir      string
	shared   place // certificate, sink address and socket folder, for every instance
	sink     *sinkProcess
	running  map[string]*instance
	messages map[int]*message // by size
	next     uint64           // number of the next message
	patience time.Duration    // how long the run may still wait for other programs to pause
	secure   *tls.Config
}

// newBench returns a run that has nothing started yet.
func newBench(opts options, progress io.Writer) *bench {
	return &bench{
		opts: opts, progress: progress, started: time.Now(), next: 1, secure: clientTLS(),
		running: map[string]*instance{}, messages: map[int]*message{},
		patience: 12 * opts.round, // a minute in a full run
	}
}

// runBench measures all chosen jobs. It removes its processes, control groups and folders, also when it
// fails.
func runBench(ctx context.Context, opts options, progress io.Writer) (rep *report, err error) {
	ctx, cancel := context.WithTimeout(ctx, longestRun)
	defer cancel()
	removeLeftovers()
	b := newBench(opts, progress)
	systems, err := b.chooseSystems(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.setUp(); err != nil {
		return nil, err
	}
	rep = newReport(b.dir, opts)
	for _, s := range systems {
		rep.Systems = append(rep.Systems, systemReport{Name: s.name(), description: s.describe()})
	}
	for _, j := range jobs(opts) {
		if !opts.runs(j.name()) {
			continue
		}
		results, err := b.runJob(ctx, j, systems)
		if err != nil {
			return nil, err
		}
		rep.add(j, results)
	}
	if opts.runs("limit") {
		b.say("limits by Go benchmarks")
		rep.Limits = goLimits(ctx, opts, b.dir, progress)
	}
	rep.Elapsed = time.Since(b.started)
	return rep, nil
}

// chooseSystems returns the systems that can be measured on this machine. It prints why others can't,
// and fails if none remains.
func (b *bench) chooseSystems(ctx context.Context) ([]system, error) {
	var systems []system
	var failed error
	for _, name := range b.opts.systems {
		s, err := newSystem(name, b.opts)
		if err != nil {
			return nil, err
		}
		if err := s.check(ctx); err != nil {
			b.say("%s can't be measured: %v", name, err)
			failed = errors.Join(failed, err)
			continue
		}
		systems = append(systems, s)
	}
	if len(systems) == 0 {
		return nil, fmt.Errorf("nothing to measure: %w", failed)
	}
	return systems, nil
}

// setUp makes the run's folder and certificate and starts the sink.
func (b *bench) setUp() error {
	parent, err := filepath.Abs(b.opts.dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp(parent, "bench-"); err != nil {
		return err
	}
	if err := os.Chmod(b.dir, 0o755); err != nil {
		return err
	}
	if b.shared.sockets, err = os.MkdirTemp("", "anymx-bench-"); err != nil {
		return err
	}
	if b.shared.cert, b.shared.key, err = writeCertificate(b.dir); err != nil {
		return err
	}
	if b.sink, err = startSink(); err != nil {
		return err
	}
	b.shared.sink = b.sink.address
	return nil
}

// close stops everything that setUp and instance have started and removes the run's folder.
func (b *bench) close() error {
	var failed error
	for name := range b.running {
		failed = errors.Join(failed, b.stopInstance(name))
	}
	if b.sink != nil {
		b.sink.stop()
	}
	if b.shared.sockets != "" {
		failed = errors.Join(failed, os.RemoveAll(b.shared.sockets))
	}
	if b.dir != "" && b.opts.keep {
		b.say("kept %s", b.dir)
	} else if b.dir != "" {
		failed = errors.Join(failed, os.RemoveAll(b.dir))
	}
	return failed
}

// instance returns the running instance of a system and starts one if there is none.
func (b *bench) instance(ctx context.Context, s system) (*instance, error) {
	if i := b.running[s.name()]; i != nil {
		return i, nil
	}
	i, err := startInstance(ctx, s, b.dir, b.shared)
	if err != nil {
		return nil, err
	}
	b.running[s.name()] = i
	return i, nil
}

// stopInstance stops the running instance of that system, if there is one.
func (b *bench) stopInstance(name string) error {
	i := b.running[name]
	if i == nil {
		return nil
	}
	delete(b.running, name)
	return i.stop(b.opts.keep)
}

// runJob measures one job on its systems alternately. A system that fails keeps the reason as its
// result and is restarted for the next job.
func (b *bench) runJob(ctx context.Context, j job, systems []system) ([]*result, error) {
	if own := j.systems(); own != nil {
		systems = own
	}
	var results []*result
	scale := map[string]int{}
	for _, s := range systems {
		r := &result{Job: j.name(), System: s.name()}
		results = append(results, r)
		n, err := b.prepare(ctx, j, s)
		scale[s.name()] = n
		if err != nil {
			b.fail(r, err)
		}
	}
	rounds := b.opts.rounds
	if most := j.mostRounds(); most > 0 {
		rounds = min(rounds, most)
	}
	for round := range rounds {
		order := slices.Clone(results)
		if round%2 == 1 {
			slices.Reverse(order) // neither always runs after the other
		}
		for _, r := range order {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if r.Failure != "" {
				continue
			}
			b.measure(ctx, j, r, systems, scale[r.System], round)
		}
	}
	if j.systems() != nil {
		for _, s := range systems { // no other job uses them
			if err := b.stopInstance(s.name()); err != nil {
				return nil, err
			}
		}
	}
	return results, ctx.Err()
}

// prepare warms a system up for a job and returns the number of messages in a round.
func (b *bench) prepare(ctx context.Context, j job, s system) (int, error) {
	if j.fresh() {
		return 0, nil
	}
	i, err := b.instance(ctx, s)
	if err != nil {
		return 0, err
	}
	n, err := j.calibrate(ctx, b, i)
	if err == nil {
		b.say("%s %s: %d messages a round", j.name(), s.name(), n)
	}
	return n, err
}

// measure does one round on one system and adds it to r.
func (b *bench) measure(ctx context.Context, j job, r *result, systems []system, scale, round int) {
	at := slices.IndexFunc(systems, func(s system) bool { return s.name() == r.System })
	if j.fresh() {
		if err := b.stopInstance(r.System); err != nil {
			b.fail(r, err)
			return
		}
	}
	i, err := b.instance(ctx, systems[at])
	if err != nil {
		b.fail(r, err)
		return
	}
	b.awaitQuiet(ctx)
	got, err := j.measure(ctx, b, i, scale)
	if err != nil {
		b.fail(r, err)
		return
	}
	r.Rounds = append(r.Rounds, got)
	b.say("%s round %d %s: %s", j.name(), round+1, r.System, got)
}

// fail records why a system failed a job and stops it, so that its queue can't disturb the next job.
func (b *bench) fail(r *result, err error) {
	r.Failure = err.Error()
	b.say("%s %s FAILED: %v", r.Job, r.System, err)
	if i := b.running[r.System]; i != nil {
		fmt.Fprintln(b.progress, i.process.Tail(20))
	}
	if err := b.stopInstance(r.System); err != nil {
		b.say("%v", err)
	}
}

// awaitQuiet waits, five seconds at most, until the systems are idle and the disk has what was written,
// so that what one system leaves to do does not disturb another's round. While the run has patience
// left, it also waits for other programs to pause.
func (b *bench) awaitQuiet(ctx context.Context) {
	b.flushDisk()
	const pause = 200 * time.Millisecond
	const quiet = 4 * time.Millisecond // CPU time of the systems in a pause
	for range 25 {
		systems, machine := b.systemsCPU(), machineCPU()
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		if b.systemsCPU()-systems >= quiet {
			continue
		}
		if b.patience <= 0 || machineCPU()-machine <= pause*time.Duration(machineCores())/10 {
			return
		}
		b.patience -= pause
	}
}

// flushDisk writes out the file system of the run's folder; it waits ten seconds at most.
func (b *bench) flushDisk() {
	dir, err := os.Open(b.dir)
	if err != nil {
		return
	}
	flushed := make(chan struct{})
	go func() {
		defer close(flushed)
		defer dir.Close()
		unix.Syncfs(int(dir.Fd()))
	}()
	select {
	case <-flushed:
	case <-time.After(10 * time.Second):
	}
}

// systemsCPU is the CPU time of all running systems.
func (b *bench) systemsCPU() time.Duration {
	var sum time.Duration
	for _, i := range b.running {
		sum += i.process.cpuTime()
	}
	return sum
}

// message returns the message of that size.
func (b *bench) message(size int) (*message, error) {
	if m := b.messages[size]; m != nil {
		return m, nil
	}
	m, err := newMessage(size)
	if err == nil {
		b.messages[size] = m
	}
	return m, err
}

// reserveNumbers returns the first of n new message numbers.
func (b *bench) reserveNumbers(n int) uint64 {
	first := b.next
	b.next += uint64(n)
	return first
}

// say writes a line of progress.
func (b *bench) say(format string, args ...any) {
	at := time.Since(b.started).Round(time.Second)
	fmt.Fprintf(b.progress, "%02d:%02d %s\n", int(at.Minutes()), int(at.Seconds())%60, fmt.Sprintf(format, args...))
}
