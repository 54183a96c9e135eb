package main

import (
	"context"
	"fmt"
	"time"
)

const (
	smallSize = 10 << 10   // bytes of the ordinary message
	largeSize = 10_000_000 // bytes of a large message
	hugeSize  = 35_000_000 // bytes of a message near the usual maximum of 35 MiB
)

// job is something to measure, on the systems of the command line or on its own ones.
type job interface {
	// name is what -run matches.
	name() string
	// systems are the systems that the job is for; nil means those of the command line.
	systems() []system
	// mostRounds limits the rounds of the command line; 0 does not.
	mostRounds() int
	// fresh reports whether the system has to be restarted for every round.
	fresh() bool
	// calibrate warms the system up and returns how many messages a round should have. It is not
	// called for fresh jobs.
	calibrate(ctx context.Context, b *bench, i *instance) (int, error)
	// measure does one round.
	measure(ctx context.Context, b *bench, i *instance, messages int) (sample, error)
	// rows returns the lines that the job adds to the document.
	rows() []row
}

// jobs lists all jobs in the order of the document.
func jobs(opts options) []job {
	var all []job
	small := func(sessions, each int, rate, cpu target) job {
		return throughput{sessions: sessions, each: each, rate: rate, cpu: cpu}
	}
	shapes := []job{
		small(1, 1, target{}, target{}), small(1, 20, target{}, target{}),
		small(20, 1, target{}, target{}), small(20, 20, ratioAtLeast(15), ratioAtMost(15)),
		small(100, 1, ratioAtLeast(12), ratioAtMost(12)), small(100, 20, target{}, target{}),
		small(300, 1, target{}, target{}), small(300, 20, target{}, target{}),
	}
	if opts.short {
		shapes = []job{shapes[0], shapes[3], shapes[4]}
	}
	all = append(all, shapes...)
	secure := throughput{sessions: 50, each: 20, starttls: true, rate: ratioAtLeast(10)}
	all = append(all, secure)
	if !opts.short {
		secure.each = 1
		all = append(all, secure)
	}
	all = append(all, latencyJob{rate: 50, length: pick(opts.short, 3*time.Second, 10*time.Second)},
		largeJob{sessions: 5, messages: pick(opts.short, 20, 50)},
		idleJob{count: pick(opts.short, 1000, 5000), fewer: map[string]int{"postfix": pick(opts.short, 100, 300)}},
		memoryJob{sessions: pick(opts.short, 20, 100)})
	for _, shape := range []throughput{
		{sessions: 20, each: 20}, {sessions: 100, each: 1},
		{sessions: 50, each: 20, starttls: true}, {sessions: 50, each: 1, starttls: true},
	} {
		shape.limit = true
		all = append(all, shape)
	}
	return all
}

// pick returns a if the condition holds, else b.
func pick[T any](condition bool, a, b T) T {
	if condition {
		return a
	}
	return b
}

// throughput sends small messages as fast as the system takes them.
type throughput struct {
	sessions int
	each     int  // messages a connection
	starttls bool // with a full handshake on each connection
	limit    bool // measure the cheapest servers instead of the systems, as an upper limit
	rate     target
	cpu      target
}

func (t throughput) name() string {
	kind := pick(t.starttls, "starttls", "smtp")
	if t.limit {
		kind = "limit-" + kind
	}
	return fmt.Sprintf("%s-%dx%d", kind, t.sessions, t.each)
}

func (t throughput) systems() []system {
	switch {
	case !t.limit:
		return nil
	case t.starttls:
		return []system{discardSystem{}} // the sink has no TLS
	}
	return []system{sinkSystem{}, discardSystem{}}
}

func (t throughput) mostRounds() int { return 0 }
func (t throughput) fresh() bool     { return false }

// load returns the job's load of n messages.
func (t throughput) load(b *bench, i *instance, n int) (load, error) {
	m, err := b.message(smallSize)
	l := load{
		address: i.place.address, message: m, messages: n, sessions: t.sessions, perConnection: t.each,
		pipeline: b.opts.pipeline, limit: 2 * time.Minute,
	}
	if t.starttls {
		l.secure = b.secure
	}
	return l, err
}

