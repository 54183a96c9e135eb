package wire

import "github.com/prometheus/client_golang/prometheus"

// metrics of a registry. Label values are fixed sets, listed here.
type metrics struct {
	accepted   prometheus.Counter
	refused    *prometheus.CounterVec // reason: connections, prefix, early
	probes     prometheus.Counter
	open       prometheus.Gauge
	limit      prometheus.Gauge
	errors     prometheus.Counter
	commands   prometheus.Counter
	handshakes *prometheus.CounterVec // result: TLS 1.2, TLS 1.3, failed
	closed     *prometheus.CounterVec // reason: quit, disconnect, timeout, refused, errors, commands, draining, tls, proxy, slow, early talker, pipelining, bare line end, line too long, BDAT arguments, message size, not SMTP
	octets     *prometheus.CounterVec // direction: in, out
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
		probes:     counter("probes_total", "Connections by which the node itself has seen whether it serves; the other metrics count them too."),
		open:       gauge("connections_open", "Connections that are open."),
		limit:      gauge("connections_limit", "The cap on open connections; 0 is none."),
		errors:     counter("command_errors_total", "Commands answered with 5xx, recipients apart."),
		commands:   counter("commands_total", "Commands read, counted when their connection ends."),
		handshakes: vec("tls_handshakes_total", "STARTTLS handshakes by version, or failed.", "result"),
		closed:     vec("connections_closed_total", "Connections that ended, by why.", "reason"),
		octets:     vec("octets_total", "Octets above TLS, counted when their connection ends.", "direction"),
	}
	if reg != nil {
		reg.MustRegister(m.accepted, m.refused, m.probes, m.open, m.limit, m.errors, m.commands, m.handshakes, m.closed, m.octets)
	}
	return m
}

// ended counts what a connection did.
func (m *metrics) ended(c *Conn) {
	m.open.Dec()
	if c.Probe() {
		m.probes.Inc()
	}
	m.commands.Add(float64(c.stats.Commands))
	m.octets.WithLabelValues("in").Add(float64(c.stats.In))
	m.octets.WithLabelValues("out").Add(float64(c.stats.Out))
	m.closed.WithLabelValues(c.stats.Reason).Inc()
}
