package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"anymx/edge/appliance/console"
	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/operate/words"
)

const consoleHelp = `Console is what an appliance shows on its screen and on its serial line in place of
a login: a banner that tells who the node is, where it can be reached and how it
does, and a prompt for the commands of anymx that talk to the node. There is no
shell behind it, and no file can be named: nothing that the console's user may read
comes out, and nothing is written.

Section [console] of the config says what the prompt allows, and when it goes back to
the banner. Ctrl-C interrupts a command, Ctrl-D goes back to the banner. Where the
input is not a terminal, lines are taken from it until it ends.`

// Files that provisioning writes, and the program that shows the journal.
const (
	provisionedSource  = "/run/anymx-config/source"
	provisionedProblem = "/run/anymx-config/problem"
	journalctl         = "/usr/bin/journalctl"
)

// consoling is one run of the console. Each typed line runs as a program of its own, for the same
// node.
type consoling struct {
	*program
	source, problem, journal string        // paths
	every                    time.Duration // refresh interval of watch
	look                     time.Duration // refresh interval of the banner; 0: the default
}

func (p *program) consoleCommand() *cobra.Command {
	return &cobra.Command{
		Use: "console", Short: "Show the banner and the prompt of an appliance's console", Long: consoleHelp,
		Example: "  anymx console\n  echo status | anymx console",
		Args:    noArgs,
		RunE: p.local(func(cmd *cobra.Command, _ []string) error {
			c := &consoling{program: p, source: provisionedSource, problem: provisionedProblem, journal: journalctl, every: watchPause}
			return c.run(cmd.Context())
		}),
	}
}

// run shows banner and prompt until ctx or the input ends.
func (c *consoling) run(ctx context.Context) error {
	con := &console.Console{
		In: c.in, Out: c.out, Kind: c.getenv("TERM"),
		ConfigFile: c.config, SourceFile: c.source, ProblemFile: c.problem,
		Version: api.ThisVersion().Version,
		Status: func(ctx context.Context) (s api.Status, err error) {
			client, err := c.client()
			if err != nil {
				return s, err
			}
			defer client.Close()
			return client.Status(ctx)
		},
		Do: c.do, Poll: c.look,
	}
	return con.Run(ctx)
}

// do runs one line of the console.
func (c *consoling) do(ctx context.Context, s *console.Session, typed []string) {
	if typed[0] == "anymx" { // as in examples and manuals
		typed = typed[1:]
	}
	if slices.ContainsFunc(typed, func(word string) bool {
		return word == cobra.ShellCompRequestCmd || word == cobra.ShellCompNoDescRequestCmd
	}) {
		typed = []string{"help"} // these are for shells, which the console is not
	}
	run, stop := context.WithCancel(ctx)
	defer stop()
	pages := s.Pages(run, stop)
	line := &consoleLine{console: c, session: s, program: &program{
		in: s.In(run), out: pages, errOut: s.Out(),
		getenv: c.getenv, now: c.now, terminal: s.Interactive, screen: s.Size, poll: 2 * c.poll,
	}}
	root := line.tree()
	root.SetArgs(append([]string{}, typed...))
	root.SetIn(line.in)
	root.SetOut(line.out)
	root.SetErr(line.errOut)
	cmd, err := root.ExecuteContextC(run)
	if pages.Quit() {
		return
	}
	code := line.exitCode(err)
	if ctx.Err() != nil && err != nil {
		code, err = exitInterrupted, errors.New("interrupted")
	}
	var said *answered
	if err != nil && !errors.As(err, &said) {
		fmt.Fprintf(line.errOut, "anymx: %s\n", words.Clean(consoleError(err)))
	}
	if code == exitUsage && ctx.Err() == nil {
		fmt.Fprintf(line.errOut, "See '%s --help'.\n", strings.TrimPrefix(cmd.CommandPath(), "anymx "))
	}
}

// consoleError returns the text of err without advice that needs a shell.
func consoleError(err error) string {
	var nobody *control.Unreachable
	if !errors.As(err, &nobody) {
		return strings.TrimSpace(err.Error())
	}
	program, topic := "anymx-edge", "edge"
	switch nobody.Program {
	case "anymx-bgp":
		program, topic = nobody.Program, "bgp"
	case "anymx-net":
		program, topic = nobody.Program, "net"
	case "anymx-machine":
		program, topic = nobody.Program, "machine"
	}
	return fmt.Sprintf("%s does not answer (%v). It may be starting, or the node may have no valid config: see `config` and `log %s`",
		program, nobody.Cause, topic)
}

// consoleLine is one typed line.
type consoleLine struct {
	*program // of this line only
	console  *consoling
	session  *console.Session
}
