package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

const (
	limitSection    = "Limits: messages accepted/s"
	limitCPUSection = "Limits: CPU for each message, ms"

	// noisy is the percentage of the machine taken by other programs from which on the figures get a
	// warning.
	noisy = 8

	beginMark = "<!-- bench: begin, written by make bench -->"
	endMark   = "<!-- bench: end -->"
)

// row is one line of the document.
type row struct {
	section string
	label   string
	job     string // filled in by report.add
	metric  string
	higher  bool // a higher figure is the better one
	target  target
}

// target is what anymx has to reach. The zero value means that there is none.
type target struct {
	text   string
	higher bool // the bound is a minimum, not a maximum
	// bound computes the bound from the other system's figures; ok is false if there are none. The
	// metric "" is the row's own.
	bound func(other func(metric string) (float64, bool)) (bound float64, ok bool)
}

// ratioAtLeast returns a target of at least n times the other system's figure.
func ratioAtLeast(n float64) target {
	return target{text: fmt.Sprintf("%gx", n), higher: true, bound: func(other func(string) (float64, bool)) (float64, bool) {
		v, ok := other("")
		return n * v, ok
	}}
}

// ratioAtMost returns a target of at most one n-th of the other system's figure.
func ratioAtMost(n float64) target {
	return target{text: fmt.Sprintf("1/%g", n), bound: func(other func(string) (float64, bool)) (float64, bool) {
		v, ok := other("")
		return v / n, ok
	}}
}

// atMost returns a target that does not depend on the other system.
func atMost(limit float64) target {
	return target{text: fmt.Sprintf("≤ %g", limit), bound: func(func(string) (float64, bool)) (float64, bool) {
		return limit, true
	}}
}

// belowOther returns a target below another metric of the other system.
func belowOther(metric string) target {
	short := metric[strings.LastIndexByte(metric, '_')+1:]
	return target{text: "< its " + short, bound: func(other func(string) (float64, bool)) (float64, bool) {
		return other(metric)
	}}
}

// markdown returns the section of the document.
func (r *report) markdown() string {
	var out strings.Builder
	fmt.Fprintf(&out, "Measured %s in %s.\n\n", r.Started.UTC().Format("2006-01-02 15:04 MST"), r.Elapsed.Round(time.Second))
	for _, line := range r.Machine {
		fmt.Fprintf(&out, "- %s\n", line)
	}
	for _, s := range r.Systems {
		fmt.Fprintf(&out, "- %s: %s\n", s.Title, s.Settings)
	}
	load, sink := r.ownCost()
	fmt.Fprintf(&out, "- the load generator took %s ms of CPU for each small message, the sink %s ms\n", figure(load), figure(sink))
	usual, most := r.foreign()
	fmt.Fprintf(&out, "- other programs and the kernel's own threads took %.0f%% of the machine in the median round, at most %.0f%%", usual, most)
	if usual > noisy {
		out.WriteString(". **The machine was busy: the figures allow only a rough comparison**")
	}
	out.WriteString("\n- figures are the median of the rounds, with the lowest and the highest in brackets\n")
	var last string
	for _, line := range r.rows {
		if line.section == limitSection || line.section == limitCPUSection {
			continue
		}
		if line.section != last {
			r.section(&out, line.section)
			last = line.section
		}
	}
	r.limits(&out)
	r.failures(&out)
	return strings.TrimSpace(out.String()) + "\n"
}

// section writes the table of one section, unless it has been written.
func (r *report) section(out *strings.Builder, name string) {
	heading := "\n### " + name + "\n\n"
	if strings.Contains(out.String(), heading) {
		return
	}
	out.WriteString(heading)
	out.WriteString("| |")
	for _, s := range r.Systems {
		fmt.Fprintf(out, " %s |", s.shortTitle())
	}
	fmt.Fprintf(out, " ratio | to reach | reached |\n|---|%s---|---|---|\n", strings.Repeat("---:|", len(r.Systems)))
	for _, line := range r.rows {
		if line.section != name {
			continue
		}
		fmt.Fprintf(out, "| %s |", line.label)
		for _, s := range r.Systems {
			fmt.Fprintf(out, " %s |", r.cell(line, s.Name))
		}
		ratio, reached := r.compare(line)
		fmt.Fprintf(out, " %s | %s | %s |\n", ratio, line.target.text, reached)
	}
}

