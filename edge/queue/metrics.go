package queue

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the queue's figures. Label values are those listed here.
type metrics struct {
	tries         struct{ made, down prometheus.Counter }                           // outcome: made, down
	results       struct{ delivered, deferred, failed, expired prometheus.Counter } // result: as named
	notified      map[string]prometheus.Counter                                     // kind: failure, delay, relayed
	doubleBounces prometheus.Counter
	untold        struct{ notAsked, forbidden prometheus.Counter } // why: not_asked, not_genuine
	unstored      map[string]prometheus.Counter                    // kind: failure, delay, relayed
	vanished      prometheus.Counter
	deleted       prometheus.Counter
	errors        prometheus.Counter
	latency       prometheus.Histogram

	registry prometheus.Registerer
	all      []prometheus.Collector
}

func newMetrics(q *Queue, registry prometheus.Registerer) (*metrics, error) {
	m := &metrics{registry: registry, notified: make(map[string]prometheus.Counter), unstored: make(map[string]prometheus.Counter)}
	add := func(c prometheus.Collector) { m.all = append(m.all, c) }
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "anymx", Subsystem: "queue", Name: name, Help: help})
		add(c)
		return c
	}
	vector := func(name, label, help string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "anymx", Subsystem: "queue", Name: name, Help: help}, []string{label})
		add(c)
		return c
	}

	tries := vector("tries_total", "outcome", "Tries for a message: made, or found the destination down.")
	m.tries.made, m.tries.down = tries.WithLabelValues("made"), tries.WithLabelValues("down")
	results := vector("results_total", "result", "Results of tries, one for each recipient: delivered, deferred, failed for good, expired.")
	m.results.delivered, m.results.deferred = results.WithLabelValues("delivered"), results.WithLabelValues("deferred")
	m.results.failed, m.results.expired = results.WithLabelValues("failed"), results.WithLabelValues("expired")
	notified := vector("notifications_total", "kind", "Delivery status notifications stored, by kind: failure, delay, relayed.")
	unstored := vector("notifications_unstored_total", "kind", "Attempts to store a notification that failed, by kind: failure, delay, relayed.")
	for _, kind := range []string{kindFailure, kindDelay, kindRelayed} {
		m.notified[kind], m.unstored[kind] = notified.WithLabelValues(kind), unstored.WithLabelValues(kind)
	}
	m.doubleBounces = counter("double_bounces_total", "Recipients that failed for a message without a sender to tell.")
	untold := vector("failures_untold_total", "why", "Recipients that failed without a notification: the sender asked for none (not_asked), or did not write the message (not_genuine).")
	m.untold.notAsked, m.untold.forbidden = untold.WithLabelValues("not_asked"), untold.WithLabelValues("not_genuine")
	m.vanished = counter("vanished_total", "Messages of the queue that the spool did not have any more.")
	m.deleted = counter("deleted_total", "Messages deleted by an operator.")
	m.errors = counter("spool_errors_total", "Messages put off because the spool failed for them.")
	m.latency = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: "anymx", Subsystem: "queue", Name: "delivery_seconds",
		Help:    "Time from the acceptance of a message to its delivery to a recipient.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 30, 120, 600, 3600, 21600, 86400, 432000},
	})
	add(m.latency)
	m.addGauges(q)
	if registry == nil {
		return m, nil
	}
	for i, c := range m.all {
		if err := registry.Register(c); err != nil {
			m.all = m.all[:i]
			m.unregister()
			return nil, err
		}
	}
	return m, nil
}

// addGauges adds what is read from the queue at each scrape.
func (m *metrics) addGauges(q *Queue) {
	gauge := func(name, help string, labels prometheus.Labels, value func(*Stats) float64) {
		m.all = append(m.all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "anymx", Subsystem: "queue", Name: name, Help: help, ConstLabels: labels},
			func() float64 {
				s := q.Stats()
				return value(&s)
			}))
	}
	for _, s := range []struct {
		status Status
		value  func(*Stats) float64
	}{
		{Active, func(s *Stats) float64 { return float64(s.Active) }},
		{Waiting, func(s *Stats) float64 { return float64(s.Waiting) }},
		{Held, func(s *Stats) float64 { return float64(s.Held) }},
	} {
		gauge("messages", "Messages in the queue, by state: active, waiting, held.", prometheus.Labels{"state": string(s.status)}, s.value)
	}
	gauge("bytes", "Octets of the messages in the queue.", nil, func(s *Stats) float64 { return float64(s.Bytes) })
	gauge("oldest_age_seconds", "Age of the oldest message in the queue; 0 if it is empty.", nil, func(s *Stats) float64 {
		if s.Oldest.IsZero() {
			return 0
		}
		return q.o.Now().Sub(s.Oldest).Seconds()
	})
	gauge("paused", "1 while the destination can't be reached, else 0.", nil, func(s *Stats) float64 {
		if s.Paused == nil {
			return 0
		}
		return 1
	})
}

// unregister makes room for another queue in the same registry.
func (m *metrics) unregister() {
	for _, c := range m.all {
		if m.registry != nil {
			m.registry.Unregister(c)
		}
	}
}
