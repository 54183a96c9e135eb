package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"anymx/edge/appliance/console"
	"anymx/edge/operate/words"
)

// tree returns the commands that can be typed: those of anymx that the rights allow, and those of
// the console itself.
func (l *consoleLine) tree() *cobra.Command {
	root := l.root()
	root.Short, root.Long, root.Example = "", "", ""
	root.CompletionOptions.DisableDefaultCmd = true
	flags := root.PersistentFlags()
	l.config = l.console.config
	l.socket = l.console.socket
	given := l.console.configGiven
	l.configGiven = func() bool { return given != nil && given() }
	refuseFlag(flags.Lookup("config"))
	refuseFlag(flags.Lookup("control"))
	root.AddCommand(l.logCommand(), l.networkShowCommand(), l.configCommand(), l.watchCommand(), l.clearCommand(), l.exitCommand())
	l.narrow(root, l.session.Mode())
	plainHelp := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		if cmd != root {
			plainHelp(cmd, args)
			return
		}
		l.help(root)
	})
	return root
}

// help describes every command in one line, so that the list fits a screen.
func (l *consoleLine) help(root *cobra.Command) {
	for _, cmd := range root.Commands() {
		if !cmd.Hidden && cmd.Name() != "help" {
			fmt.Fprintf(l.out, "  %-9s %s\n", cmd.Name(), cmd.Short)
		}
	}
	fmt.Fprint(l.out, `
'help queue', 'help log' and so on tell more. --json prints JSON.
Ctrl-C interrupts a command, Ctrl-D goes back to the banner.
`)
}

func (l *consoleLine) logCommand() *cobra.Command {
	var j console.Journal
	cmd := &cobra.Command{
		Use: "log [" + strings.Join(console.Topics(), " | ") + "]", Short: "Show the journal of the node's programs or of the machine",
		Long: `Log shows the last lines of the journal: of all programs of the node, or of one
part.

` + console.TopicText() + `

With --follow it goes on showing what comes, until Ctrl-C.`,
		Example: "  log\n  log edge -n 100\n  log -f bgp",
		Args:    someArgs(0, 1),
	}
	cmd.Flags().BoolVarP(&j.Follow, "follow", "f", false, "go on until Ctrl-C")
	cmd.Flags().IntVarP(&j.Lines, "lines", "n", 20, "show the last `N` lines")
	cmd.RunE = l.local(func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			j.Topic = args[0]
		}
		if err := j.Check(); err != nil {
			return &usageError{err}
		}
		if !j.Follow {
			return j.Write(cmd.Context(), l.console.journal, l.out)
		}
		ctx, cancel := l.session.Attended(cmd.Context())
		defer cancel()
		return j.Write(ctx, l.console.journal, l.session.Out())
	})
	return cmd
}

// maxRoutes bounds the routes shown: a node does not carry a full table.
const maxRoutes = 100

func (l *consoleLine) networkShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "network", Short: "Show interfaces, addresses and routes of the machine",
		Long: `Network shows the machine's interfaces with their addresses, and the main routing
table, as the kernel has them. 'status' shows the tunnel and what is announced.`,
		Example: "  network",
		Args:    noArgs,
		RunE: l.local(func(*cobra.Command, []string) error {
			devices, err := console.Devices()
			if err != nil {
				return err
			}
			routes, err := console.Routes(maxRoutes)
			if err != nil {
				return err
			}
			return console.WriteNetwork(l.out, devices, routes)
		}),
	}
}

func (l *consoleLine) configCommand() *cobra.Command {
	return &cobra.Command{
		Use: "config", Short: "Show where the config came from, and what is wrong with it",
		Long: `Config shows which source the node's config was taken from, and every problem that
keeps it from being used; and what the node says of the config that is in force.
'check' looks at the file that the node would load now.`,
		Example: "  config",
		Args:    noArgs,
		RunE: l.local(func(cmd *cobra.Command, _ []string) error {
			source, problem := l.session.Provisioned()
			switch {
			case source != "":
				fmt.Fprintf(l.out, "Source   %s\n", source)
			case l.session.Missing():
				fmt.Fprintln(l.out, "Source   none: the node is not configured")
			default:
				fmt.Fprintln(l.out, "Source   not known")
			}
			for _, line := range problem {
				fmt.Fprintf(l.out, "%s\n", line)
			}
			if l.session.Missing() {
				return nil
			}
			return l.configInForce(cmd.Context())
		}),
	}
}