// shortTitle returns the title without the part in brackets.
func (s systemReport) shortTitle() string {
	short, _, _ := strings.Cut(s.Title, " (")
	return short
}

// cell formats the rounds of a system.
func (r *report) cell(line row, system string) string {
	res := r.result(line.job, system)
	if res != nil && res.Failure != "" {
		return "failed"
	}
	return res.cell(line.metric)
}

// cell formats the median, followed by the lowest and the highest round.
func (r *result) cell(metric string) string {
	m, ok := r.middle(metric)
	switch {
	case !ok:
		return "-"
	case m.rounds == 1:
		return figure(m.median)
	}
	return fmt.Sprintf("%s (%s-%s)", figure(m.median), figure(m.lowest), figure(m.highest))
}

// compare returns the ratio of anymx to Postfix and whether the target is reached; "" where there is none.
func (r *report) compare(line row) (ratio, reached string) {
	own, ok := r.result(line.job, "anymx").middle(line.metric)
	if !ok {
		return "", ""
	}
	other := func(metric string) (float64, bool) {
		m, ok := r.result(line.job, "postfix").middle(pick(metric == "", line.metric, metric))
		return m.median, ok
	}
	if v, ok := other(""); ok && v > 0 && own.median > 0 {
		ratio = ratioText(own.median/v, line.higher)
	}
	if line.target.bound == nil {
		return ratio, ""
	}
	if bound, ok := line.target.bound(other); ok {
		met := pick(line.target.higher, own.median >= bound, own.median <= bound)
		reached = pick(met, "yes", "no")
	}
	return ratio, reached
}

// ratioText formats a ratio as 12.3x, or as 1/12.3 if less is better and it is less.
func ratioText(ratio float64, higher bool) string {
	if !higher && ratio < 1 {
		return fmt.Sprintf("1/%.1f", 1/ratio)
	}
	return fmt.Sprintf("%.1fx", ratio)
}

// limits writes the tables of the upper limits on this machine.
func (r *report) limits(out *strings.Builder) {
	wrote := false
	for _, name := range []string{limitSection, limitCPUSection} {
		first := true
		for _, line := range r.rows {
			if line.section != name {
				continue
			}
			if first {
				fmt.Fprintf(out, "\n### %s\n\n| | generator straight into the sink | go-smtp that discards |\n|---|---:|---:|\n", name)
				first, wrote = false, true
			}
			fmt.Fprintf(out, "| %s | %s | %s |\n", line.label, r.cell(line, sinkSystem{}.name()), r.cell(line, discardSystem{}.name()))
		}
	}
	if len(r.Limits) > 0 {
		out.WriteString("\n### Limits: parts alone\n\n| | each s | further figures |\n|---|---:|---|\n")
		for _, l := range r.Limits {
			fmt.Fprintf(out, "| %s | %s | %s |\n", l.Name, figure(l.PerSecond), l.Further)
		}
	}
	if wrote {
		out.WriteString("\nThe generator with the sink and go-smtp store and relay nothing.\n")
	}
}

// failures lists the jobs that a system failed, with the reason.
func (r *report) failures(out *strings.Builder) {
	first := true
	for _, res := range r.Results {
		if res.Failure == "" {
			continue
		}
		if first {
			out.WriteString("\n### Failed\n\n")
			first = false
		}
		reason := strings.Join(strings.Fields(res.Failure), " ")
		fmt.Fprintf(out, "- %s, %s: %s\n", res.Job, res.System, reason)
	}
}

// figure formats a number with about three digits.
func figure(v float64) string {
	switch {
	case v >= 100 || v == 0:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

// replaceSection replaces the text between the two marks of a Markdown file. A file without marks gets
// them at its end; a missing file is created.
func replaceSection(file, begin, end, text string) error {
	old, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("document: %w", err)
	}
	if os.IsNotExist(err) {
		old = []byte("# Benchmarks\n")
	}
	before, rest, begun := strings.Cut(string(old), begin)
	_, after, ended := strings.Cut(rest, end)
	if begun != ended {
		return fmt.Errorf("document %s: one of the two marks %q and %q is missing", file, begin, end)
	}
	if !begun {
		before, after = strings.TrimRight(before, "\n")+"\n\n", "\n"
	}
	now := before + begin + "\n\n" + text + "\n" + end + after
	if err := os.WriteFile(file, []byte(now), 0o644); err != nil {
		return fmt.Errorf("document: %w", err)
	}
	return nil
}
