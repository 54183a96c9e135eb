package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/spf13/cobra"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/operate/words"
)

const drainHelp = `Drain takes the node out of service so that no accepted message is lost, and
keeps it out, over restarts and reboots too, until 'anymx resume':

  graceful  its prefixes are announced as the last resort (RFC 8326), so that
            traffic moves to other nodes while packets still arrive
  withdraw  they are withdrawn, and every router acknowledges that
  converge  strays, from networks that have not heard of it, are still served
  sessions  new sessions are told to come back later, those there are end
  flush     the spool is handed over to core

With --until restart it is kept nowhere: the node is in service again when
anymx-edge is started again, as after a reboot. A node that is to stay drained
stays so; a drain without --until makes the other one stay too.

Each step has its limit in the section [drain] of the config. The process stays.
A node without a section [bgp] begins with the sessions.

Drain shows how far the node is and waits until it is drained, or for as long as
--wait says: with --wait 0 it returns when the drain is on disk. Waiting changes
nothing: the drain goes on when the wait ends, and when this command is
interrupted. Run it again to go on waiting. With --now, also of a drain under
way, the prefixes are withdrawn at once.

If anymx-edge does not answer, and the config has a section [bgp], the BGP
speaker is told to withdraw, and to stay withdrawn until 'anymx resume'; with
--until restart, until anymx-edge is healthy again.

Exit codes:
  0    drained: every router has acknowledged it, and no message is in the spool
       but those that are held, which are listed
  1    not drained: the wait ended before, messages are left, or anymx-edge does
       not answer and its speaker has withdrawn; it is said what is left
  3    neither the node nor, if there is one, its speaker answers
  130  interrupted; the drain goes on`

// draining is one run of drain.
type draining struct {
	*program
	wait   waiting
	reason string
	atOnce bool
	until  string
}

func (p *program) drainCommand() *cobra.Command {
	d := &draining{program: p}
	cmd := &cobra.Command{
		Use: "drain", Short: "Take the node out of service, and wait until it is", Long: drainHelp,
		Example: `  anymx drain --reason "kernel update" && systemctl reboot
  anymx drain --wait 5m || anymx queue list
  anymx drain --now --wait 0
  anymx drain --until restart && systemctl reboot
  anymx drain --json --wait 10m | jq .missing`,
		Args: noArgs,
	}
	d.wait.addTo(cmd, "the node is drained")
	cmd.Flags().StringVar(&d.reason, "reason", "", "why, as `TEXT` that is shown in status and log")
	cmd.Flags().BoolVar(&d.atOnce, "now", false, "withdraw at once: let no traffic move away before")
	cmd.Flags().StringVar(&d.until, "until", "", "end with the next `restart` of anymx-edge (default: with 'anymx resume' alone)")
	complete := cobra.FixedCompletions([]string{string(api.UntilRestart)}, cobra.ShellCompDirectiveNoFileComp)
	cmd.RegisterFlagCompletionFunc("until", complete) // the flag exists, so this can't fail
	cmd.RunE = p.remote(func(cmd *cobra.Command, _ []string, c *control.Client) error { return d.run(cmd.Context(), c) })
	return cmd
}

// errStopping refuses to change the drain state of a node that is stopping.
var errStopping = errors.New("the node is stopping, by the steps of a drain: run this again when anymx-edge has been started again")

func (d *draining) run(ctx context.Context, c *control.Client) error {
	until, err := api.ParseUntil(d.until)
	if err != nil {
		return usagef("--%w", err)
	}
	sockets, err := d.sockets()
	if err != nil {
		return err
	}
	s, err := d.first(ctx, c, sockets.Node)
	before := ""
	switch {
	case err != nil:
	case stopping(s):
		return errStopping
	case s.Phase == api.Drained:
		before = "it was drained before"
	}
	if err == nil && (before == "" || d.reason != "" || lasts(s, until)) {
		s, err = c.Drain(ctx, api.DrainRequest{Reason: d.reason, Now: d.atOnce, Until: until})
	}
	var nobody *control.Unreachable
	if errors.As(err, &nobody) && sockets.Speaker != "" && !errors.Is(err, fs.ErrPermission) {
		return d.withoutNode(ctx, sockets.Speaker, err)
	}
	if err != nil {
		return err
	}
	left := false // true once the node was seen out of service
	s, err = d.follow(ctx, c, s, &d.wait, func(s api.Status) bool {
		left = left || s.Phase != api.Running
		return s.Phase == api.Drained || s.Phase == api.Stopping || left && s.Phase == api.Running
	}, words.DrainReport)
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(d.errOut, "anymx: the drain goes on: `anymx status` shows how far it is, `anymx resume` undoes it")
		return err
	case err != nil:
		fmt.Fprintf(d.errOut, "anymx: the drain was under way (%s), and goes on when anymx-edge is back\n", words.DrainReport(s, d.now()).Line)
		return err
	}
	return d.answer(ctx, c, s, before)
}

