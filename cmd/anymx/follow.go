package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/operate/words"
)

// How long a node may stay silent.
const (
	firstAnswer  = 10 * time.Second // of the first answer
	silenceLimit = time.Minute      // while waiting, in case it is restarted
)

// waiting is how long a command waits for its effect.
type waiting struct {
	limit   time.Duration
	limited func() bool // reports whether there is a limit
}

// addTo adds --wait to cmd; until describes what is waited for.
func (wt *waiting) addTo(cmd *cobra.Command, until string) {
	cmd.Flags().DurationVar(&wt.limit, "wait", 0, "wait `LONG` at most until "+until+", such as 5m; 0: do not wait (default: as long as it takes)")
	wt.limited = func() bool { return cmd.Flags().Changed("wait") }
}

// text returns how long the command waited.
func (wt *waiting) text() string {
	if wt.limit <= 0 {
		return "it was not waited for"
	}
	return "the wait of " + wt.limit.String() + " has ended"
}

// patience returns a context that ends with ctx, or when the wait is over.
func (wt *waiting) patience(ctx context.Context) (context.Context, context.CancelFunc) {
	if !wt.limited() {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, wt.limit)
}

// first gets the node's status before anything is changed. A hanging node is soon reported as
// unreachable.
func (p *program) first(ctx context.Context, c *control.Client, socket string) (api.Status, error) {
	soon, cancel := context.WithTimeout(ctx, firstAnswer)
	defer cancel()
	s, err := c.Status(soon)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = &control.Unreachable{Socket: socket, Cause: err}
	}
	return s, err
}

// follow polls the node, beginning with status s, and shows the reports on it, until ended is true
// or wt is over. It returns the last status. The error is that of ctx, or of a node that was silent
// for too long.
func (p *program) follow(ctx context.Context, c *control.Client, s api.Status, wt *waiting,
	ended func(api.Status) bool, report func(api.Status, time.Time) words.Report) (api.Status, error) {

	patience, cancel := wt.patience(ctx)
	defer cancel()
	d := p.display()
	var silent time.Time // since when; zero: it answers
	var nobody error     // why it is silent
	var unreachable *control.Unreachable
	for {
		if silent.IsZero() && ended(s) {
			d.clear()
			return s, nil
		}
		if patience.Err() == nil {
			d.show(said(report(s, p.now()), silent))
		}
		select {
		case <-time.After(p.poll):
		case <-patience.Done():
		}
		if ctx.Err() != nil {
			return s, ctx.Err() // leaves the output on the screen
		}
		if patience.Err() != nil {
			d.clear()
			return s, nobody
		}
		next, err := c.Status(patience)
		switch {
		case err == nil:
			s, silent, nobody = next, time.Time{}, nil
		case patience.Err() != nil: // handled in the next iteration
		case !errors.As(err, &unreachable):
			return s, err
		case stopping(s), !silent.IsZero() && time.Since(silent) > silenceLimit:
			d.clear()
			return s, err
		case silent.IsZero():
			silent, nobody = time.Now(), err
		}
	}
}

// said adds to r that the node is currently silent.
func said(r words.Report, silent time.Time) words.Report {
	if silent.IsZero() {
		return r
	}
	text := "anymx-edge has not answered for " + time.Since(silent).Truncate(time.Second).String()
	return words.Report{Step: r.Step + " silent", Line: text + "; before: " + r.Line, Lines: append(r.Lines, "  "+text)}
}

// stopping reports whether the node's process is about to end.
func stopping(s api.Status) bool {
	return s.Phase == api.Stopping || s.Drain != nil && s.Drain.Stopping
}

// outcome is the result of drain and resume, for programs.
type outcome struct {
	Done bool `json:"done"` // drained, or in service
	// Missing lists what is missing until then, and Held the messages that a drained node keeps
	// because the operator holds them.
	Missing []string        `json:"missing"`
	Held    []api.QueueItem `json:"held,omitempty"`
	// Node is its last known status; Speaker is set if the node did not answer and its speaker did.
	Node    *api.Status        `json:"node,omitempty"`
	Speaker *api.SpeakerStatus `json:"speaker,omitempty"`
}
