package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"anymx/edge/config"
	"anymx/edge/mail"
	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/operate/words"
)

func (p *program) queueCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "queue", Short: "List, show and change the messages that wait for delivery",
		Long: `Queue lists, shows and changes the messages that the node has accepted and not
yet delivered. A message is active (an attempt is being made), waiting (for its
next attempt) or held (until it is released or deleted).`,
		Args: unknownCommand,
		RunE: p.local(func(cmd *cobra.Command, _ []string) error { return cmd.Help() }),
	}
	cmd.AddCommand(p.listCommand(), p.summaryCommand(), p.showCommand())
	cmd.AddCommand(p.changeCommands()...)
	return cmd
}

// filter holds the flags that select messages.
type filter struct{ state, sender, recipient, destination, olderThan string }

func (f *filter) addTo(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.state, "state", "", "only messages in this `STATE`: active, waiting or held")
	flags.StringVar(&f.sender, "sender", "", "only messages from this `ADDRESS`, @domain or <>")
	flags.StringVar(&f.recipient, "recipient", "", "only messages to this `ADDRESS` or @domain")
	flags.StringVar(&f.destination, "destination", "", "only messages to this `DESTINATION`: core, or core/NAME for a core group")
	flags.StringVar(&f.olderThan, "older-than", "", "only messages that arrived this `LONG` ago or earlier, such as 4h or 5d")
	complete := cobra.FixedCompletions([]string{"active", "waiting", "held"}, cobra.ShellCompDirectiveNoFileComp)
	cmd.RegisterFlagCompletionFunc("state", complete) // the flag exists, so this can't fail
}

// query parses the flags.
func (f *filter) query(now time.Time) (q api.QueueQuery, err error) {
	if q.State, err = api.ParseState(f.state); err != nil {
		return q, usagef("--state: %w", err)
	}
	if q.Sender, err = api.ParsePattern(f.sender); err != nil {
		return q, usagef("--sender: %w", err)
	}
	if q.Recipient, err = api.ParsePattern(f.recipient); err != nil {
		return q, usagef("--recipient: %w", err)
	}
	q.Destination = f.destination
	if f.olderThan != "" {
		var age config.Duration
		if err := age.UnmarshalText([]byte(f.olderThan)); err != nil {
			return q, usagef("--older-than: %w", err)
		}
		q.Before = now.Add(-time.Duration(age))
	}
	return q, nil
}

func (p *program) showCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show all that the node knows of one message",
		Long: `Show prints the envelope of a message, who handed it over, and how far each of
its recipients has come. The text of the message is not shown.`,
		Example: "  anymx queue show 06d3p5r01qg0f16n",
		Args:    someArgs(1, 1), ValidArgsFunction: p.completeID(1),
		RunE: p.remote(func(cmd *cobra.Command, args []string, c *control.Client) error {
			id, err := mail.ParseID(args[0])
			if err != nil {
				return &usageError{err}
			}
			d, err := c.Message(cmd.Context(), id)
			if err != nil {
				return fmt.Errorf("%s: %w", id, err)
			}
			return p.print(d, func(w io.Writer) error { return words.WriteQueueDetail(w, d, p.now()) })
		}),
	}
}

// completeID completes message ids from the running node, for up to most arguments (0: any number).
func (p *program) completeID(most int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		c, err := p.client()
		if err != nil || most > 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		page, _ := c.Page(ctx, api.QueueQuery{Limit: api.MaxPage})
		return words.CompleteIDs(page.Items, args, typed), cobra.ShellCompDirectiveNoFileComp
	}
}
