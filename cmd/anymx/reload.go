package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/operate/words"
)

func (p *program) reloadCommand() *cobra.Command {
	return &cobra.Command{
		Use: "reload", Short: "Make the node read its config, certificates and lists again",
		Long: `Reload makes the node read its config file, certificates and recipient lists
again. Sessions go on. If anything is wrong nothing is changed, each problem is
printed as file:line:key: reason, and the exit code is 1.`,
		Example: "  anymx check /etc/anymx/anymx.toml && anymx reload",
		Args:    noArgs,
		RunE: p.remote(func(cmd *cobra.Command, _ []string, c *control.Client) error {
			r, err := c.Reload(cmd.Context())
			var refused *api.Error
			if errors.As(err, &refused) && p.json {
				return errors.Join(p.print(refused, nil), &answered{exitNo})
			}
			if errors.As(err, &refused) {
				for _, problem := range refused.Problems {
					fmt.Fprintln(p.errOut, words.Clean(problem.Error()))
				}
			}
			if err != nil {
				return err
			}
			return p.print(r, func(w io.Writer) error { return reloadedText(w, r) })
		}),
	}
}

func reloadedText(w io.Writer, r api.Reloaded) error {
	text := "reloaded; no key has changed\n"
	if len(r.Changed) > 0 {
		text = "reloaded; now in force: " + strings.Join(r.Changed, ", ") + "\n"
	}
	if len(r.Restart) > 0 {
		text += "changed, but in force only when anymx-edge is restarted (on an appliance: anymx reboot): " + strings.Join(r.Restart, ", ") + "\n"
	}
	_, err := io.WriteString(w, text)
	return err
}
