package edge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"anymx/edge/delivery/smtpc"
	"anymx/edge/ingress/smtpd"
	"anymx/edge/mail"
	"anymx/edge/operate/api"
	"anymx/edge/service"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// proofLimit is how long the proof of one listener may take. It takes
	// milliseconds; a disk that hangs, for ever.
	proofLimit = 10 * time.Second
	// The pauses between two proofs of a node that has not proven itself.
	proveAgain    = 100 * time.Millisecond
	proveAgainMax = 5 * time.Second
)

// proof is what is known of whether the node takes and stores mail. The zero
// proof knows nothing.
type proof struct {
	passed  atomic.Bool           // once, in this process
	problem atomic.Pointer[error] // of the last one; nil: it passed, or none was made
	metrics *proofMetrics
}

// ready is nil once the node has proven itself. What happens to it later is for
// others to see: a proof says what a version is good for.
func (p *proof) ready() error {
	if p.passed.Load() {
		return nil
	}
	if problem := p.problem.Load(); problem != nil {
		return fmt.Errorf("not proven yet: %w", *problem)
	}
	return errors.New("not proven yet: the node has taken no message of its own so far")
}

// ended notes how a proof went, and how long each listener took.
func (p *proof) ended(proven []api.ProvenListener, err error) {
	if err != nil {
		p.problem.Store(&err)
		p.metrics.total.WithLabelValues("failed").Inc()
		return
	}
	p.problem.Store(nil)
	p.passed.Store(true)
	p.metrics.passed.Set(1)
	p.metrics.total.WithLabelValues("passed").Inc()
	for _, l := range proven {
		p.metrics.seconds.Observe(l.Took.Seconds())
	}
}

// proofMetrics of a node. Label values are listed here.
type proofMetrics struct {
	total   *prometheus.CounterVec // result: passed, failed
	seconds prometheus.Histogram
	passed  prometheus.Gauge
}

func newProofMetrics(reg prometheus.Registerer) *proofMetrics {
	m := &proofMetrics{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "anymx_proof_total", Help: "Times that the node has sent itself a message through each listener, by how that went.",
		}, []string{"result"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "anymx_proof_seconds", Help: "Time that such a message took through one listener, from the connection to its end.",
			Buckets: prometheus.ExponentialBuckets(.001, 2, 14),
		}),
		passed: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "anymx_proof_passed", Help: "1 once a message went through each listener and the spool since the start.",
		}),
	}
	for _, result := range []string{"passed", "failed"} {
		m.total.WithLabelValues(result)
	}
	reg.MustRegister(m.total, m.seconds, m.passed)
	return m
}

// Prove sends the node a message of its own through each of its listeners, reads
// it back from the spool and compares. It works in every phase, and beside other
// proofs. Where mail is refused because the spool is at a mark, that is told and
// is no error: the program and its storage work.
func (n *Node) Prove(ctx context.Context) (api.Proven, error) {
	proven := api.Proven{Listeners: make([]api.ProvenListener, len(n.listeners))}
	errs := make([]error, len(n.listeners))
	var all sync.WaitGroup
	for i, l := range n.listeners {
		all.Go(func() { proven.Listeners[i], errs[i] = n.proveListener(ctx, l.Addr()) })
	}
	all.Wait()
	err := errors.Join(errs...)
	if ctx.Err() == nil { // who gives it up has found out nothing
		n.proof.ended(proven.Listeners, err)
	}
	if err != nil {
		return api.Proven{}, err
	}
	if full := n.spool.Accepting(); full != nil {
		proven.Refusing = full.Error()
	}
	return proven, nil
}

// proveListener sends a message through one listener.
func (n *Node) proveListener(ctx context.Context, listens net.Addr) (api.ProvenListener, error) {
	ctx, cancel := context.WithTimeout(ctx, proofLimit)
	defer cancel()
	began := time.Now()
	stored, err := n.sendProof(ctx, listens)
	if f := (*mail.Failure)(nil); errors.As(err, &f) {
		f.Remote = "" // it is the listener
	}
	if err != nil {
		return api.ProvenListener{}, fmt.Errorf("%s: %w", listens, err)
	}
	return api.ProvenListener{
		Address: listens.String(), ID: stored.Envelope.ID, Octets: int64(len(stored.Text)), Took: time.Since(began),
	}, nil
}

// sendProof has the dialogue, as any sender has it, and compares what was stored
// with what was sent.
func (n *Node) sendProof(ctx context.Context, listens net.Addr) (smtpd.Stored, error) {
	addresses, err := within(listens)
	if err != nil {
		return smtpd.Stored{}, err
	}
	var proof *smtpd.Proof
	conn, err := smtpc.Dial(ctx, listens.String(), smtpc.Options{
		Hello: n.reloader.Config().Node.Hostname, TLSMode: smtpc.TLSNever, Ignore: []string{"CHUNKING"},
		Dial: func(ctx context.Context, _, _ string) (conn net.Conn, err error) {
			conn, proof, err = n.dialProof(ctx, addresses)
			return conn, err
		},
	})
	if proof != nil {
		defer proof.Close()
	}
	if err != nil {
		return smtpd.Stored{}, err
	}
	defer conn.Close() // says QUIT
	env := &mail.Envelope{Recipients: []mail.Recipient{{Path: proof.Recipient()}}}
	text := proofText(proof)
	results, err := conn.Send(ctx, smtpc.Message{Envelope: env, Pending: []int{0}, Body: text})
	if err == nil && results[0].Failure != nil {
		err = results[0].Failure
	}
	var stored smtpd.Stored
	select {
	case stored = <-proof.Stored():
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
	return stored, compareProof(env, text, &stored)
}

// dialProof connects to the first of the addresses that takes it, as a proof.
func (n *Node) dialProof(ctx context.Context, addresses []netip.AddrPort) (net.Conn, *smtpd.Proof, error) {
	var errs []error
	for _, to := range addresses {
		var proof *smtpd.Proof
		dialer := net.Dialer{KeepAlive: -1, Control: func(_, _ string, raw syscall.RawConn) error {
			from, err := bindTo(raw, to.Addr())
			if err == nil {
				proof = n.ingress.Expect(from) // before it can connect
			}
			return err
		}}
		dialer.SetMultipathTCP(false)
		conn, err := dialer.DialContext(ctx, "tcp", to.String())
		if err == nil {
			return conn, proof, nil
		}
		if proof != nil {
			proof.Close()
		}
		errs = append(errs, err)
	}
	return nil, nil, errors.Join(errs...)
}

// proveAtStart proves the node, again until it has passed; it is false if ctx has
// ended before. Mail is taken meanwhile, for each 250 keeps its promise by itself,
// but no route brings any: /readyz has to wait for this.
func (n *Node) proveAtStart(ctx context.Context) bool {
	for pause := proveAgain; ; pause = min(2*pause, proveAgainMax) {
		began := time.Now()
		proven, err := n.Prove(ctx)
		if err == nil {
			n.log.Info("proven: a message went through each listener and the spool", "listeners", len(proven.Listeners), "took", time.Since(began))
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		n.log.Error("not proven: a message of the node's own does not get through it", "err", err, "again", pause)
		service.Status("not proven yet: " + err.Error())
		if !sleep(ctx, pause) {
			return false
		}
	}
}
