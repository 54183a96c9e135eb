package main

import (
	"github.com/spf13/cobra"

	"anymx/edge/mail"
	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
)

// verbs are the commands that change messages, with their texts. A change to the whole queue needs
// confirmation if it can't be undone.
var verbs = []struct {
	action               api.Action
	short, long, example string
}{
	{api.Flush, "Try messages now", `Flush makes messages due now instead of at their next attempt. Held messages stay
held.`, "  anymx queue flush 06d3p5r01qg0f16n\n  anymx queue flush --all\n  anymx queue flush --all --recipient @example.net"},
	{api.Hold, "Keep messages and do not try them", `Hold keeps messages in the queue without trying them, until they are released or
deleted.`, "  anymx queue hold 06d3p5r01qg0f16n --reason \"asked the sender\"\n  anymx queue hold --all --sender @shop.example.com"},
	{api.Release, "Let held messages go, and try them now", `Release lets held messages go; they are tried now.`,
		"  anymx queue release 06d3p5r01qg0f16n\n  anymx queue release --all --state held"},
	{api.Delete, "Delete messages for good", `Delete removes messages from the queue and prints what it removed. Neither sender
nor recipients are told, and nothing brings a message back. With --all it asks
before, unless --yes is given, and refuses where nobody can answer.`,
		"  anymx queue delete 06d3p5r01qg0f16n\n  anymx queue delete --all --sender spam@example.com\n  anymx queue delete --all --state held --older-than 3d --yes"},
}

// changing is one run of a command that changes messages.
type changing struct {
	*program
	action api.Action
	filter filter
	all    bool
	yes    bool
	reason string
}

func (p *program) changeCommands() []*cobra.Command {
	var cmds []*cobra.Command
	for _, v := range verbs {
		ch := &changing{program: p, action: v.action}
		cmd := &cobra.Command{
			Use: string(v.action) + " {ID... | --all}", Short: v.short, Example: v.example,
			Long: v.long + `

Messages are named by their ids, or by --all and, with it, what they have in
common. Messages that arrive after the command began are not touched.`,
			ValidArgsFunction: p.completeID(0),
		}
		ch.filter.addTo(cmd)
		cmd.Flags().BoolVar(&ch.all, "all", false, "all messages, or all that the other flags mean")
		switch v.action {
		case api.Delete:
			cmd.Flags().BoolVar(&ch.yes, "yes", false, "do not ask")
		case api.Hold:
			cmd.Flags().StringVar(&ch.reason, "reason", "", "why, as `TEXT` that is shown with the message")
		}
		cmd.RunE = p.remote(ch.run)
		cmds = append(cmds, cmd)
	}
	return cmds
}

func (ch *changing) run(cmd *cobra.Command, args []string, c *control.Client) error {
	want, err := ch.change(args)
	if err != nil {
		return err
	}
	if ch.all && ch.action == api.Delete && !ch.yes {
		if err := ch.ask(cmd.Context(), c, want.QueueQuery); err != nil {
			return err
		}
	}
	out := changeOutput{program: ch.program, action: ch.action}
	for part, err := range c.Change(cmd.Context(), ch.action, want) {
		if err != nil {
			return out.failed(err)
		}
		if err := out.add(part); err != nil {
			return err
		}
	}
	return out.end()
}

// change parses the command line.
func (ch *changing) change(args []string) (want api.Change, err error) {
	now := ch.now()
	want.Reason = ch.reason
	switch {
	case !ch.all && ch.filter != filter{}:
		return want, usagef("--state, --sender, --recipient, --destination and --older-than go with --all")
	case !ch.all && len(args) == 0:
		return want, usagef("say which messages: their ids, or --all")
	case ch.all && len(args) > 0:
		return want, usagef("give either ids or --all")
	case ch.all:
		want.All = true
		want.QueueQuery, err = ch.filter.query(now)
		if want.Before.IsZero() {
			want.Before = now
		}
		want.Limit = api.MaxPage
		return want, err
	}
	for _, arg := range args {
		id, err := mail.ParseID(arg)
		if err != nil {
			return want, &usageError{err}
		}
		want.IDs = append(want.IDs, id)
	}
	return want, nil
}
