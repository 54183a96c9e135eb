// Command ladder runs all tests: those of all packages, then each fuzz target for a bounded time. Its
// last line counts what passed, failed and was skipped. As root it runs each test binary in a network
// namespace of its own, which has loopback and no other network (inside.go).
//
// `go list` names the packages and their test files. `go test -json` runs them: first those that
// the race detector can help, then those that drive whole programs from outside. A Tally reads the
// events, prints what a reader of `go test` expects, and collects the reason of every skip, while
// progress prints what is compiled and tested. Under CI=true a skip is a failure: everything that a
// test needs is installed there.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// options come from the command line and the environment.
type options struct {
	dir       string // where the Go command runs; "" means the working directory
	patterns  []string
	all       bool           // no pattern was given
	ci        bool           // no cached results, no skips
	fuzzTime  time.Duration  // for each fuzz target; 0 means seeds only
	onlyFuzz  bool           // leave the tests out
	timeout   time.Duration  // for the tests of one package
	run       string         // of go test; "" means all
	times     int            // how often each test runs; 0 means once
	allowSkip *regexp.Regexp // matches the "package TestName" that may skip under CI; nil means none
	inside    string         // command for go test -exec that gives a test binary a namespace; "" means none
	out       io.Writer
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == insideFlag {
		code, err := runInside(os.Args[2:], os.Stdout)
		if err != nil {
			fmt.Fprintln(os.Stderr, "ladder: network namespace for a test:", err)
			code = 1
		}
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parse(os.Args[1:], os.Getenv)
	if err != nil {
		fmt.Fprintln(os.Stderr, "ladder:", err)
		os.Exit(2)
	}
	o.out = os.Stdout
	if o.inside, err = inside(); err != nil {
		fmt.Println("tests run in the network of this machine; as root each package gets a network namespace of its own:", err)
	}
	good, err := climb(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "ladder:", err)
	}
	if err != nil || !good {
		stop()
		os.Exit(1)
	}
}

// inside returns the command that gives a test binary a network namespace.
func inside() (string, error) {
	if err := namespaceWorks(); err != nil {
		return "", err
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	return strconv.Quote(self) + " " + insideFlag, nil
}

// parse reads flags and environment. The default of FUZZTIME is 5s under CI, 30s with -only-fuzz, and
// otherwise 0.
func parse(args []string, env func(string) string) (options, error) {
	o := options{ci: env("CI") == "true"}
	var allow string
	f := flag.NewFlagSet("ladder", flag.ContinueOnError)
	f.BoolVar(&o.onlyFuzz, "only-fuzz", false, "run only the fuzz targets")
	f.DurationVar(&o.timeout, "timeout", 20*time.Minute, "time limit for the tests of one package")
	f.StringVar(&o.run, "run", "", "run only the tests whose names match this `regexp`, like go test -run")
	f.IntVar(&o.times, "times", 0, "run each test so often; 0 means once, or a cached result")
	f.StringVar(&allow, "allow-skip", "", "`regexp` of \"package TestName\": these tests may skip under CI=true")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch v := env("FUZZTIME"); {
	case v != "":
		d, err := time.ParseDuration(v)
		if err != nil || d < 0 {
			return o, fmt.Errorf("FUZZTIME=%s: not a duration such as 5s", v)
		}
		o.fuzzTime = d
	case o.ci:
		o.fuzzTime = 5 * time.Second
	case o.onlyFuzz:
		o.fuzzTime = 30 * time.Second
	}
	if allow != "" {
		re, err := regexp.Compile(allow)
		if err != nil {
			return o, fmt.Errorf("-allow-skip: %w", err)
		}
		o.allowSkip = re
	}
	if o.patterns = f.Args(); len(o.patterns) == 0 {
		o.patterns, o.all = []string{"./..."}, true
	}
	return o, nil
}

// climb runs everything and reports whether all of it passed. It returns an error if something could
// not run at all.
func climb(ctx context.Context, o options) (bool, error) {
	start := time.Now()
	packages, err := list(ctx, o.dir, o.patterns)
	if err != nil {
		return false, err
	}
	if o.all {
		packages = slices.DeleteFunc(packages, func(p testPackage) bool { return p.within(apart) })
	}
	longFirst(packages)
	report := newProgress(o.out, len(packages))
	o.out = report
	reporting, stop := context.WithCancel(ctx)
	stopped := make(chan struct{})
	go func() { report.report(reporting); close(stopped) }()
	defer func() { stop(); <-stopped }()
	tally := NewTally(o.out)
	tally.Began, tally.Ended = report.began, report.ended
	if !o.onlyFuzz {
		if err := runTests(ctx, o, packages, tally); err != nil {
			return false, err
		}
	}
	if o.fuzzTime > 0 {
		if err := runFuzz(ctx, o, packages, tally); err != nil {
			return false, err
		}
	}
	if err := ctx.Err(); err != nil {
		return false, fmt.Errorf("stopped: %w", context.Cause(ctx))
	}
	stop()
	<-stopped
	return tally.Summary(o.ci, o.allowSkip, time.Since(start)), nil
}
