package drain

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The metrics of a drain. A step is one of steps.
//
//	anymx_drain_out_of_service   1 from the beginning of a drain until the node is resumed
//	anymx_drain_step             step: 1 while it is under way
//	anymx_drain_step_seconds     step: how long it has taken so far; 0 in service
//	anymx_drain_messages         messages that are left in the spool; 0 in service
//	anymx_drain_sessions         sessions that are left; 0 in service

var (
	descOut      = prometheus.NewDesc("anymx_drain_out_of_service", "1 while the node leaves service or is out of it.", nil, nil)
	descStep     = prometheus.NewDesc("anymx_drain_step", "1 while the step of a drain is under way.", []string{"step"}, nil)
	descSeconds  = prometheus.NewDesc("anymx_drain_step_seconds", "Time that the step of a drain has taken.", []string{"step"}, nil)
	descMessages = prometheus.NewDesc("anymx_drain_messages", "Messages that a drain has left to hand over, held ones included.", nil, nil)
	descSessions = prometheus.NewDesc("anymx_drain_sessions", "Sessions that a drain waits for.", nil, nil)
)

// Describe sends the descriptions of the metrics.
func (*Drain) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descOut, descStep, descSeconds, descMessages, descSessions} {
		ch <- d
	}
}

// Collect sends the current values.
func (d *Drain) Collect(ch chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, labels...)
	}
	s := d.Status()
	out, messages, sessions := 0.0, 0.0, 0.0
	underWay, seconds := map[string]float64{}, map[string]float64{}
	if s != nil {
		out, messages, sessions = 1, float64(s.Messages), float64(s.Sessions)
		for _, step := range s.Steps {
			end := step.Ended
			if end.IsZero() {
				end, underWay[string(step.Step)] = time.Now(), 1
			}
			seconds[string(step.Step)] = end.Sub(step.Began).Seconds()
		}
	}
	gauge(descOut, out)
	gauge(descMessages, messages)
	gauge(descSessions, sessions)
	for _, step := range steps {
		gauge(descStep, underWay[string(step)], string(step))
		gauge(descSeconds, seconds[string(step)], string(step))
	}
}
