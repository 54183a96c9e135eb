// Package selftest has the node send itself a message through each of its listeners, to see that
// it takes and stores mail: each message is read back from the spool and compared.
//
// A passed self-test says that the program and its storage work. It doesn't watch the node later:
// health checks do.
package selftest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"anymx/edge/delivery/smtpc"
	"anymx/edge/ingress/own"
	"anymx/edge/mail"
	"anymx/edge/operate/api"
	"anymx/edge/service"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// limit is how long the self-test of one listener may take. It normally takes milliseconds;
	// on a disk that hangs it would never end.
	limit = 10 * time.Second
	// The pauses between two self-tests of a node that has not passed one.
	pauseMin = 100 * time.Millisecond
	pauseMax = 5 * time.Second
)

// Options configures a Tester.
type Options struct {
	Hostname  func() string         // what the node is greeted as
	Listeners func() []net.Listener // of ingress
	Own       *own.Connections      // what ingress knows the connections by
	// Full is why the spool refuses mail; nil: it does not.
	Full    func() error
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Tester runs the self-test of a node, and knows whether it has passed.
type Tester struct {
	options Options
	passed  atomic.Bool           // once, in this process
	problem atomic.Pointer[error] // of the last one; nil: it passed, or none was run
	metrics *metrics
}

// New creates the Tester of a node.
func New(o Options) *Tester { return &Tester{options: o, metrics: newMetrics(o.Metrics)} }

// Passed returns nil once the self-test has passed, and the reason why not before.
func (t *Tester) Passed() error {
	if t.passed.Load() {
		return nil
	}
	if problem := t.problem.Load(); problem != nil {
		return fmt.Errorf("the self-test has not passed yet: %w", *problem)
	}
	return errors.New("the self-test has not passed yet: no message of the node's own went through it so far")
}

// recordResult notes how a self-test went, and how long each listener took.
func (t *Tester) recordResult(tested []api.SelfTestListener, err error) {
	if err != nil {
		t.problem.Store(&err)
		t.metrics.total.WithLabelValues("failed").Inc()
		return
	}
	t.problem.Store(nil)
	t.passed.Store(true)
	t.metrics.passed.Set(1)
	t.metrics.total.WithLabelValues("passed").Inc()
	for _, l := range tested {
		t.metrics.seconds.Observe(l.Took.Duration().Seconds())
	}
}

// metrics of self-tests. Label values are listed here.
type metrics struct {
	total   *prometheus.CounterVec // result: passed, failed
	seconds prometheus.Histogram
	passed  prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "anymx_self_test_total", Help: "Self-tests, each of a message through each listener, by how they went.",
		}, []string{"result"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "anymx_self_test_seconds", Help: "Time that a self-test's message took through one listener, from the connection to its end.",
			Buckets: prometheus.ExponentialBuckets(.001, 2, 14),
		}),
		passed: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "anymx_self_test_passed", Help: "1 once a self-test has passed since the start.",
		}),
	}
	for _, result := range []string{"passed", "failed"} {
		m.total.WithLabelValues(result)
	}
	reg.MustRegister(m.total, m.seconds, m.passed)
	return m
}

// Run sends the node a message through each of its listeners, reads it back from the spool and
// compares. It works in every phase, and beside other self-tests. That the spool refuses mail at
// one of its marks is reported and is not an error: the program and its storage work.
func (t *Tester) Run(ctx context.Context) (api.SelfTest, error) {
	listeners := t.options.Listeners()
	tested := api.SelfTest{Listeners: make([]api.SelfTestListener, len(listeners))}
	errs := make([]error, len(listeners))
	var all sync.WaitGroup
	for i, l := range listeners {
		all.Go(func() { tested.Listeners[i], errs[i] = t.testListener(ctx, l.Addr()) })
	}
	all.Wait()
	err := errors.Join(errs...)
	if ctx.Err() == nil { // a caller that gives up has found out nothing
		t.recordResult(tested.Listeners, err)
	}
	if err != nil {
		return api.SelfTest{}, err
	}
	if full := t.options.Full(); full != nil {
		tested.Refusing = full.Error()
	}
	return tested, nil
}

