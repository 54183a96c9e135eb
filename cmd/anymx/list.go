package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"anymx/edge/mail"
	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/operate/words"
)

func (p *program) listCommand() *cobra.Command {
	var f filter
	var limit int
	var after string
	cmd := &cobra.Command{
		Use: "list", Short: "List messages, the oldest first",
		Long: `List prints one line for each message, the oldest first. With --json it prints
an array, element by element as they come, so that a queue of any length can be
read; what ends without its closing bracket is not complete.`,
		Example: `  anymx queue list
  anymx queue list --state held
  anymx queue list --sender @lists.example.org --older-than 4h
  anymx queue list --limit 0 --json | jq -r '.[].id'`,
		Args: noArgs,
	}
	f.addTo(cmd)
	cmd.Flags().IntVar(&limit, "limit", 100, "list at most `N` messages; 0: all")
	cmd.Flags().StringVar(&after, "after", "", "begin behind the message with this `ID`")
	cmd.RegisterFlagCompletionFunc("after", p.completeID(0)) // the flag exists, so this can't fail
	cmd.RunE = p.remote(func(cmd *cobra.Command, _ []string, c *control.Client) error {
		q, err := f.query(p.now())
		if err != nil {
			return err
		}
		if limit < 0 {
			return usagef("--limit %d: want 0 or more", limit)
		}
		if after != "" {
			if q.After, err = mail.ParseID(after); err != nil {
				return usagef("--after: %w", err)
			}
		}
		return p.list(cmd, c, q, limit)
	})
	return cmd
}

// list prints up to limit messages as they arrive.
func (p *program) list(cmd *cobra.Command, c *control.Client, q api.QueueQuery, limit int) error {
	q.Limit = api.MaxPage
	if limit > 0 { // one more shows whether there are more
		q.Limit = min(q.Limit, limit+1)
	}
	rows := array{w: p.out}
	more := false
	var last mail.ID
	for m, err := range c.Messages(cmd.Context(), q) {
		if err != nil {
			return err
		}
		if more = limit > 0 && rows.count == limit; more {
			break
		}
		if err := p.listItem(&rows, m); err != nil {
			return err
		}
		last = m.ID
	}
	if more {
		fmt.Fprintf(p.errOut, "anymx: more messages follow these %d: see the next with --after %s, or all with --limit 0\n", limit, last)
	}
	if p.json {
		if err := rows.close(); err != nil {
			return err
		}
		_, err := fmt.Fprintln(p.out)
		return err
	}
	if rows.count == 0 {
		_, err := fmt.Fprintln(p.out, "no messages")
		return err
	}
	return nil
}

// listItem prints one message, after the column names if it is the first.
func (p *program) listItem(rows *array, m api.QueueItem) error {
	if p.json {
		return rows.add(m)
	}
	if rows.count == 0 {
		if err := words.WriteQueueHeader(p.out); err != nil {
			return err
		}
	}
	rows.count++
	return words.WriteQueueItem(p.out, m, p.now())
}
