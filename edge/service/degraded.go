package service

import (
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"anymx/edge/operate/api"
)

// Parts that all programs have.
const (
	PartControl = "control" // the control socket
	PartMetrics = "metrics" // the address for metrics and the status page
)

// Degraded lists what a program runs without: each thing that mail does not need and that is
// missing or broken. Whoever could not open the thing reports it and retries; Degraded handles the
// log line, the metric and the entry in the status. It is safe for concurrent use.
//
//	anymx_degraded   part: things of this part that the program runs without
type Degraded struct {
	log   *slog.Logger
	parts []string

	mu     sync.Mutex
	things map[thing]api.Degradation
}

// thing names one thing of a part: a router, a domain, an address.
type thing struct{ part, name string }

var degradedDesc = prometheus.NewDesc("anymx_degraded", "Things of this part that are missing or broken, and that the program goes without.", []string{"part"}, nil)

// NewDegraded returns one for a program that can run without these parts, which are the values of
// the metric's label.
func NewDegraded(log *slog.Logger, parts ...string) *Degraded {
	return &Degraded{log: log, parts: parts, things: map[thing]api.Degradation{}}
}

// Report records the state of a thing; nil means that it is in use. It logs changes.
func (d *Degraded) Report(part, name string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.note(thing{part, name}, err, time.Now())
}

// ReportAll records the state of all things of a part, by name: those not in problems are fine, or
// gone.
func (d *Degraded) ReportAll(part string, problems map[string]error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	for _, name := range slices.Sorted(maps.Keys(problems)) {
		d.note(thing{part, name}, problems[name], now)
	}
	for t := range d.things {
		if t.part == part && problems[t.name] == nil {
			d.note(t, nil, now)
		}
	}
}

// note records one report. The caller holds mu.
func (d *Degraded) note(t thing, err error, now time.Time) {
	before, was := d.things[t]
	if err == nil {
		if was {
			delete(d.things, t)
			d.log.Info("no longer degraded", "part", t.part, "name", t.name, "after", now.Sub(before.Since).Round(time.Millisecond))
		}
		return
	}
	problem := strings.ReplaceAll(err.Error(), "\n", "; ")
	if was && before.Problem == problem {
		return
	}
	since := now
	if was {
		since = before.Since
	}
	d.things[t] = api.Degradation{Part: t.part, Name: t.name, Problem: problem, Since: since}
	d.log.Error("degraded: the program goes on without this", "part", t.part, "name", t.name, "err", problem)
}

// Any reports whether anything of a part is missing.
func (d *Degraded) Any(part string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for t := range d.things {
		if t.part == part {
			return true
		}
	}
	return false
}

// Has reports whether a thing is missing.
func (d *Degraded) Has(part, name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, missing := d.things[thing{part, name}]
	return missing
}

// List returns what the program runs without, sorted by part and name.
func (d *Degraded) List() []api.Degradation {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.SortedFunc(maps.Values(d.things), func(a, b api.Degradation) int {
		if c := strings.Compare(a.Part, b.Part); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
}

// Describe names the metric.
func (d *Degraded) Describe(to chan<- *prometheus.Desc) { to <- degradedDesc }

// Collect counts the things of each part.
func (d *Degraded) Collect(to chan<- prometheus.Metric) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, part := range d.parts {
		n := 0
		for t := range d.things {
			if t.part == part {
				n++
			}
		}
		to <- prometheus.MustNewConstMetric(degradedDesc, prometheus.GaugeValue, float64(n), part)
	}
}

// NewlyMissing returns those of problems, by name, that concern things of a part that the program
// still has: a reload that would lose one is refused. What is missing already affects only itself.
func (d *Degraded) NewlyMissing(part string, problems map[string]error) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(problems)) {
		if !d.Has(part, name) {
			errs = append(errs, problems[name])
		}
	}
	return errors.Join(errs...)
}
