package wire

import "github.com/prometheus/client_golang/prometheus"

// metrics of a registry. Label values are fixed sets, listed here.
type metrics struct {
	accepted   prometheus.Counter
	refused    *prometheus.CounterVec // reason: connections, /16, /24, /32, /48, /56, /64, early
	open       prometheus.Gauge
	limit      prometheus.Gauge
	evicted    prometheus.Counter
	handshakes *prometheus.CounterVec // result: TLS 1.2, TLS 1.3, failed
	closed     *prometheus.CounterVec // reason: quit, disconnect, timeout, refused, errors, commands, draining, crowded, tls, proxy, slow, early talker, pipelining, bare line end, line too long, BDAT arguments, message size, cut, not SMTP
	bytes      *prometheus.CounterVec // direction: in, out
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "anymx", Subsystem: "ingress", Name: name, Help: help})
	}
	vec := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "anymx", Subsystem: "ingress", Name: name, Help: help}, []string{label})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "anymx", Subsystem: "ingress", Name: name, Help: help})
	}
	m := &metrics{
		accepted:   counter("connections_total", "Connections that were accepted by the listeners, refused ones included."),
		refused:    vec("connections_refused_total", "Connections refused before their banner.", "reason"),
		open:       gauge("connections_open", "Connections that are open."),
		limit:      gauge("connections_limit", "The cap on open connections; 0 is none."),
		evicted:    counter("connections_evicted_total", "Idle connections that were told to go because nearly all places were taken."),
		handshakes: vec("tls_handshakes_total", "STARTTLS handshakes by version, or failed.", "result"),
		closed:     vec("connections_closed_total", "Connections that ended, by why.", "reason"),
		bytes:      vec("bytes_total", "Bytes above TLS, counted when their connection ends.", "direction"),
	}
	if reg != nil {
		reg.MustRegister(m.accepted, m.refused, m.open, m.limit, m.evicted, m.handshakes, m.closed, m.bytes)
	}
	return m
}

// ended counts what a connection did.
func (m *metrics) ended(c *Conn) {
	m.open.Dec()
	m.bytes.WithLabelValues("in").Add(float64(c.stats.In))
	m.bytes.WithLabelValues("out").Add(float64(c.stats.Out))
	m.closed.WithLabelValues(c.stats.Reason).Inc()
}
