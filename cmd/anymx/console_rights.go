package main

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"anymx/edge/config"
)

// right says how a command may be used at the console. A command without a right is missing there,
// and a flag that its right does not name is refused. So each new command or flag needs a decision
// first: a flag that names a file would reveal the file to whoever sits at the machine.
type right struct {
	changes bool     // hidden if the console is read-only
	flags   []string // that may be used, besides --json and --help
	args    cobra.PositionalArgs
	// ask says what the command does, for the question that is asked first; the text follows the
	// node's name.
	ask string
	// unasked are the flags with which the command needs no confirmation, or asks itself.
	unasked []string
	// refused is why the command exists only to refuse.
	refused string
}

var filterFlags = []string{"state", "sender", "recipient", "destination", "older-than"}

// with returns more and filterFlags.
func with(more ...string) []string { return slices.Concat(filterFlags, more) }

// rights lists those of all commands, by path.
var rights = map[string]right{
	"status":  {flags: []string{"ready", "wait"}},
	"version": {},
	"check":   {args: noFile("check")},

	"queue":         {},
	"queue list":    {flags: with("limit", "after")},
	"queue summary": {flags: []string{"limit"}},
	"queue show":    {},
	"queue flush":   {changes: true, flags: with("all")},
	"queue hold":    {changes: true, flags: with("all", "reason")},
	"queue release": {changes: true, flags: with("all")},
	"queue delete":  {changes: true, flags: with("all", "yes"), ask: "deletes these messages for good, and tells nobody", unasked: []string{"all"}},

	"spool":           {},
	"spool check":     {},
	"spool set-aside": {changes: true, flags: []string{"yes", "dry-run"}, ask: "has what is damaged in its spool moved away", unasked: []string{"dry-run"}},
	"spool export":    {changes: true, flags: []string{"quiet"}, args: noFolder},

	"shield":         {},
	"shield status":  {},
	"shield top":     {flags: []string{"limit"}},
	"shield list":    {},
	"shield mode":    {changes: true},
	"shield block":   {changes: true, flags: []string{"for", "reason"}},
	"shield allow":   {changes: true, flags: []string{"for", "reason"}},
	"shield unblock": {changes: true},

	"drain":     {changes: true, flags: []string{"wait", "reason", "now", "until"}, ask: "is taken out of service"},
	"resume":    {changes: true, flags: []string{"wait"}},
	"reload":    {changes: true},
	"provision": {changes: true, flags: []string{"forget"}},
	"update": {changes: true, flags: []string{"dry-run", "stage-only", "allow-older", "rollback", "status", "yes"}, args: onlyURL,
		ask: "is drained and rebooted into another version", unasked: []string{"dry-run", "stage-only", "status"}},
	"reboot":   {changes: true, flags: []string{"yes", "reason", "now"}, ask: "is drained and rebooted"},
	"poweroff": {changes: true, flags: []string{"yes", "reason", "now"}, ask: "is drained and SWITCHED OFF"},

	"log":     {flags: []string{"follow", "lines"}},
	"network": {},
	"config":  {},
	"watch":   {},
	"clear":   {},
	"exit":    {},

	"image":        {refused: "an image is made, looked at and written on another machine: the console reaches no files"},
	"image config": {refused: "see `image`"},
	"image show":   {refused: "see `image`"},
	"image flash":  {refused: "see `image`"},
	"console":      {refused: "this is the console"},
}

// errShows refuses changes if the config forbids them.
var errShows = errors.New(`this console only shows: [console] mode is "view" in the config`)

// noFile refuses the name of a file, which would be revealed to whoever sits here.
func noFile(command string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usagef("no file can be named at the console; `%s` alone looks at the node's own config", command)
		}
		return nil
	}
}

// noFolder allows an export only on the node.
func noFolder(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("no folder can be named at the console; `spool export` alone writes to one beside the spool")
	}
	return nil
}

// onlyURL allows an update only over the network.
func onlyURL(_ *cobra.Command, args []string) error {
	for _, arg := range args {
		u, err := url.Parse(arg)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || !strings.HasPrefix(arg, u.Scheme+"://") {
			return usagef("no file can be named at the console: give the https:// or http:// address of an update")
		}
	}
	return nil
}

