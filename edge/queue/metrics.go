package queue

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the queue's figures. Label values are those listed here.
type metrics struct {
	attempts      struct{ made, down prometheus.Counter }                           // outcome: made, down
	results       struct{ delivered, deferred, failed, expired prometheus.Counter } // result: as named
	notified      map[string]prometheus.Counter                                     // kind: failure, delay, relayed
	doubleBounces prometheus.Counter
	unnotified    struct{ notAsked, forbidden prometheus.Counter } // why: not_asked, not_genuine
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

	attempts := vector("attempts_total", "outcome", "Attempts to deliver a leg: made, or found the destination down.")
	m.attempts.made, m.attempts.down = attempts.WithLabelValues("made"), attempts.WithLabelValues("down")
	results := vector("results_total", "result", "Results of attempts, one for each recipient: delivered, deferred, failed for good, expired.")
	m.results.delivered, m.results.deferred = results.WithLabelValues("delivered"), results.WithLabelValues("deferred")
	m.results.failed, m.results.expired = results.WithLabelValues("failed"), results.WithLabelValues("expired")
	notified := vector("notifications_total", "kind", "Delivery status notifications stored, by kind: failure, delay, relayed.")
	unstored := vector("notifications_unstored_total", "kind", "Attempts to store a notification that failed, by kind: failure, delay, relayed.")
	for _, kind := range []string{kindFailure, kindDelay, kindRelayed} {
		m.notified[kind], m.unstored[kind] = notified.WithLabelValues(kind), unstored.WithLabelValues(kind)
	}
	m.doubleBounces = counter("double_bounces_total", "Recipients that failed for a message without a sender to tell.")
	unnotified := vector("failures_untold_total", "why", "Recipients that failed without a notification: the sender asked for none (not_asked), or did not write the message (not_genuine).")
	m.unnotified.notAsked, m.unnotified.forbidden = unnotified.WithLabelValues("not_asked"), unnotified.WithLabelValues("not_genuine")
	m.vanished = counter("vanished_total", "Legs in the queue that the spool did not have any more.")
	m.deleted = counter("deleted_total", "Legs deleted by an operator.")
	m.errors = counter("spool_errors_total", "Legs put off because the spool failed for them.")
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
		gauge("legs", "Legs in the queue, by state: active, waiting, held. A message has one for each destination.", prometheus.Labels{"state": string(s.status)}, s.value)
	}
	gauge("bytes", "Bytes of the messages in the queue.", nil, func(s *Stats) float64 { return float64(s.Bytes) })
	gauge("oldest_age_seconds", "Age of the oldest message in the queue; 0 if it is empty.", nil, func(s *Stats) float64 {
		if s.Oldest.IsZero() {
			return 0
		}
		return q.options.Now().Sub(s.Oldest).Seconds()
	})
	gauge("messages", "Messages in the queue.", nil, func(s *Stats) float64 { return float64(s.Stored) })
	gauge("lanes", "Destinations of the legs in the queue.", nil, func(s *Stats) float64 { return float64(s.Lanes) })
	gauge("paused", "Destinations that can't be reached at present.", nil, func(s *Stats) float64 { return float64(len(s.Paused)) })
}

// unregister makes room for another queue in the same registry.
func (m *metrics) unregister() {
	for _, c := range m.all {
		if m.registry != nil {
			m.registry.Unregister(c)
		}
	}
}
