package smtpd

import (
	"anymx/edge/mail"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of the server. Label values are fixed sets, listed here.
type metrics struct {
	messages   prometheus.Counter
	recipients prometheus.Counter
	octets     prometheus.Counter
	tls        prometheus.Counter
	refused    *prometheus.CounterVec // stage: mail, rcpt, data; class: 4xx, 5xx
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "anymx", Subsystem: "smtpd", Name: name, Help: help})
	}
	m := &metrics{
		messages:   counter("messages_accepted_total", "Messages committed to the spool."),
		recipients: counter("recipients_accepted_total", "Recipients of the messages committed."),
		octets:     counter("message_octets_accepted_total", "Octets of the messages committed."),
		tls:        counter("messages_tls_total", "Messages that came under TLS."),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "anymx", Subsystem: "smtpd", Name: "refused_total",
			Help: "Commands of a transaction that were refused, by stage and class of the reply.",
		}, []string{"stage", "class"}),
	}
	if reg != nil {
		reg.MustRegister(m.messages, m.recipients, m.octets, m.tls, m.refused)
	}
	return m
}

func (m *metrics) accepted(env *mail.Envelope) {
	m.messages.Inc()
	m.recipients.Add(float64(len(env.Recipients)))
	m.octets.Add(float64(env.Size))
	if env.Client.TLS != "" {
		m.tls.Inc()
	}
}
