package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/operate/words"
)

const resumeHelp = `Resume takes a node back into service that 'anymx drain' has taken out, or is
taking out. It accepts mail again at once. Its prefixes are announced when it has
passed the BGP speaker's health checks: 'rise' good rounds in a row over
'rise_time' (bgp.health in the config).

Resume shows what the node waits for, and waits until it is announced, or for as
long as --wait says. The node goes on by itself when the wait ends, and when this
command is interrupted. A node without a section [bgp] is in service when it is
ready.

If anymx-edge does not answer, the BGP speaker may announce again; it does so when
anymx-edge runs and has passed the health checks.

Exit codes:
  0    in service: mail is accepted and, where there is a speaker, a router has
       confirmed the announcement
  1    not in service yet: the wait ended before, or anymx-edge does not answer
       and its speaker accepted that; it is said what is missing
  3    neither the node nor, if there is one, its speaker answers
  130  interrupted; the node goes on by itself`

// resuming is one run of resume.
type resuming struct {
	*program
	wait waiting
}

func (p *program) resumeCommand() *cobra.Command {
	r := &resuming{program: p}
	cmd := &cobra.Command{
		Use: "resume", Short: "Take the node back into service, and wait until it is", Long: resumeHelp,
		Example: "  anymx resume\n  anymx resume --wait 1m || anymx status\n  anymx resume --wait 0",
		Args:    noArgs,
	}
	r.wait.addTo(cmd, "the node is in service")
	cmd.RunE = p.remote(func(cmd *cobra.Command, _ []string, c *control.Client) error { return r.run(cmd.Context(), c) })
	return cmd
}

func (r *resuming) run(ctx context.Context, c *control.Client) error {
	sockets, err := r.sockets()
	if err != nil {
		return err
	}
	s, err := r.first(ctx, c, sockets.Node)
	switch {
	case err != nil:
	case stopping(s):
		return errStopping
	case s.InService(time.Time{}):
		return r.answer(s, time.Time{}, " already")
	}
	began := r.now()
	if err == nil {
		s, err = c.Resume(ctx)
	}
	var nobody *control.Unreachable
	if errors.As(err, &nobody) && sockets.Speaker != "" && !errors.Is(err, fs.ErrPermission) {
		return r.withoutNode(ctx, sockets.Speaker, err)
	}
	if err != nil {
		return err
	}
	back := false // true once the node was seen in service
	s, err = r.follow(ctx, c, s, &r.wait, func(s api.Status) bool {
		back = back || s.Phase == api.Running
		return s.InService(began) || s.Phase == api.Stopping || back && s.Phase == api.Draining
	}, words.ResumeReport)
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(r.errOut, "anymx: the node goes on by itself: `anymx status` shows what it waits for")
		return err
	case err != nil:
		fmt.Fprintf(r.errOut, "anymx: the order was taken (%s)\n", words.ResumeReport(s, r.now()).Line)
		return err
	}
	return r.answer(s, began, "")
}

// answer reports whether the node is in service, or what it waits for.
func (r *resuming) answer(s api.Status, began time.Time, already string) error {
	report := words.ResumeReport(s, r.now())
	o := outcome{Done: s.InService(began), Missing: []string{}, Node: &s}
	if !o.Done {
		for _, line := range report.Lines {
			o.Missing = append(o.Missing, strings.TrimSpace(line))
		}
	}
	err := r.print(o, func(w io.Writer) error {
		if o.Done {
			report.Lines[0] = words.Clean(s.Name) + " is in service" + already
			return printLines(w, report.Lines)
		}
		return printLines(w, append(report.Lines, "NOT in service: "+r.why(s)+".", "`anymx status` shows more, `anymx resume` waits for it."))
	})
	if err == nil && !o.Done {
		err = &answered{exitNo}
	}
	return err
}

// why says what ended the wait for a node that is not in service.
func (r *resuming) why(s api.Status) string {
	switch s.Phase {
	case api.Stopping:
		return "the process is stopping"
	case api.Draining, api.Drained:
		return "the node is being drained by another order"
	}
	return r.wait.text() + "; the node goes on by itself"
}

func printLines(w io.Writer, lines []string) error {
	for _, line := range lines {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}
