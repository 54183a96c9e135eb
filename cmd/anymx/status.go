package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"anymx/edge/operate/control"
	"anymx/edge/operate/words"
)

func (p *program) statusCommand() *cobra.Command {
	var ready bool
	var wait time.Duration
	cmd := &cobra.Command{
		Use: "status", Short: "Show what the node does",
		Long: `Status shows the phase of the node and how far a drain is, whether it is ready to
accept and store mail, its sessions, spool, queue, the health of each address of
core, and its certificate; and, where they are configured, what is announced and
why, its BGP peers, its health as the speaker sees it, the tunnel, and addresses,
rules and routes. A line about something that is not as it should be begins with
an exclamation mark.

With --ready it prints readiness alone and exits 1 if the node is not ready;
with --wait too it gives the node that long to become ready.`,
		Example: "  anymx status\n  anymx status --json | jq .queue.waiting\n  anymx status | grep !\n  anymx status --ready --wait 30s && echo in service",
		Args:    noArgs,
	}
	cmd.Flags().BoolVar(&ready, "ready", false, "print only whether the node is ready; exit 1 if it is not")
	cmd.Flags().DurationVar(&wait, "wait", 0, "with --ready: how `LONG` to wait for it, such as 30s")
	cmd.RunE = p.remote(func(cmd *cobra.Command, _ []string, c *control.Client) error {
		switch {
		case ready:
			return p.ready(cmd.Context(), c, wait)
		case cmd.Flags().Changed("wait"):
			return usagef("--wait goes with --ready")
		}
		s, err := c.Status(cmd.Context())
		if err != nil {
			return err
		}
		return p.print(s, func(w io.Writer) error {
			return p.highlight(w, func(w io.Writer) error { return words.WriteStatus(w, s, p.now()) })
		})
	})
	return cmd
}

// readyPoll is the polling interval of --wait.
const readyPoll = 100 * time.Millisecond

// ready prints whether the node is ready, after at most wait.
func (p *program) ready(ctx context.Context, c *control.Client, wait time.Duration) error {
	patience, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	s, err := c.Status(ctx)
	for (err != nil || !s.Ready.OK) && patience.Err() == nil {
		var nobody *control.Unreachable
		if err != nil && !errors.As(err, &nobody) {
			break
		}
		select {
		case <-time.After(readyPoll):
		case <-patience.Done():
		}
		s, err = c.Status(ctx)
	}
	if err != nil {
		return err
	}
	err = p.print(s.Ready, func(w io.Writer) error {
		if s.Ready.OK {
			_, err := fmt.Fprintln(w, "ready")
			return err
		}
		_, err := fmt.Fprintf(w, "not ready: %s\n", words.Clean(s.Ready.Reason))
		return err
	})
	if err == nil && !s.Ready.OK {
		err = &answered{exitNo}
	}
	return err
}
