package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
)

// runFuzz runs each fuzz target of the packages for o.fuzzTime, one at a time with two workers, since
// each worker keeps a core busy.
func runFuzz(ctx context.Context, o options, packages []testPackage, tally *Tally) error {
	for _, p := range packages {
		targets, err := p.fuzzTargets()
		if err != nil {
			return fmt.Errorf("fuzz targets of %s: %w", p.ImportPath, err)
		}
		for _, target := range targets {
			if ctx.Err() != nil {
				return nil
			}
			var out bytes.Buffer
			err := goTest(ctx, o, []string{
				"test", "-run=^$", "-fuzz=^" + target + "$", "-fuzztime=" + o.fuzzTime.String(),
				"-parallel=2", "-timeout=" + o.timeout.String(), p.ImportPath,
			}, func(r io.Reader) error { _, err := out.ReadFrom(r); return err })
			if err != nil {
				return err
			}
			good := fuzzGood(out.String())
			tally.Fuzzed(p.ImportPath, target, good)
			if !good {
				fmt.Fprint(o.out, out.String())
				continue
			}
			fmt.Fprintf(o.out, "ok  \t%s\t%s: %s\n", p.ImportPath, target, executions(out.String()))
		}
	}
	return nil
}

// fuzzGood reports whether a fuzz run passed, by its output. The fuzzing engine sometimes reports its
// own time limit as a failure, without an input that fails (golang.org/issue/48591): that counts as
// passed.
func fuzzGood(out string) bool {
	if !strings.Contains(out, "\nFAIL") && !strings.HasPrefix(out, "FAIL") {
		return true
	}
	return strings.Contains(out, "context deadline exceeded") &&
		!strings.Contains(out, "Failing input written to") &&
		strings.Count(out, "--- FAIL") == 1
}

// executions returns how often the target ran, from the last progress line.
func executions(out string) string {
	i := strings.LastIndex(out, "execs: ")
	if i < 0 {
		return "seeds only"
	}
	n, _, _ := strings.Cut(out[i+len("execs: "):], " ")
	return n + " executions"
}
