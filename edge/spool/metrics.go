package spool

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics holds the spool's Prometheus metrics.
//
//	anymx_spool_refused_total        reason: "disk reserve", "high water", "messages", "engine", "memory"
//	anymx_spool_drafts_cut_total     reason: "disk", "network"
//	anymx_spool_errors_total         kind: "body", "read", "disk", "background", "corruption", "engine", "misuse"
//	anymx_spool_engine_bytes         kind: "tables", "bodies", "memtables", "log"
//	anymx_spool_engine_written_bytes_total  kind: "log", "flush", "compaction"
type metrics struct {
	commits   prometheus.Counter
	bytes     prometheus.Counter
	removals  prometheus.Counter
	orphans   prometheus.Counter
	stalls    prometheus.Counter
	diskSlow  prometheus.Counter
	seconds   prometheus.Histogram
	groups    prometheus.Histogram
	refusals  *prometheus.CounterVec
	syncs     atomic.Int64 // groups written
	errors    errorCounters
	parts     []prometheus.Collector
	register  prometheus.Registerer // nil: none
	installed []prometheus.Collector
}

type errorCounters struct {
	body, read, disk, background, corruption, engine, misuse prometheus.Counter
}

func newMetrics(s *Spool) *metrics {
	m := &metrics{register: s.options.Metrics}
	m.commits = m.counter("committed_messages_total", "Messages stored.")
	m.bytes = m.counter("committed_bytes_total", "Bytes of bodies stored.")
	m.removals = m.counter("removed_messages_total", "Messages removed.")
	m.orphans = m.counter("orphans_total", "Files and records without a message that were moved away or removed at the start.")
	m.stalls = m.counter("engine_stalls_total", "Write stalls: commits had to wait for the engine to flush its memory.")
	m.diskSlow = m.counter("disk_slow_total", "Disk operations that took longer than five seconds.")
	m.seconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: prefix + "commit_seconds", Help: "Duration of commits, including the sync.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 2, 17),
	})
	m.groups = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: prefix + "group_commits", Help: "Commits that shared one sync.",
		Buckets: prometheus.ExponentialBuckets(1, 2, 11),
	})
	m.refusals = m.vector("refused_total", "Messages refused before they were received.", "reason")
	for _, r := range []Reason{ReasonReserve, ReasonHighWater, ReasonMessages, ReasonEngine, ReasonMemory} {
		m.refusals.WithLabelValues(string(r))
	}
	kinds := m.vector("errors_total", "Errors of storage.", "kind")
	m.errors = errorCounters{
		body: kinds.WithLabelValues("body"), read: kinds.WithLabelValues("read"), disk: kinds.WithLabelValues("disk"),
		background: kinds.WithLabelValues("background"), corruption: kinds.WithLabelValues("corruption"),
		engine: kinds.WithLabelValues("engine"), misuse: kinds.WithLabelValues("misuse"),
	}
	m.parts = append(m.parts, m.seconds, m.groups)
	l := &s.ledger
	m.gauge("messages", "Messages stored.", func() float64 { return float64(l.messages.Load()) })
	m.gauge("bytes", "Bytes of bodies stored.", func() float64 { return float64(l.bytes.Load()) })
	m.gauge("drafts", "Messages being received.", func() float64 { return float64(l.drafts.Load()) })
	m.gauge("draft_bytes", "Bytes of messages being received that are on the disk.", func() float64 { return float64(l.inFlight.Load()) })
	m.gauge("draft_limit_bytes", "Bytes of messages being received at which the slowest are cut; 0 for no limit.", func() float64 { return float64(s.flight.most) })
	m.parts = append(m.parts, &s.flight)
	m.gauge("memory_bytes", "Bytes of bodies kept in memory for their first attempt.", func() float64 { return float64(l.memory.Load()) })
	m.gauge("disk_free_bytes", "Bytes free on the spool's disk.", func() float64 { return float64(max(l.left(), 0)) })
	m.gauge("disk_reserve_bytes", "Bytes that must stay free.", func() float64 { return float64(l.reserve) })
	m.gauge("high_water_bytes", "Bytes of bodies at which messages are refused; 0 for no limit.", func() float64 { return float64(l.highWater) })
	m.gauge("messages_limit", "Number of messages at which more are refused; 0 for no limit.", func() float64 { return float64(l.maxMessages) })
	m.gauge("accepting", "1 while messages are accepted.", func() float64 {
		if s.closed.Load() || s.engine.trouble() != nil || l.refusal() != nil {
			return 0
		}
		return 1
	})
	m.gauge("orphan_files", "Body files without an envelope.", func() float64 { return float64(s.orphans.files.Load()) })
	m.gauge("orphan_bytes", "Bytes of body files without an envelope.", func() float64 { return float64(s.orphans.bytes.Load()) })
	m.gauge("damaged_bodies", "Body files that were found missing or truncated at the start.", func() float64 { return float64(s.damagedBodies.Load()) })
	m.gauge("strange_files", "Unknown files in the bodies directory, at the start.", func() float64 { return float64(s.strange) })
	m.gauge("attention", "1 after acknowledged mail was lost, until the operator confirms it by set-aside.", func() float64 {
		if s.attention.Load() != nil {
			return 1
		}
		return 0
	})
	m.parts = append(m.parts, engineCollector{s})
	return m
}