// narrow removes from the commands below cmd what the console may not do. mode is that of the
// console.
func (l *consoleLine) narrow(cmd *cobra.Command, mode string) {
	for _, sub := range cmd.Commands() {
		path := strings.TrimPrefix(sub.CommandPath(), "anymx ")
		r, known := rights[path]
		switch {
		case !known:
			cmd.RemoveCommand(sub)
			continue
		case r.refused != "":
			refuse(sub, &usageError{errors.New(r.refused)})
			continue
		case r.changes && mode != config.ConsoleOperate:
			refuse(sub, errShows)
			continue
		}
		sub.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			if !slices.Contains(r.flags, f.Name) {
				refuseFlag(f)
			}
		})
		if r.args != nil {
			sub.Args = both(r.args, sub.Args)
		}
		sub.Example = exampleHere(sub, r)
		if r.ask != "" {
			l.askBefore(sub, r)
		}
		l.narrow(sub, mode)
	}
}

// exampleHere returns those of a command's examples that work at the console, as they are typed
// there: without shell syntax, and without anything that its right refuses.
func exampleHere(cmd *cobra.Command, r right) string {
	var kept []string
	for line := range strings.Lines(cmd.Example) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "anymx ")
		if strings.ContainsAny(line, "|&;<>$`") {
			continue
		}
		var args []string
		for i, word := range strings.Fields(line) {
			if i >= strings.Count(cmd.CommandPath(), " ") && !strings.HasPrefix(word, "-") {
				args = append(args, word)
			}
		}
		if r.args == nil || r.args(cmd, args) == nil {
			kept = append(kept, "  "+line)
		}
	}
	return strings.Join(kept, "\n")
}

// both checks arguments with a, then with b.
func both(a, b cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := a(cmd, args); err != nil || b == nil {
			return err
		}
		return b(cmd, args)
	}
}

// refuse makes a command, and all below it, fail with err whatever its arguments are.
func refuse(cmd *cobra.Command, err error) {
	cmd.RemoveCommand(cmd.Commands()...)
	cmd.Hidden, cmd.DisableFlagParsing, cmd.Args = true, true, cobra.ArbitraryArgs
	cmd.Run, cmd.PreRunE, cmd.ValidArgs = nil, nil, nil
	cmd.RunE = func(*cobra.Command, []string) error { return err }
}

// refuseFlag makes a flag an error anywhere on the line.
func refuseFlag(f *pflag.Flag) {
	f.Value = &refusedFlag{f.Value}
	f.Hidden = true
}

// refusedFlag is a flag that can't be set.
type refusedFlag struct{ pflag.Value }

func (*refusedFlag) Set(string) error { return errors.New("it can't be used at the console") }

// askBefore asks for confirmation before cmd runs.
func (l *consoleLine) askBefore(cmd *cobra.Command, r right) {
	if cmd.Flags().Lookup("yes") == nil {
		cmd.Flags().Bool("yes", false, "do not ask")
	}
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		l.running = true
		yes := cmd.Flags().Lookup("yes")
		asks := !yes.Changed && !slices.ContainsFunc(r.unasked, cmd.Flags().Changed)
		if asks {
			if err := l.sure(r.ask); err != nil {
				return err
			}
			if err := yes.Value.Set("true"); err != nil {
				return err
			}
		}
		return run(cmd, args)
	}
}

// sure asks the user for the node's name, or for "yes".
func (l *consoleLine) sure(what string) error {
	if !l.terminal() {
		return usagef("this is asked about before it is done, and nobody can answer here: add --yes if you mean it")
	}
	name := l.session.Name()
	if name == "" {
		fmt.Fprintf(l.out, "This node %s. Type yes to go on: ", what)
	} else {
		fmt.Fprintf(l.out, "%s %s. Type %s or yes to go on: ", name, what, name)
	}
	line, err := readAnswer(l.in)
	switch {
	case err != nil:
		fmt.Fprintln(l.out)
		return errors.New("nothing was done")
	case strings.EqualFold(line, "yes"), name != "" && line == name:
		return nil
	}
	fmt.Fprintln(l.out, "anymx: nothing was done")
	return &answered{exitNo}
}
