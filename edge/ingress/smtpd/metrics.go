package smtpd

import (
	"anymx/edge/budget"
	"anymx/edge/mail"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of the server. Label values are fixed sets, listed here.
type metrics struct {
	messages   prometheus.Counter
	recipients prometheus.Counter
	bytes      prometheus.Counter
	tls        prometheus.Counter
	errors     prometheus.Counter
	commands   prometheus.Counter
	probes     prometheus.Counter
	refused    *prometheus.CounterVec // stage: connect, helo, mail, rcpt, data; class: 4xx, 5xx; reply: the ids of package replies, and check
}

func newMetrics(reg prometheus.Registerer, memory *budget.Budget) *metrics {
	of := func(subsystem, name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "anymx", Subsystem: subsystem, Name: name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter { return of("smtpd", name, help) }
	m := &metrics{
		messages:   counter("messages_accepted_total", "Messages committed to the spool."),
		recipients: counter("recipients_accepted_total", "Recipients of the messages committed."),
		bytes:      counter("message_bytes_accepted_total", "Bytes of the messages committed."),
		tls:        counter("messages_tls_total", "Messages that came under TLS."),
		errors:     of("ingress", "command_errors_total", "Commands answered with 5xx, recipients apart."),
		commands:   of("ingress", "commands_total", "Commands read, counted when their connection ends."),
		probes:     of("ingress", "probes_total", "Connections by which the node itself has seen whether it serves; the metrics of connections count them too."),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "anymx", Subsystem: "smtpd", Name: "refused_total",
			Help: "Commands of a transaction that were refused, by stage, class of the reply, and its id in docs/replies.md.",
		}, []string{"stage", "class", "reply"}),
	}
	gauge := func(name, help string, f func() int64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "anymx", Subsystem: "ingress", Name: name, Help: help},
			func() float64 { return float64(f()) })
	}
	if reg != nil {
		reg.MustRegister(
			gauge("memory_bytes", "Memory that transactions hold: envelopes, headers and drafts.", memory.Used),
			gauge("memory_limit_bytes", "Memory at which transactions are refused; 0 for no limit.", memory.Limit),
		)
		reg.MustRegister(m.messages, m.recipients, m.bytes, m.tls, m.errors, m.commands, m.probes, m.refused)
	}
	return m
}

func (m *metrics) accepted(env *mail.Envelope) {
	m.messages.Inc()
	m.recipients.Add(float64(len(env.Recipients)))
	m.bytes.Add(float64(env.Size))
	if env.Client.TLS != "" {
		m.tls.Inc()
	}
}
