package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// sample is the figures of one round by metric.
type sample map[string]float64

// String lists the metrics for the progress lines.
func (s sample) String() string {
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(s)) {
		parts = append(parts, key+"="+figure(s[key]))
	}
	return strings.Join(parts, " ")
}

// result is all rounds of one job on one system.
type result struct {
	Job     string   `json:"job"`
	System  string   `json:"system"`
	Rounds  []sample `json:"rounds"`
	Failure string   `json:"failure,omitempty"` // why the rounds ended early
}

// middle sums up the rounds of a metric.
type middle struct {
	median, lowest, highest float64
	rounds                  int
}

// middle returns the median of a metric; ok is false if no round has it.
func (r *result) middle(metric string) (m middle, ok bool) {
	if r == nil {
		return m, false
	}
	var all []float64
	for _, s := range r.Rounds {
		if v, ok := s[metric]; ok {
			all = append(all, v)
		}
	}
	if len(all) == 0 {
		return m, false
	}
	slices.Sort(all)
	m = middle{median: all[len(all)/2], lowest: all[0], highest: all[len(all)-1], rounds: len(all)}
	if len(all)%2 == 0 {
		m.median = (m.median + all[len(all)/2-1]) / 2
	}
	return m, true
}

// report is the outcome of a run.
type report struct {
	Started time.Time      `json:"started"`
	Elapsed time.Duration  `json:"elapsed_ns"`
	Machine []string       `json:"machine"`
	Rounds  int            `json:"rounds"`
	Systems []systemReport `json:"systems"`
	Results []*result      `json:"results"`
	Limits  []goLimit      `json:"limits"`
	rows    []row
}

// systemReport is one system of the run.
type systemReport struct {
	Name string `json:"name"`
	description
}

// newReport returns a report with a description of the machine and of the disk that dir is on.
func newReport(dir string, opts options) *report {
	return &report{Started: time.Now(), Machine: describeMachine(dir), Rounds: opts.rounds}
}

// add adds the results of a job.
func (r *report) add(j job, results []*result) {
	r.Results = append(r.Results, results...)
	for _, line := range j.rows() {
		line.job = j.name()
		r.rows = append(r.rows, line)
	}
}

// result returns the result of a job on a system, nil if it was not measured.
func (r *report) result(job, system string) *result {
	for _, res := range r.Results {
		if res.Job == job && res.System == system {
			return res
		}
	}
	return nil
}

// writeJSON writes the figures of every round.
func (r *report) writeJSON(file string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("figures: %w", err)
	}
	return nil
}

// foreign returns the percentage of the machine that other programs took in a round, the median and the
// highest.
func (r *report) foreign() (usual, most float64) {
	var all result
	for _, res := range r.Results {
		all.Rounds = append(all.Rounds, res.Rounds...)
	}
	m, _ := all.middle("foreign")
	return m.median, m.highest
}

// ownCost returns the median CPU time that the generator and the sink need for a small message, in ms.
func (r *report) ownCost() (load, sink float64) {
	var all result
	for _, res := range r.Results {
		if strings.HasPrefix(res.Job, "smtp-") {
			all.Rounds = append(all.Rounds, res.Rounds...)
		}
	}
	l, _ := all.middle("load_cpu")
	s, _ := all.middle("sink_cpu")
	return l.median, s.median
}
