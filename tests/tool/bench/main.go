// Bench measures anymx beside Postfix on the same jobs and writes the figures, with their ratios, to
// docs/benchmarks.md. With -old it compares two versions of anymx by the CPU time of a message
// (compare.go).
//
//  1. The load generator (load.go, steady.go, idle.go) sends the same messages in the same way to
//     each system, on loopback.
//  2. The system under test stores each message durably and relays it to the sink (sink.go), a
//     process of its own that is far cheaper than the systems. The sink checks off every message by
//     the number in its recipient, so a lost, duplicated or shortened message fails the job.
//  3. Each system runs in a control group of its own (cgroup.go), which it enters before its exec, so
//     the CPU time of all its children counts.
//  4. A job is repeated in rounds in which the systems alternate. The table (table.go) has the median
//     of the rounds with the lowest and the highest.
//
// The same binary is also the sink, the discarding server and the small program that enters a control
// group before it becomes the system; see the subcommands in dispatch.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := dispatch(os.Args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			os.Exit(2)
		}
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// dispatch runs the subcommand that the first argument names, or the benchmark.
func dispatch(args []string) error {
	// The generator and the sink share the machine with what they measure, so they have to be cheap:
	// less garbage collection, and few processors, because idle threads of the runtime that look for
	// work would take time from the system under test.
	debug.SetGCPercent(400)
	runtime.GOMAXPROCS(max(1, runtime.NumCPU()/4))
	if len(args) > 0 {
		switch args[0] {
		case "sink":
			return sinkCommand(args[1:], os.Stdin, os.Stdout)
		case "discard":
			runtime.GOMAXPROCS(runtime.NumCPU())
			debug.SetGCPercent(100)
			return discardCommand(args[1:])
		case "enter":
			return enterCommand(args[1:])
		case "attack":
			runtime.GOMAXPROCS(runtime.NumCPU()) // a crowd of clients
			return attackCommand(args[1:], os.Stdout, os.Stderr)
		}
	}
	return benchCommand(args, os.Stdout, os.Stderr)
}

// options come from the command line.
type options struct {
	anymx    string         // path of the anymx-edge binary
	dir      string         // parent of the run's folder; holds both spools
	systems  []string       // names of the systems to measure, in column order
	match    *regexp.Regexp // jobs to run; nil means all
	rounds   int            // how often each job is measured
	round    time.Duration  // how long one round should last
	short    bool           // fewer jobs, one short round
	pipeline bool           // send MAIL, RCPT and DATA in one group (RFC 2920)
	out      string         // Markdown file whose marked section is replaced; "" means none
	json     string         // file for all figures of all rounds; "" means none
	list     bool           // only list the jobs
	image    string         // the appliance's image for the job boot; "" means the newest in bin/image
	keep     bool           // don't remove the run's folder with logs and configurations
	compare  comparison     // of two versions of anymx
}

// listJobs prints the name of each job, one a line.
func listJobs(opts options, w io.Writer) {
	for _, j := range jobs(opts) {
		fmt.Fprintln(w, j.name())
	}
	for _, name := range []string{routesJob, shieldJob, idleTLSJob, attackJob, bootJob} {
		fmt.Fprintln(w, name)
	}
}

