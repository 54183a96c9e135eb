// Command anymx shows and changes a running node. It keeps no state and makes no decisions: it asks
// the node over its control socket, prints the answer for people or, with --json, for programs, and
// returns an exit code for scripts.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/operate/words"
)

// Exit codes. Scripts use them, so the help of the root command and docs/operations.md list them.
const (
	exitOK          = 0
	exitNo          = 1 // the answer is no, or the node could not do it
	exitUsage       = 2
	exitUnreachable = 3
	exitNotFound    = 4
	exitInterrupted = 130
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	p := &program{
		in: os.Stdin, out: os.Stdout, errOut: os.Stderr,
		getenv: os.Getenv, now: time.Now, terminal: func() bool { return isTerminal(os.Stdin) },
		colors: func() bool { return isTerminal(os.Stdout) && os.Getenv("TERM") != "dumb" && os.Getenv("TERM") != "" },
		screen: func() (int, int, bool) { return screenOf(os.Stderr, os.Getenv("TERM")) }, poll: 250 * time.Millisecond,
	}
	code := p.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// run runs the command that args name and returns the exit code.
func (p *program) run(ctx context.Context, args []string) int {
	root := p.root()
	if len(args) > 0 && strings.HasPrefix(args[0], "__complete") {
		unquoteUsages(root)
	}
	root.SetArgs(args)
	root.SetIn(p.in)
	root.SetOut(p.out)
	root.SetErr(p.errOut)
	cmd, err := root.ExecuteContextC(ctx)
	code := p.exitCode(err)
	if ctx.Err() != nil && err != nil {
		code, err = exitInterrupted, errors.New("interrupted")
	}
	var said *answered
	if err != nil && !errors.As(err, &said) {
		fmt.Fprintf(p.errOut, "anymx: %s\n", words.Clean(strings.TrimSpace(err.Error())))
	}
	if code == exitUsage {
		fmt.Fprintf(p.errOut, "See '%s --help'.\n", cmd.CommandPath())
	}
	return code
}

// exitCode returns the exit code for err. An error before a command has begun to run is wrong
// usage.
func (p *program) exitCode(err error) int {
	var said *answered
	var usage *usageError
	var nobody *control.Unreachable
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &said):
		return said.code
	case errors.As(err, &usage) || !p.running:
		return exitUsage
	case errors.As(err, &nobody):
		return exitUnreachable
	case errors.Is(err, api.ErrNotFound):
		return exitNotFound
	}
	return exitNo
}

// root returns all commands.
func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use: "anymx", Short: "Look after a node of the anymx edge mail server", Long: rootHelp,
		Args:          unknownCommand,
		SilenceErrors: true, SilenceUsage: true,
		Example: "  anymx status\n  anymx queue list --state waiting\n  anymx check /etc/anymx/anymx.toml && anymx reload\n  anymx drain --reason \"kernel update\" && systemctl reboot",
	}
	var version bool
	root.Flags().BoolVar(&version, "version", false, "show the version of this program and of the node")
	root.RunE = p.local(func(cmd *cobra.Command, _ []string) error {
		if version {
			return p.version(cmd.Context())
		}
		return cmd.Help()
	})
	root.SetFlagErrorFunc(flagError)
	flags := root.PersistentFlags()
	flags.StringVar(&p.socket, "control", "", "control `SOCKET` of the node")
	flags.StringVar(&p.config, "config", defaultConfig, "config `FILE` of the node")
	flags.BoolVar(&p.json, "json", false, "print JSON, for programs")
	flags.BoolVar(&p.noColor, "no-color", false, "never use colors, as with NO_COLOR in the environment")
	p.configGiven = func() bool { return flags.Changed("config") }
	root.AddCommand(p.statusCommand(), p.queueCommand(), p.spoolCommand(), p.shieldCommand(), p.drainCommand(), p.resumeCommand(), p.reloadCommand(), p.checkCommand(), p.imageCommand(), p.versionCommand(), p.consoleCommand())
	root.AddCommand(append(p.powerCommands(), p.updateCommand(), p.provisionCommand())...)
	return root
}