// calibrate increases the number of messages until the rate can be measured and derives the size of a
// round from it. Every session gets at least one whole connection.
func (t throughput) calibrate(ctx context.Context, b *bench, i *instance) (int, error) {
	const enough = 400 * time.Millisecond
	const most = 300_000
	n := max(200, t.sessions)
	for {
		l, err := t.load(b, i, n)
		if err != nil {
			return 0, err
		}
		l.perConnection = min(t.each, max(1, n/t.sessions))
		got, err := b.relay(ctx, i, l)
		if err != nil {
			return 0, err
		}
		if took := float64(n) / got["rate"]; took < enough.Seconds() && n < most {
			n *= 4
			continue
		}
		n = min(most, max(int(got["rate"]*b.opts.round.Seconds()), t.sessions*t.each))
		return (n + t.each - 1) / t.each * t.each, nil
	}
}

func (t throughput) measure(ctx context.Context, b *bench, i *instance, n int) (sample, error) {
	l, err := t.load(b, i, n)
	if err != nil {
		return nil, err
	}
	return b.relay(ctx, i, l)
}

func (t throughput) rows() []row {
	label := fmt.Sprintf("%d sessions, %d a connection", t.sessions, t.each)
	if t.sessions == 1 {
		label = fmt.Sprintf("1 session, %d a connection", t.each)
	}
	if t.starttls {
		label += ", STARTTLS"
	}
	return []row{
		{section: pick(t.limit, limitSection, "Messages delivered/s"), label: label, metric: "rate", higher: true, target: t.rate},
		{section: pick(t.limit, limitCPUSection, "CPU for each message, ms"), label: label, metric: "cpu", target: t.cpu},
	}
}

// latencyJob sends at a fixed rate, far below what a system can do, and measures each transaction.
type latencyJob struct {
	rate   float64
	length time.Duration
}

func (j latencyJob) name() string      { return fmt.Sprintf("steady-%.0f", j.rate) }
func (j latencyJob) systems() []system { return nil }
func (j latencyJob) mostRounds() int   { return 0 }
func (j latencyJob) fresh() bool       { return false }

// calibrate runs for one second, so that processes which a system starts on demand are running.
func (j latencyJob) calibrate(ctx context.Context, b *bench, i *instance) (int, error) {
	_, err := j.measure(ctx, b, i, int(j.rate))
	return int(j.rate * j.length.Seconds()), err
}

func (j latencyJob) measure(ctx context.Context, b *bench, i *instance, n int) (sample, error) {
	m, err := b.message(smallSize)
	if err != nil {
		return nil, err
	}
	s := steady{
		address: i.place.address, message: m, first: b.reserveNumbers(n), messages: n, rate: j.rate,
		limit: j.length + 30*time.Second,
	}
	if err := b.sink.beginRound(s.first, n); err != nil {
		return nil, err
	}
	cpu, err := b.startMeter(i)
	if err != nil {
		return nil, err
	}
	all, err := s.run(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := b.sink.wait(stall); err != nil {
		return nil, err
	}
	ms := func(sorted []time.Duration, p float64) float64 { return percentile(sorted, p).Seconds() * 1000 }
	whole := spread(all, func(l latency) time.Duration { return l.whole })
	part := spread(all, func(l latency) time.Duration { return l.transaction })
	got := sample{"p50": ms(whole, 0.50), "p99": ms(whole, 0.99), "mail_p50": ms(part, 0.50), "mail_p99": ms(part, 0.99)}
	if err := cpu.stop(b, n, got); err != nil {
		return nil, err
	}
	return got, b.verify(load{messages: n, message: m})
}

func (j latencyJob) rows() []row {
	section := fmt.Sprintf("Time of a transaction at a fixed %.0f/s, ms", j.rate)
	return []row{
		{section: section, label: "connect to 250, p50", metric: "p50"},
		{section: section, label: "connect to 250, p99", metric: "p99", target: belowOther("p50")},
		{section: section, label: "MAIL to 250, p50", metric: "mail_p50"},
		{section: section, label: "MAIL to 250, p99", metric: "mail_p99", target: belowOther("mail_p50")},
		{section: "CPU for each message, ms", label: fmt.Sprintf("fixed %.0f/s, 1 a connection", j.rate), metric: "cpu"},
	}
}