// configInForce shows the config that the node runs with.
func (l *consoleLine) configInForce(ctx context.Context) error {
	c, err := l.client()
	if err != nil {
		return err
	}
	defer c.Close()
	s, err := c.Status(ctx)
	if err != nil {
		return err
	}
	if s.Config == nil {
		return nil
	}
	fmt.Fprintf(l.out, "File     %s, loaded %s\n", words.Clean(s.Config.File), s.Config.Loaded.UTC().Format("2006-01-02 15:04:05 MST"))
	if s.Config.Problem != "" {
		what := "the last reload changed nothing"
		if s.Config.Partly {
			what = "the last reload did not take a file"
		}
		for line := range strings.Lines(s.Config.Problem) {
			fmt.Fprintf(l.out, "Problem  %s: %s\n", what, words.Clean(strings.TrimSpace(line)))
		}
	}
	if len(s.Config.Restart) > 0 {
		fmt.Fprintf(l.out, "Restart  is needed for %s\n", words.Clean(strings.Join(s.Config.Restart, ", ")))
	}
	return nil
}

// watchPause is the refresh interval of watch.
const watchPause = 2 * time.Second

func (l *consoleLine) watchCommand() *cobra.Command {
	return &cobra.Command{
		Use: "watch", Short: "Show the status again and again, until a key is pressed",
		Long:    "Watch shows what 'status' does, every two seconds, until a key is pressed. What does\nnot fit the screen is left out.",
		Example: "  watch",
		Args:    noArgs,
		RunE: l.local(func(cmd *cobra.Command, _ []string) error {
			if _, _, ok := l.session.Size(); !ok {
				return errors.New("there is no terminal to draw on: use `status`")
			}
			return l.watch(cmd.Context())
		}),
	}
}

// watch redraws until a key is pressed, or the line hangs up.
func (l *consoleLine) watch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- l.session.AnyKey(ctx)
		cancel()
	}()
	d := &live{w: l.session.Out(), size: l.session.Size}
	l.session.Clear()
	for ctx.Err() == nil {
		d.show(words.Report{Lines: l.statusLines(ctx)})
		select {
		case <-time.After(l.console.every):
		case <-ctx.Done():
		}
	}
	<-ended // any key, Ctrl-C and the idle timeout all end watch
	return nil
}

// statusLines returns the lines of a status, or why there is none.
func (l *consoleLine) statusLines(ctx context.Context) []string {
	soon, cancel := context.WithTimeout(ctx, firstAnswer)
	defer cancel()
	c, err := l.client()
	if err != nil {
		return []string{words.Clean(err.Error())}
	}
	defer c.Close()
	s, err := c.Status(soon)
	if err != nil {
		return []string{words.Clean(consoleError(err))}
	}
	var b bytes.Buffer
	if err := words.WriteStatus(&b, s, l.now()); err != nil {
		return []string{err.Error()}
	}
	return strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
}

func (l *consoleLine) clearCommand() *cobra.Command {
	return &cobra.Command{
		Use: "clear", Short: "Clear the screen", Long: "Clear clears the screen.", Example: "  clear", Args: noArgs,
		RunE: l.local(func(*cobra.Command, []string) error { l.session.Clear(); return nil }),
	}
}

func (l *consoleLine) exitCommand() *cobra.Command {
	return &cobra.Command{
		Use: "exit", Aliases: []string{"logout", "quit"}, Short: "Go back to the banner",
		Long: "Exit ends the session: the banner is shown, and what was typed is forgotten.", Example: "  exit", Args: noArgs,
		RunE: l.local(func(*cobra.Command, []string) error { l.session.End(); return nil }),
	}
}

// readAnswer reads one line.
func readAnswer(r io.Reader) (string, error) {
	line, err := bufio.NewReader(r).ReadString('\n')
	return strings.TrimSpace(line), err
}