// lasts reports whether this command makes a drain of s that would end by itself permanent.
func lasts(s api.Status, until api.Until) bool {
	return until == "" && s.Drain != nil && s.Drain.Until != ""
}

// answer reports whether the node is drained, and what is left or missing.
func (d *draining) answer(ctx context.Context, c *control.Client, s api.Status, before string) error {
	o := outcome{Missing: orEmpty(words.DrainLeft(s, d.now())), Node: &s}
	o.Done = len(o.Missing) == 0
	if s.Phase == api.Drained {
		var err error
		if o.Held, err = held(ctx, c); err != nil {
			return err
		}
	}
	err := d.print(o, func(w io.Writer) error {
		if before != "" {
			fmt.Fprintln(w, before)
		}
		for _, line := range words.DrainReport(s, d.now()).Lines {
			fmt.Fprintln(w, line)
		}
		if err := d.heldText(w, &s, o.Held); err != nil {
			return err
		}
		if o.Done {
			back := "`anymx resume` takes it back into service."
			if s.Drain != nil && s.Drain.Until == api.UntilRestart {
				back = "`anymx resume`, or the next start of anymx-edge, takes it back into service."
			}
			_, err := fmt.Fprintln(w, back)
			return err
		}
		fmt.Fprintln(w, d.why(s))
		for _, m := range o.Missing {
			fmt.Fprintf(w, "! %s\n", m)
		}
		_, err := fmt.Fprintln(w, d.advice(s))
		return err
	})
	if err == nil && !o.Done {
		err = &answered{exitNo}
	}
	return err
}

// why says what ended the wait for a node that is not drained.
func (d *draining) why(s api.Status) string {
	switch s.Phase {
	case api.Drained:
		return "Its spool is NOT empty: the time to hand it over has ended; it goes on trying."
	case api.Stopping:
		return "NOT drained: the process is stopping; the drain goes on when it is started again."
	case api.Running:
		return "NOT drained: the node was taken back into service."
	}
	return "NOT drained: " + d.wait.text() + "; the drain goes on."
}

// advice says what to do about a node that is not drained.
func (d *draining) advice(s api.Status) string {
	switch s.Phase {
	case api.Drained:
		return "What is left is safe in the spool: `anymx queue list` shows it, `anymx queue flush --all` tries it now. Run this again to see what is left then, or `anymx resume`."
	case api.Stopping, api.Running:
		return "Look at `anymx status`, and run this again."
	}
	return "`anymx status` shows how far it is, `anymx drain` waits for it, and `anymx resume` undoes it."
}

// maxHeld bounds how many held messages are listed.
const maxHeld = 20

// held returns the messages that the operator holds; one more than maxHeld means that there are
// more.
func held(ctx context.Context, c *control.Client) ([]api.QueueItem, error) {
	var list []api.QueueItem
	for m, err := range c.Messages(ctx, api.QueueQuery{State: api.Held, Limit: maxHeld + 1}) {
		if err != nil {
			return nil, err
		}
		if list = append(list, m); len(list) > maxHeld {
			break
		}
	}
	return list, nil
}

func (d *draining) heldText(w io.Writer, s *api.Status, list []api.QueueItem) error {
	if len(list) == 0 {
		return nil
	}
	fmt.Fprintln(w, "Held messages stay in the spool until they are released or deleted:")
	if err := words.WriteQueueHeader(w); err != nil {
		return err
	}
	for i, m := range list {
		if i == maxHeld {
			_, err := fmt.Fprintf(w, "and more, %d in all: `anymx queue list --state held`\n", s.Queue.Held)
			return err
		}
		if err := words.WriteQueueItem(w, m, d.now()); err != nil {
			return err
		}
	}
	return nil
}
