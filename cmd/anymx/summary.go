package main

import (
	"io"

	"github.com/spf13/cobra"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/operate/words"
)

func (p *program) summaryCommand() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use: "summary", Short: "Show what waits, by destination and age",
		Long: `Summary prints a line for each destination, those with the most messages first:
how many messages it has, how many of them are being attempted or held, when the
next attempt is due, and how old they are. Each column of ages counts messages up
to that age. What keeps a destination from getting its mail is below the table.`,
		Example: "  anymx queue summary\n  anymx queue summary --limit 5\n  anymx queue summary --json | jq '.rows[] | select(.waits)'",
		Args:    noArgs,
	}
	cmd.Flags().IntVar(&limit, "limit", api.DefaultRows, "show at most `N` destinations")
	cmd.RunE = p.remote(func(cmd *cobra.Command, _ []string, c *control.Client) error {
		if limit < 1 {
			return usagef("--limit %d: want 1 or more", limit)
		}
		s, err := c.Summary(cmd.Context(), limit)
		if err != nil {
			return err
		}
		return p.print(s, func(w io.Writer) error { return words.WriteQueueSummary(w, s, p.now()) })
	})
	return cmd
}