// benchCommand runs the benchmark. The table goes to stdout and to the Markdown file, progress to stderr.
func benchCommand(args []string, stdout, stderr io.Writer) error {
	opts, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	if opts.compare.printConfig {
		_, err := io.WriteString(stdout, configTemplate)
		return err
	}
	if opts.list {
		listJobs(opts, stdout)
		return nil
	}
	if err := raiseFileLimit(); err != nil {
		fmt.Fprintln(stderr, "bench: could not raise the limit of open files, jobs with many connections may fail:", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if opts.compare.old != "" {
		return compareCommand(ctx, opts, stdout, stderr)
	}
	if opts.anyJob() {
		rep, err := runBench(ctx, opts, stderr)
		if err != nil {
			return err
		}
		if opts.json != "" {
			if err := rep.writeJSON(opts.json); err != nil {
				return err
			}
		}
		if err := write(opts.out, beginMark, endMark, rep.markdown(), stdout); err != nil {
			return err
		}
	}
	for _, own := range []struct {
		job, begin, end string
		run             func(context.Context, options, io.Writer) (string, error)
	}{
		{routesJob, routesBegin, routesEnd, runRoutes},
		{shieldJob, shieldBegin, shieldEnd, runShield},
		{idleTLSJob, idleTLSBegin, idleTLSEnd, runIdleTLS},
		{attackJob, attackBegin, attackEnd, runAttack},
		{bootJob, bootBegin, bootEnd, runBoot},
	} {
		if !opts.runs(own.job) {
			continue
		}
		text, err := own.run(ctx, opts, stderr)
		if err == nil {
			err = write(opts.out, own.begin, own.end, text, stdout)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", own.job, err)
		}
	}
	return nil
}

// write prints a section, and puts it into the document unless file is "".
func write(file, begin, end, text string, stdout io.Writer) error {
	fmt.Fprint(stdout, text)
	if file == "" {
		return nil
	}
	return replaceSection(file, begin, end, text)
}

// runs reports whether the command line chose a job.
func (o options) runs(job string) bool { return o.match == nil || o.match.MatchString(job) }

// anyJob reports whether a job is chosen that has no section of its own.
func (o options) anyJob() bool {
	return o.runs("limit") || slices.ContainsFunc(jobs(o), func(j job) bool { return o.runs(j.name()) })
}

// parseOptions reads the command line.
func parseOptions(args []string, stderr io.Writer) (options, error) {
	opts := options{}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&opts.anymx, "anymx", "bin/anymx-edge", "the anymx-edge `binary`")
	fs.StringVar(&opts.dir, "dir", "bin", "`folder` on the disk to measure, in which spools are created")
	systems := fs.String("systems", "postfix,anymx", "systems to measure, separated by commas")
	match := fs.String("run", "", "run only the jobs whose names match this `regexp`")
	fs.IntVar(&opts.rounds, "rounds", 0, "`number` of rounds of each job (default 3, with -short 1)")
	fs.DurationVar(&opts.round, "round", 0, "`length` of a round, about (default 5s, with -short 1.5s)")
	fs.BoolVar(&opts.short, "short", false, "fewer jobs in shorter rounds")
	fs.BoolVar(&opts.pipeline, "pipeline", true, "send MAIL, RCPT and DATA in one write")
	fs.StringVar(&opts.out, "out", "", "Markdown `file` to write (default docs/benchmarks.md for a full run)")
	fs.StringVar(&opts.json, "json", "", "`file` for the figures of every round; with -old, - prints them instead of the table")
	fs.StringVar(&opts.image, "image", "", "`file` with the image of the appliance that is booted (default the newest in bin/image)")
	fs.BoolVar(&opts.keep, "keep", false, "keep the run's folder with its logs")
	fs.BoolVar(&opts.list, "list", false, "list the names of the jobs and exit")
	rows := compareFlags(fs, &opts.compare)
	fs.Usage = func() {
		fmt.Fprintln(stderr, "bench measures anymx: beside Postfix, or with -old beside an older version of itself.\n\nFlags:")
		fs.PrintDefaults()
		fmt.Fprint(stderr, compareUsage)
	}
	if err := fs.Parse(args); err != nil {
		return opts, err
	}
	var given []string
	fs.Visit(func(f *flag.Flag) { given = append(given, f.Name) })
	if err := opts.compare.complete(*rows, given); err != nil {
		return opts, err
	}
	if fs.NArg() > 0 {
		return opts, fmt.Errorf("unknown argument %q", fs.Arg(0))
	}
	opts.systems = strings.Split(*systems, ",")
	if *match != "" {
		re, err := regexp.Compile(*match)
		if err != nil {
			return opts, fmt.Errorf("-run: %w", err)
		}
		opts.match = re
	}
	opts.defaults()
	return opts, nil
}

// defaults sets what the command line left open. A run of some jobs, or a short one, does not write the
// document unless -out names it, because it would replace the full figures.
func (opts *options) defaults() {
	if opts.rounds <= 0 {
		opts.rounds = 3
		if opts.short {
			opts.rounds = 1
		}
	}
	if opts.round <= 0 {
		opts.round = 5 * time.Second
		if opts.short {
			opts.round = 1500 * time.Millisecond
		}
	}
	if opts.out == "" && opts.match == nil && !opts.short {
		opts.out = filepath.Join("docs", "benchmarks.md")
	}
}

// raiseFileLimit raises the number of files that this process and its children may open. It uses package
// syscall, because otherwise the runtime restores the old limit for children.
func raiseFileLimit() error {
	const want = 65536
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		return err
	}
	hard := lim.Max
	lim.Cur, lim.Max = max(want, hard), max(want, hard)
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim) == nil {
		return nil
	}
	lim.Cur, lim.Max = hard, hard // not root: up to the hard limit only
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lim)
}