// testListener sends a message through one listener.
func (t *Tester) testListener(ctx context.Context, listens net.Addr) (api.SelfTestListener, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	began := time.Now()
	stored, err := t.sendMessage(ctx, listens)
	if f := (*mail.Failure)(nil); errors.As(err, &f) {
		f.Remote = "" // it is the listener
	}
	if err != nil {
		return api.SelfTestListener{}, fmt.Errorf("%s: %w", listens, err)
	}
	return api.SelfTestListener{
		Address: listens.String(), ID: stored.Envelope.ID, Bytes: int64(len(stored.Text)), Took: api.Seconds(time.Since(began)),
	}, nil
}

// sendMessage sends a message as any client does, and compares what was stored with what was
// sent.
func (t *Tester) sendMessage(ctx context.Context, listens net.Addr) (own.Stored, error) {
	addresses, err := within(listens)
	if err != nil {
		return own.Stored{}, err
	}
	var test *own.Test
	conn, err := smtpc.Dial(ctx, listens.String(), smtpc.Options{
		Hello: t.options.Hostname(), TLSMode: smtpc.TLSNever, Ignore: []string{"CHUNKING"},
		Dial: func(ctx context.Context, _, _ string) (conn net.Conn, err error) {
			conn, test, err = t.dial(ctx, addresses)
			return conn, err
		},
	})
	if test != nil {
		defer test.Close()
	}
	if err != nil {
		return own.Stored{}, err
	}
	defer conn.Close() // says QUIT
	env := &mail.Envelope{Recipients: []mail.Recipient{{Path: test.Recipient()}}}
	text := textFor(test)
	results, err := conn.Send(ctx, smtpc.Message{Envelope: env, Pending: []int{0}, Body: text})
	if err == nil && results[0].Failure != nil {
		err = results[0].Failure
	}
	var stored own.Stored
	select {
	case stored = <-test.Stored():
	default:
		if err == nil {
			err = errors.New("a 250 for a message that was not stored")
		}
	}
	switch {
	case stored.Err != nil: // better than the reply that was made of it
		return stored, stored.Err
	case err != nil:
		return stored, err
	}
	return stored, compare(env, text, &stored)
}

// dial connects to the first of the addresses that accepts, as a self-test.
func (t *Tester) dial(ctx context.Context, addresses []netip.AddrPort) (net.Conn, *own.Test, error) {
	var errs []error
	for _, to := range addresses {
		var test *own.Test
		dialer := net.Dialer{KeepAlive: -1, Control: func(_, _ string, raw syscall.RawConn) error {
			from, err := bindTo(raw, to.Addr())
			if err == nil {
				test = t.options.Own.Expect(from) // before it can connect
			}
			return err
		}}
		dialer.SetMultipathTCP(false)
		conn, err := dialer.DialContext(ctx, "tcp", to.String())
		if err == nil {
			return conn, test, nil
		}
		if test != nil {
			test.Close()
		}
		errs = append(errs, err)
	}
	return nil, nil, errors.Join(errs...)
}

// RunUntilPassed runs the self-test until it has passed. It reports false if ctx ended first. Mail
// is accepted meanwhile, because each 250 is durable by itself, but no route brings any: /readyz
// waits for this.
func (t *Tester) RunUntilPassed(ctx context.Context) bool {
	for pause := pauseMin; ; pause = min(2*pause, pauseMax) {
		began := time.Now()
		tested, err := t.Run(ctx)
		if err == nil {
			t.options.Log.Info("self-test passed: a message went through each listener and the spool", "listeners", len(tested.Listeners), "took", time.Since(began))
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		t.options.Log.Error("self-test failed: a message of the node's own does not get through it", "err", err, "again", pause)
		service.Status("self-test failed: " + err.Error())
		if !service.Sleep(ctx, pause) {
			return false
		}
	}
}
