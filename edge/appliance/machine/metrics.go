package machine

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// results counts updates by result.
type results struct{ staged, refused, failed atomic.Int64 }

// Label "slot" is running or other; "result" is staged (written and read back), refused (the
// bundle, or the machine's state, is invalid) or failed.
var (
	infoDesc       = prometheus.NewDesc("anymx_machine_info", "The running version of the image, and the one that the loader boots next.", []string{"version", "next"}, nil)
	confirmedDesc  = prometheus.NewDesc("anymx_machine_confirmed", "1 if the running version is confirmed: it has carried mail on this machine.", nil, nil)
	attemptsDesc   = prometheus.NewDesc("anymx_machine_boot_attempts_left", "Boot attempts that a slot's version has left before the loader skips it.", []string{"slot"}, nil)
	operationsDesc = prometheus.NewDesc("anymx_machine_operations_running", "Running updates, rollbacks, reboots and poweroffs.", nil, nil)
	updatesDesc    = prometheus.NewDesc("anymx_machine_updates_total", "Requested updates by result.", []string{"result"}, nil)
	lastDesc       = prometheus.NewDesc("anymx_machine_last_update_info", "The last update that was written into a slot, and its outcome.", []string{"version", "outcome"}, nil)
)

// collector exports a machine's status as metrics.
type collector struct{ m *Machine }

// Describe implements prometheus.Collector.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{infoDesc, confirmedDesc, attemptsDesc, operationsDesc, updatesDesc, lastDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	s := c.m.status()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	truth := map[bool]float64{true: 1}
	if s.Image != "" {
		gauge(infoDesc, 1, s.Image, s.Next)
		gauge(confirmedDesc, truth[s.Confirmed])
	}
	for i, name := range []string{"running", "other"} {
		if i < len(s.Slots) && s.Slots[i].BootAttemptsLeft != nil {
			gauge(attemptsDesc, float64(*s.Slots[i].BootAttemptsLeft), name)
		}
	}
	gauge(operationsDesc, truth[s.Operation != nil])
	if s.Last != nil {
		gauge(lastDesc, 1, s.Last.Version, s.Last.Outcome)
	}
	r := &c.m.results
	for name, n := range map[string]int64{"staged": r.staged.Load(), "refused": r.refused.Load(), "failed": r.failed.Load()} {
		ch <- prometheus.MustNewConstMetric(updatesDesc, prometheus.CounterValue, float64(n), name)
	}
}
