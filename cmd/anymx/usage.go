package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// answered means that a command has printed its answer, which is not "yes".
type answered struct{ code int }

func (a *answered) Error() string { return fmt.Sprintf("exit code %d", a.code) }

// usageError is a usage error that a command itself detected.
type usageError struct{ err error }

func (u *usageError) Error() string { return u.err.Error() }
func (u *usageError) Unwrap() error { return u.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// unknownCommand refuses the arguments of a group.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("unknown command %q of '%s'", args[0], cmd.CommandPath())
	cmd.SuggestionsMinimumDistance = 2
	if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
		text += "; did you mean " + strings.Join(like, " or ") + "?"
	}
	return usagef("%s", text)
}

// noArgs checks that there are no arguments.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usagef("'%s' takes no argument: leave out %q", cmd.CommandPath(), args[0])
}

// someArgs checks that there are at least `least` arguments and at most `most`; below 0: any
// number.
func someArgs(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		usage := strings.TrimSuffix(cmd.UseLine(), " [flags]")
		switch {
		case len(args) < least:
			return usagef("an argument is missing; usage: %s", usage)
		case most >= 0 && len(args) > most:
			return usagef("%q is one argument too many; usage: %s", args[most], usage)
		}
		return nil
	}
}

// exclusive lets cmd have at most one of the flags, and hides the others from completion once one is
// typed. Arguments are checked before cobra checks the group, so its own text is never seen.
func exclusive(cmd *cobra.Command, next cobra.PositionalArgs, flags ...string) cobra.PositionalArgs {
	cmd.MarkFlagsMutuallyExclusive(flags...)
	return func(cmd *cobra.Command, args []string) error {
		var given []string
		for _, name := range flags {
			if cmd.Flags().Changed(name) {
				given = append(given, "--"+name)
			}
		}
		if n := len(given); n > 1 {
			return usagef("%s and %s exclude each other: give one of them", strings.Join(given[:n-1], ", "), given[n-1])
		}
		return next(cmd, args)
	}
}

// flagError says what is wrong with a flag, and what to write instead.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var empty *pflag.ValueRequiredError
	var bad *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		return usagef("'%s' has no flag %s", cmd.CommandPath(), flagName(unknown.GetSpecifiedName(), unknown.GetSpecifiedShortnames()))
	case errors.As(err, &empty):
		value, usage := pflag.UnquoteUsage(empty.GetFlag())
		return usagef("--%s needs a value: --%s %s (%s)", empty.GetFlag().Name, empty.GetFlag().Name, value, usage)
	case errors.As(err, &bad):
		if want, ok := wantedValues[bad.GetFlag().Value.Type()]; ok {
			return usagef("--%s: %q is not %s", bad.GetFlag().Name, bad.GetValue(), want)
		}
		return usagef("--%s: %w", bad.GetFlag().Name, bad.Unwrap())
	}
	return &usageError{err}
}

// flagName returns a flag as it was typed: --name, or the first unknown letter of -abc.
func flagName(name, short string) string {
	switch short {
	case "":
		return "--" + name
	case name:
		return "-" + name
	}
	return "-" + name + " (in -" + short + ")"
}

// wantedValues says, by the type of a flag, what it accepts. The errors of other flags say it
// themselves.
var wantedValues = map[string]string{
	"int": "a whole number", "bool": "true or false",
	"duration": `a duration; write a number and its unit, such as "30s", "5m" or "4h"`,
}

// unquoteUsages removes the back-quotes, which name a flag's value in help, from the descriptions
// that shell completion shows.
func unquoteUsages(cmd *cobra.Command) {
	unquote := func(f *pflag.Flag) { _, f.Usage = pflag.UnquoteUsage(f) }
	cmd.Flags().VisitAll(unquote)
	cmd.PersistentFlags().VisitAll(unquote)
	for _, c := range cmd.Commands() {
		unquoteUsages(c)
	}
}