const prefix = "anymx_spool_"

func (m *metrics) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: prefix + name, Help: help})
	m.parts = append(m.parts, c)
	return c
}

func (m *metrics) vector(name, help, label string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, []string{label})
	m.parts = append(m.parts, c)
	return c
}

func (m *metrics) gauge(name, help string, f func() float64) {
	m.parts = append(m.parts, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: prefix + name, Help: help}, f))
}

// install registers all metrics once the spool is open, because gauges read from it.
func (m *metrics) install() error {
	if m.register == nil {
		return nil
	}
	for _, c := range m.parts {
		if err := m.register.Register(c); err != nil {
			m.unregister()
			return fmt.Errorf("metrics: %w", err)
		}
		m.installed = append(m.installed, c)
	}
	return nil
}

func (m *metrics) unregister() {
	for _, c := range m.installed {
		m.register.Unregister(c)
	}
	m.installed = nil
}

func (m *metrics) committed(size int64, took time.Duration) {
	m.commits.Inc()
	m.bytes.Add(float64(size))
	m.seconds.Observe(took.Seconds())
}

func (m *metrics) removed() { m.removals.Inc() }

func (m *metrics) group(commits int) {
	m.syncs.Add(1)
	if commits > 0 {
		m.groups.Observe(float64(commits))
	}
}

func (m *metrics) refused(r Reason) { m.refusals.WithLabelValues(string(r)).Inc() }

var (
	engineBytes   = prometheus.NewDesc(prefix+"engine_bytes", "Bytes that the engine uses on disk or in memory.", []string{"kind"}, nil)
	engineWritten = prometheus.NewDesc(prefix+"engine_written_bytes_total", "Bytes that the engine has written.", []string{"kind"}, nil)
)

// engineCollector collects the engine's own figures.
type engineCollector struct{ s *Spool }

// Describe describes the metrics.
func (c engineCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- engineBytes
	ch <- engineWritten
}

// Collect reads the figures. There are none if the spool is closed or its engine has failed.
func (c engineCollector) Collect(ch chan<- prometheus.Metric) {
	e, ok := c.s.engineStats()
	if !ok {
		return
	}
	bytes := func(kind string, v int64) {
		ch <- prometheus.MustNewConstMetric(engineBytes, prometheus.GaugeValue, float64(v), kind)
	}
	bytes("tables", e.Tables)
	bytes("bodies", e.Bodies)
	bytes("memtables", e.Memtables)
	bytes("log", e.Log)
	written := func(kind string, v int64) {
		ch <- prometheus.MustNewConstMetric(engineWritten, prometheus.CounterValue, float64(v), kind)
	}
	written("log", e.LogWritten)
	written("flush", e.FlushWritten)
	written("compaction", e.CompactionWritten)
}
