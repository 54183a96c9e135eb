package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"anymx/edge/config"
	"anymx/edge/operate/words"
)

// checked is the result of check as JSON.
type checked struct {
	File     string           `json:"file"`
	OK       bool             `json:"ok"`
	Problems []config.Problem `json:"problems"`
	Warnings []config.Problem `json:"warnings"`
}

func (p *program) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use: "check [FILE]", Short: "Check a config file",
		Long: `Check reads a config file as the node's programs do and prints every problem in
it as file:line:key: reason. Without FILE it is the one that --config names. No
node is asked; files that the config names are not opened. A line that begins with
"warning:" is about what is valid, and probably not meant.

It exits 0 if there is no problem, 1 if there is one, 2 if the file can't be read.`,
		Example: "  anymx check new.toml\n  anymx check new.toml --json | jq -r '.problems[].key'",
		Args:    someArgs(0, 1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return []string{"toml"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: p.local(func(_ *cobra.Command, args []string) error {
			file := p.config
			if len(args) > 0 {
				file = args[0]
			}
			return p.check(file)
		}),
	}
}

func (p *program) check(file string) error {
	_, warnings, err := config.Check(file)
	var bad *config.Errors
	if err != nil && !errors.As(err, &bad) {
		return &usageError{err}
	}
	answer := checked{File: file, OK: err == nil, Problems: []config.Problem{}, Warnings: append([]config.Problem{}, warnings...)}
	if bad != nil {
		answer.Problems = bad.Problems
	}
	err = p.print(answer, func(w io.Writer) error {
		for _, warning := range answer.Warnings {
			if _, err := fmt.Fprintln(w, "warning:", words.Clean(warning.Error())); err != nil {
				return err
			}
		}
		if answer.OK {
			_, err := fmt.Fprintf(w, "%s: no problem found\n", file)
			return err
		}
		for _, problem := range answer.Problems {
			if _, err := fmt.Fprintln(w, words.Clean(problem.Error())); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && !answer.OK {
		err = &answered{exitNo}
	}
	return err
}
