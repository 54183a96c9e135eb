// Command nightly runs the tests that take too long for every change. Without flags it runs all of
// them, as each night should. With -sample it runs a part of them that fits into a budget, chosen by
// the commit.
//
// The parts are a table (part.go). Each is a run of the ladder, one after the other, and a part that
// fails does not stop the others. The output ends with a table of the time that each took and the
// time that was expected.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := nightly(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "nightly:", err)
		stop()
		os.Exit(1)
	}
}

// nightly runs or lists the parts that the arguments choose.
func nightly(ctx context.Context, args []string, out io.Writer) error {
	f := flag.NewFlagSet("nightly", flag.ContinueOnError)
	list := f.Bool("list", false, "list the parts and exit")
	commit := f.String("sample", "", "run only the parts chosen by this `commit`")
	budget := f.Duration("budget", 12*time.Minute, "time limit for the sample")
	ladder := f.String("ladder", "bin/.ladder", "`path` of the ladder")
	if err := f.Parse(args); err != nil {
		return err
	}
	chosen, err := choose(f.Args(), *commit, *budget)
	if err != nil {
		return err
	}
	if *list {
		for _, p := range chosen {
			fmt.Fprintf(out, "%-20s %3.0f min  %s\n", p.name, p.took.Minutes(), p.what)
		}
		return nil
	}
	path, err := filepath.Abs(*ladder)
	if err != nil {
		return err
	}
	return run(ctx, path, chosen, out)
}

// choose returns the named parts, or those chosen by a commit, or all.
func choose(names []string, commit string, budget time.Duration) ([]part, error) {
	switch {
	case len(names) > 0:
		var chosen []part
		for _, name := range names {
			i := slices.IndexFunc(parts, func(p part) bool { return p.name == name })
			if i < 0 {
				return nil, fmt.Errorf("unknown part %q; -list shows all", name)
			}
			chosen = append(chosen, parts[i])
		}
		return chosen, nil
	case commit != "":
		return sample(parts, commit, budget), nil
	}
	return parts, nil
}

// run runs the parts one after the other.
func run(ctx context.Context, ladder string, chosen []part, out io.Writer) error {
	type row struct {
		part
		time time.Duration
		err  error
	}
	var rows []row
	for _, p := range chosen {
		fmt.Fprintf(out, "\n== %s: %s\n", p.name, p.what)
		cmd := exec.CommandContext(ctx, ladder, p.args...)
		cmd.Stdout, cmd.Stderr = out, out
		cmd.Env = append(os.Environ(), p.env...)
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.WaitDelay = time.Minute
		began := time.Now()
		err := cmd.Run()
		rows = append(rows, row{p, time.Since(began), err})
		if ctx.Err() != nil {
			break
		}
	}
	var bad []string
	fmt.Fprintf(out, "\n%-20s %8s %8s\n", "part", "took", "expected")
	for _, r := range rows {
		word := ""
		if r.err != nil {
			word, bad = "FAILED: "+r.err.Error(), append(bad, r.name)
		}
		fmt.Fprintln(out, strings.TrimRight(fmt.Sprintf("%-20s %8s %8s  %s", r.name, minutes(r.time), minutes(r.took), word), " "))
	}
	if len(bad) > 0 {
		return fmt.Errorf("failed: %s", strings.Join(bad, ", "))
	}
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return nil
}

// minutes formats a duration as 3:07.
func minutes(d time.Duration) string {
	s := int(d.Round(time.Second).Seconds())
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}
