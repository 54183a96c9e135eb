// Command ladder climbs the test ladder: it runs the tests of all packages,
// then each fuzz target for a bounded time, and ends with one line that counts
// what passed, failed and was skipped. Where it may, it runs each test binary in a
// network namespace of its own, which has loopback and no way out (inside.go).
//
// What happens to the data: `go list` names the packages and their test files;
// `go test -json` runs them, first those that are worth the race detector,
// then those that drive whole programs from outside; a Tally reads the events,
// passes on what a reader of `go test` expects to see, and keeps the reason of
// every skip; meanwhile progress says what is compiled and tested. Under CI=true a skip is a failure: there, whatever a test needs
// has been installed, and a test that cannot run proves nothing.
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

// options is what the command line and the environment ask for.
type options struct {
	dir       string // where the Go command runs; "": here
	patterns  []string
	all       bool           // no pattern was given
	ci        bool           // no cached results, no skips
	fuzzTime  time.Duration  // for each fuzz target; 0: seeds only
	onlyFuzz  bool           // leave the tests out
	timeout   time.Duration  // for the tests of one package
	run       string         // of go test; "": all
	times     int            // each test runs so often; 0: once
	allowSkip *regexp.Regexp // "package TestName" that may skip under CI; nil: none
	inside    string         // of go test -exec: what gives a test binary a namespace; "": nothing
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
		fmt.Println("tests use the network of this machine, which they leave alone; as root each package has a namespace:", err)
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

// inside is the command that gives a test binary a network namespace.
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

// parse reads flags and environment. Unless FUZZTIME is set it is 5s under CI,
// 30s where fuzzing is all that is asked for, and 0 elsewhere.
func parse(args []string, env func(string) string) (options, error) {
	o := options{ci: env("CI") == "true"}
	var allow string
	f := flag.NewFlagSet("ladder", flag.ContinueOnError)
	f.BoolVar(&o.onlyFuzz, "only-fuzz", false, "run the fuzz targets only")
	f.DurationVar(&o.timeout, "timeout", 20*time.Minute, "limit for the tests of one package")
	f.StringVar(&o.run, "run", "", "regular expression: run only tests whose name matches, as go test -run does")
	f.IntVar(&o.times, "times", 0, "how often each test runs; 0 is once")
	f.StringVar(&allow, "allow-skip", "", "regular expression on \"package TestName\": may skip under CI=true")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch v := env("FUZZTIME"); {
	case v != "":
		d, err := time.ParseDuration(v)
		if err != nil || d < 0 {
			return o, fmt.Errorf("FUZZTIME=%s is not a duration such as 5s", v)
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

// climb runs everything and says whether all of it was good. An error means
// that something could not be run at all.
func climb(ctx context.Context, o options) (bool, error) {
	start := time.Now()
	packages, err := list(ctx, o.dir, o.patterns)
	if err != nil {
		return false, err
	}
	if o.all {
		packages = slices.DeleteFunc(packages, func(p testPackage) bool { return p.within(apart) })
	}
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
