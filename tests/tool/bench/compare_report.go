package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// compareReport is the outcome of a comparison of two versions.
type compareReport struct {
	Started time.Time        `json:"started"`
	Machine []string         `json:"machine"`
	Old     description      `json:"old"`
	New     description      `json:"new"`
	Pairs   int              `json:"pairs"` // that are whole
	Round   time.Duration    `json:"round_ns"`
	Most    float64          `json:"most"` // highest bound that is accepted; 0 means any
	Rows    []*compareResult `json:"rows"`
}

// compareResult is what one row came to.
type compareResult struct {
	Row      string   `json:"row"`
	What     string   `json:"what"`
	Messages int      `json:"messages"` // in each round
	Old      []sample `json:"old"`      // a round of each pair; "cpu" is in ms for each message
	New      []sample `json:"new"`
	pairedRatio
	Above bool `json:"above"` // the bound is above the accepted one

	job job
}

// newCompareReport begins a report on the rows that the command line chose.
func newCompareReport(b *bench, older, newer system) *compareReport {
	rep := &compareReport{
		Started: time.Now(), Machine: describeMachine(b.dir), Old: older.describe(), New: newer.describe(),
		Round: b.opts.round, Most: b.opts.compare.most,
	}
	for _, r := range compareRows() {
		if slices.Contains(b.opts.compare.rows, r.name()) {
			rep.Rows = append(rep.Rows, &compareResult{Row: r.name(), What: r.what, job: r.job})
		}
	}
	return rep
}

// summarize computes ratios and bounds from the whole pairs.
func (r *compareReport) summarize() {
	if r.Pairs < 2 {
		return
	}
	for _, row := range r.Rows {
		row.Old, row.New = row.Old[:r.Pairs], row.New[:r.Pairs]
		row.pairedRatio = summarizePairs(metricOf(row.Old, "cpu"), metricOf(row.New, "cpu"))
		row.Above = r.Most > 0 && row.Bound > r.Most
	}
}

// metricOf returns one metric of all rounds.
func metricOf(rounds []sample, metric string) []float64 {
	var all []float64
	for _, s := range rounds {
		all = append(all, s[metric])
	}
	return all
}

// write prints the table to stdout and writes the figures of all rounds as JSON to file, "" for none.
// With "-" the JSON takes the table's place.
func (r *compareReport) write(file string, stdout io.Writer) error {
	if file == "" {
		return r.table(stdout)
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if file == "-" {
		_, err := stdout.Write(text)
		return err
	}
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return fmt.Errorf("-json: %w", err)
	}
	return r.table(stdout)
}

// table prints the result for a reader.
func (r *compareReport) table(out io.Writer) error {
	fmt.Fprintf(out, "old: %s\nnew: %s\n", r.Old.Title, r.New.Title)
	for _, line := range r.Machine {
		fmt.Fprintln(out, line)
	}
	fmt.Fprintf(out, "\nCPU for each message, ms (median of %d pairs); new/old with the one-sided 95%% bound of its mean\n\n", r.Pairs)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "row\told\tnew\tmedian\tmean\tbound\tresult\tworkload")
	for _, row := range r.Rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%.3f\t%.3f\t%.3f\t%s\t%s\n", row.Row, figure(median(metricOf(row.Old, "cpu"))),
			figure(median(metricOf(row.New, "cpu"))), row.Median, row.Mean, row.Bound, r.result(row), row.What)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nnew/old of each pair\n\n")
	for _, row := range r.Rows {
		var ratios strings.Builder
		for _, ratio := range row.Ratios {
			fmt.Fprintf(&ratios, " %.3f", ratio)
		}
		fmt.Fprintf(t, "%s\t%s\n", row.Row, ratios.String()[1:])
	}
	if err := t.Flush(); err != nil {
		return err
	}
	usual, highest := r.foreign()
	fmt.Fprintf(out, "\nOther programs took %.0f%% of the machine in the median round, at most %.0f%%.\n", usual, highest)
	if usual > noisy {
		fmt.Fprintln(out, "The machine was busy: repeat the run on a quiet one before you rely on it.")
	}
	return nil
}

// result says how a row's bound compares with the accepted one.
func (r *compareReport) result(row *compareResult) string {
	switch {
	case r.Most == 0:
		return "-"
	case row.Above:
		return "above"
	}
	return "ok"
}

// foreign is the percentage of the machine that other programs took in a round: the median and the
// highest. The other version is among them; it is idle then.
func (r *compareReport) foreign() (usual, highest float64) {
	var all result
	for _, row := range r.Rows {
		all.Rounds = slices.Concat(all.Rounds, row.Old, row.New)
	}
	m, _ := all.middle("foreign")
	return m.median, m.highest
}

// verdict is an error that names the rows whose bound is above the accepted one.
func (r *compareReport) verdict() error {
	var above []string
	for _, row := range r.Rows {
		if row.Above {
			above = append(above, fmt.Sprintf("%s %.3f", row.Row, row.Bound))
		}
	}
	if len(above) == 0 {
		return nil
	}
	return fmt.Errorf("the 95%% bound of new/old is above %g: %s", r.Most, strings.Join(above, ", "))
}
