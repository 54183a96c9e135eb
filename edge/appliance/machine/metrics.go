package machine

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// results counts how updates ended.
type results struct{ staged, refused, failed atomic.Int64 }

// Label "slot" is running or other; "result" is staged (written and read back), refused
// (the bundle, or the machine's state, is not right) or failed.
var (
	infoDesc    = prometheus.NewDesc("anymx_machine_info", "The version of the image that runs, and the one that the loader boots next.", []string{"version", "next"}, nil)
	provenDesc  = prometheus.NewDesc("anymx_machine_proven", "Whether the running version has carried mail on this machine.", nil, nil)
	triesDesc   = prometheus.NewDesc("anymx_machine_tries_left", "Boots that a slot's version has left before the loader takes it for bad.", []string{"slot"}, nil)
	orderDesc   = prometheus.NewDesc("anymx_machine_orders_running", "Updates, rollbacks, reboots and poweroffs under way.", nil, nil)
	updatesDesc = prometheus.NewDesc("anymx_machine_updates_total", "Updates that were ordered, by how they ended.", []string{"result"}, nil)
	lastDesc    = prometheus.NewDesc("anymx_machine_last_update_info", "The last update that was written into a slot, and what became of it.", []string{"version", "outcome"}, nil)
)

// collector shows a machine's status as metrics.
type collector struct{ m *Machine }

// Describe implements prometheus.Collector.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{infoDesc, provenDesc, triesDesc, orderDesc, updatesDesc, lastDesc} {
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
		gauge(provenDesc, truth[s.Proven])
	}
	for i, name := range []string{"running", "other"} {
		if i < len(s.Slots) && s.Slots[i].TriesLeft != nil {
			gauge(triesDesc, float64(*s.Slots[i].TriesLeft), name)
		}
	}
	gauge(orderDesc, truth[s.Order != nil])
	if s.Last != nil {
		gauge(lastDesc, 1, s.Last.Version, s.Last.Outcome)
	}
	r := &c.m.results
	for name, n := range map[string]int64{"staged": r.staged.Load(), "refused": r.refused.Load(), "failed": r.failed.Load()} {
		ch <- prometheus.MustNewConstMetric(updatesDesc, prometheus.CounterValue, float64(n), name)
	}
}
