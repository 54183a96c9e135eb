package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// idleTLSJob is what -run matches for the job that measures idle connections under TLS. It has a section
// of its own in the document, because it has another system beside anymx than the other jobs.
const idleTLSJob = "idle-tls"

const (
	idleTLSBegin = "<!-- idle-tls: begin, written by make bench -->"
	idleTLSEnd   = "<!-- idle-tls: end -->"
)

// runIdleTLS measures anymx and chasquid alternately.
func runIdleTLS(ctx context.Context, opts options, progress io.Writer) (text string, err error) {
	b := newBench(opts, progress)
	other := &chasquid{}
	defer func() { err = errors.Join(err, b.close(), other.remove()) }()
	systems := []system{other, &anymx{binary: opts.anymx}}
	var results []*result
	for _, s := range systems {
		if err := s.check(ctx); err != nil {
			return "", err
		}
		results = append(results, &result{Job: idleTLSJob, System: s.name()})
	}
	if err := b.setUp(); err != nil {
		return "", err
	}
	j := idleJob{count: pick(opts.short, 500, 3000), tls: true}
	for round := range opts.rounds {
		for _, r := range results {
			b.measure(ctx, j, r, systems, 0, round)
			if r.Failure != "" {
				return "", fmt.Errorf("%s: %s", r.System, r.Failure)
			}
		}
	}
	var out strings.Builder
	fmt.Fprintf(&out, "\nMeasured %s, %d connections, %d rounds: the median, with the lowest and the highest in brackets.\n\n"+
		"| system | KiB of process memory each | KiB of kernel memory each |\n|---|---:|---:|\n", time.Now().UTC().Format(time.DateOnly), j.count, opts.rounds)
	for i, r := range results {
		fmt.Fprintf(&out, "| %s |", systems[i].describe().Title)
		for _, metric := range []string{"process", "kernel"} {
			m, _ := r.middle(metric)
			fmt.Fprintf(&out, " %s (%s to %s) |", figure(m.median), figure(m.lowest), figure(m.highest))
		}
		out.WriteString("\n")
	}
	out.WriteString("\n")
	return out.String(), nil
}
