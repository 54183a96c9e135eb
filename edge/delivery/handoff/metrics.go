package handoff

import (
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"anymx/edge/delivery/smtpc"
	"anymx/edge/mail"
)

// metrics are the hand-off's figures for Prometheus. An address appears as its
// place in the list: "0", "1" ...
//
//	anymx_handoff_connections          address; state: "busy", "idle"
//	anymx_handoff_limit_messages       address: what the throttle allows
//	anymx_handoff_up                   address: 1, or 0 while it is left alone
//	anymx_handoff_waiting_messages     messages that wait for room
//	anymx_handoff_dials_total          address; result: "opened", "failed"
//	anymx_handoff_failures_total       address; class: see classes
//	anymx_handoff_transaction_seconds  one message with all its recipients
//	anymx_tunnel_probes_total          address; result: an Outcome, or "skipped"
//	anymx_handoff_extension            address; extension: SMTPUTF8, 8BITMIME. 1 or 0; absent while not known
//	anymx_tunnel_probe_ok              address: 1 if the last probe was Answered
//	anymx_tunnel_probe_seconds         address: how long the last probe took
type metrics struct {
	dials     *prometheus.CounterVec
	failures  *prometheus.CounterVec
	seconds   prometheus.Histogram
	probes    *prometheus.CounterVec
	register  prometheus.Registerer
	installed []prometheus.Collector
}

// classes are the values of the label class. The first seven are of
// connections, the others of recipients.
const (
	classConnect  = "connect"  // none could be made
	classGreeting = "greeting" // refused before EHLO was answered well
	classTLS      = "tls"
	classTimeout  = "timeout"  // no answer in time
	classClosed   = "closed"   // broke off
	classBusy     = "busy"     // closed by a 421
	classProtocol = "protocol" // answered with nonsense

	classTransient = "transient" // 4xx
	classPermanent = "permanent" // 5xx
	classUnfit     = "unfit"     // core lacks an extension that the message needs
	classLocal     = "local"     // the message could not be read here
)

const prefix = "anymx_handoff_"

func newMetrics(h *Handoff, r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		register: r,
		dials: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: prefix + "dials_total", Help: "Connections to core, by how they ended up.",
		}, []string{"address", "result"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: prefix + "failures_total", Help: "Connections that failed, and recipients that core did not take, by class.",
		}, []string{"address", "class"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: prefix + "transaction_seconds", Help: "Time to hand one message over.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 18),
		}),
		probes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "anymx_tunnel_probes_total", Help: "Probes with packets of full size of the way to core, by what they found.",
		}, []string{"address", "result"}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.dials, m.failures, m.seconds, m.probes, gauges{h}} {
		if err := r.Register(c); err != nil {
			m.unregister()
			return nil, err
		}
		m.installed = append(m.installed, c)
	}
	return m, nil
}

func (m *metrics) unregister() {
	for _, c := range m.installed {
		m.register.Unregister(c)
	}
	m.installed = nil
}

// dialled counts a connection; f is why there is none.
func (m *metrics) dialled(label string, f *mail.Failure) {
	result := "opened"
	if f != nil {
		result = "failed"
		m.failures.WithLabelValues(label, classOf(f)).Inc()
	}
	m.dials.WithLabelValues(label, result).Inc()
}

// sent counts a message: one failure for a connection that died, else one for
// each recipient that was not served.
func (m *metrics) sent(label string, results []mail.Result, dead *mail.Failure, took time.Duration) {
	m.seconds.Observe(took.Seconds())
	if dead != nil {
		m.failures.WithLabelValues(label, classOf(dead)).Inc()
	}
	for i := range results {
		if f := results[i].Failure; f != nil && f != dead && !errors.Is(f, smtpc.ErrUsedUp) {
			m.failures.WithLabelValues(label, classOf(f)).Inc()
		}
	}
}

// classOf is a failure's class.
func classOf(f *mail.Failure) string {
	switch {
	case errors.Is(f, smtpc.ErrContent):
		return classLocal
	case errors.Is(f, smtpc.ErrProtocol):
		return classProtocol
	case f.Reply.Code == 421:
		return classBusy
	case f.Command == "STARTTLS":
		return classTLS
	case f.Reply.Code != 0 && (f.Command == "CONNECT" || f.Command == "EHLO"):
		return classGreeting
	case f.Reply.Permanent():
		return classPermanent
	case f.Reply.Code != 0:
		return classTransient
	case f.Enhanced[1] != 4:
		return classUnfit
	case f.Enhanced == mail.Enhanced{4, 4, 1} || f.Enhanced == mail.Enhanced{4, 4, 3}:
		return classConnect
	case smtpc.IsTimeout(f):
		return classTimeout
	}
	return classClosed
}

// gauges reads the state of a Handoff when it is asked for.
type gauges struct{ h *Handoff }

var (
	descConnections = prometheus.NewDesc(prefix+"connections", "Connections to core that are open.", []string{"address", "state"}, nil)
	descLimit       = prometheus.NewDesc(prefix+"limit_messages", "Messages that may be under way to core at a time.", []string{"address"}, nil)
	descUp          = prometheus.NewDesc(prefix+"up", "0 while the address is left alone after a failure.", []string{"address"}, nil)
	descExtension   = prometheus.NewDesc(prefix+"extension", "1 if the address takes the extension, 0 if it has said that it does not; absent while it is not known.", []string{"address", "extension"}, nil)
	descProbeOK     = prometheus.NewDesc("anymx_tunnel_probe_ok", "1 if packets of full size got to core and back in the last probe.", []string{"address"}, nil)
	descProbeTook   = prometheus.NewDesc("anymx_tunnel_probe_seconds", "Time of the last probe with packets of full size.", []string{"address"}, nil)
	descWaiting     = prometheus.NewDesc(prefix+"waiting_messages", "Messages that wait for room.", nil, nil)
)

func (gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descConnections, descLimit, descUp, descExtension, descProbeOK, descProbeTook, descWaiting} {
		ch <- d
	}
}

func (g gauges) Collect(ch chan<- prometheus.Metric) {
	seconds := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge := func(d *prometheus.Desc, v int, labels ...string) { seconds(d, float64(v), labels...) }
	for i, s := range g.h.Status() {
		label, up := strconv.Itoa(i), 1
		if s.Health == Down || s.Health == Probing {
			up = 0
		}
		gauge(descConnections, s.Connections-s.idle, label, "busy")
		gauge(descConnections, s.idle, label, "idle")
		gauge(descLimit, s.Limit, label)
		gauge(descUp, up, label)
		for _, keyword := range mail.AllExtensions.Keywords() {
			if takes := s.Extensions.Has(mail.ParseExtensions([]string{keyword})); s.Learned && takes {
				gauge(descExtension, 1, label, keyword)
			} else if s.Learned {
				gauge(descExtension, 0, label, keyword)
			}
		}
		if p := &s.Probe; !p.At.IsZero() {
			ok := 0
			if p.Outcome == Answered {
				ok = 1
			}
			gauge(descProbeOK, ok, label)
			seconds(descProbeTook, p.Took.Seconds(), label)
		}
	}
	g.h.mu.Lock()
	waiting := g.h.waiting
	g.h.mu.Unlock()
	gauge(descWaiting, waiting)
}
