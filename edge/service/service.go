// Package service is what all programs of a node share at their start and end: flags, config, log,
// signals, and notifications to systemd.
//
// What happens to the data: Main reads the config file, strictly, and passes it to Run with a log
// that goes to standard error. The first SIGTERM or SIGINT ends Run's context; the second one kills
// the process. SIGHUP is passed on.
package service

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"anymx/edge/config"
	"anymx/edge/operate/api"
)

// Program is one of a node's programs.
type Program struct {
	Name string // "anymx-bgp"
	Does string // the first line of its usage: a sentence
	Help string // printed after the flags in its usage: an example, the signals
	// Sections are those that the config must have (config.Load).
	Sections []string
	// Flags adds flags to -config and -version; nil adds none.
	Flags func(*flag.FlagSet)
	// Run runs the program until ctx ends. Its error is written to standard error, and the process
	// exits with 1.
	Run func(ctx context.Context, env *Env) error
}

// Env is the environment of a program.
type Env struct {
	File   string // of the config, for reloads
	Config *config.Config
	Log    *slog.Logger
	Level  *slog.LevelVar  // of Log; SetLevel sets it
	Clock  *Clock          // the machine's; nil: time.Now
	Reload <-chan struct{} // gets a value for each SIGHUP; several are merged while one waits
}

// Code is an error that sets the exit code of its program. The program has reported it already:
// Main writes nothing.
type Code int

func (c Code) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// Main runs the program and exits: with 0 if it ended on request, 1 if it failed, 2 for unknown
// flags.
func (p Program) Main() { os.Exit(p.main(os.Args[1:], os.Stdout, os.Stderr)) }

func (p Program) main(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	file := flags.String("config", "/etc/anymx/anymx.toml", "the node's config `file`")
	version := flags.Bool("version", false, "print the version and exit")
	if p.Flags != nil {
		p.Flags(flags)
	}
	flags.Usage = func() { p.usage(flags) }
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case *version:
		fmt.Fprintln(stdout, Version())
		return 0
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "%s: %q is not a flag\n\n", p.Name, flags.Arg(0))
		flags.Usage()
		return 2
	}
	// If the reader of the log is gone, its lines are lost. Without this the write would end the
	// program (os/signal, "SIGPIPE").
	signal.Ignore(syscall.SIGPIPE)
	err := p.start(*file, stderr)
	var code Code
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	}
	WriteError(stderr, p.Name, err)
	return 1
}

func (p Program) usage(flags *flag.FlagSet) {
	w := flags.Output()
	fmt.Fprintf(w, "%s\n\nUsage: %s [-config FILE]\n\n", p.Does, p.Name)
	flags.PrintDefaults()
	fmt.Fprintf(w, "\n%s", p.Help)
}

// start loads the config and runs.
func (p Program) start(file string, stderr io.Writer) error {
	cfg, err := config.Load(file, p.Sections...)
	if err != nil {
		return err
	}
	ctx, release := stopContext()
	defer release()
	reload, end := hangups()
	defer end()
	level := new(slog.LevelVar)
	log := Log(stderr, cfg, level)
	limitMemory(log)
	clock := NewClock(log)
	watching, unwatch := context.WithCancel(context.Background())
	var watch sync.WaitGroup
	watch.Go(func() { clock.Run(watching) })
	defer watch.Wait()
	defer unwatch()
	return p.Run(ctx, &Env{File: file, Config: cfg, Log: log, Level: level, Clock: clock, Reload: reload})
}

// hangups returns a channel that gets a value for each SIGHUP, until end is called.
func hangups() (reload <-chan struct{}, end func()) {
	signals, out := make(chan os.Signal, 1), make(chan struct{}, 1)
	done, ended := make(chan struct{}), make(chan struct{})
	signal.Notify(signals, syscall.SIGHUP)
	go func() {
		defer close(ended)
		for {
			select {
			case <-signals:
			case <-done:
				return
			}
			select {
			case out <- struct{}{}:
			default: // one waits already; the reload will read the file in its current state
			}
		}
	}()
	return out, func() {
		signal.Stop(signals)
		close(done)
		<-ended
	}
}

// Version returns what this program was built from.
func Version() string { return api.ThisVersion().String() }
