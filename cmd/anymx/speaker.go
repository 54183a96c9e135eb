package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/operate/words"
)

// This file controls the speaker directly if anymx-edge does not answer. That is never all that the
// command was to do, and the exit code says so.

// confirmTime is how long routers have to confirm the new routes, if the command has no shorter
// wait.
const confirmTime = 10 * time.Second

// withoutNode withdraws the routes of a node whose mail program does not answer. nobody is the
// error that showed this.
func (d *draining) withoutNode(ctx context.Context, socket string, nobody error) error {
	c := control.NewSpeakerClient(socket)
	defer c.Close()
	s, err := d.order(ctx, c, api.DesiredState{Routes: api.Withdrawn, Reason: d.reason, Keep: d.until == ""}, nobody)
	if err != nil {
		return err
	}
	s, err = d.confirm(ctx, c, s)
	if ctx.Err() != nil {
		fmt.Fprintln(d.errOut, "anymx: the speaker keeps the command: `anymx resume` ends it")
	}
	if err != nil {
		return err
	}
	how := "until `anymx resume`, whatever is restarted"
	if d.until != "" {
		how = "until anymx-edge passes the health checks"
	}
	return d.told(s, []string{
		"anymx-edge does not answer, so its spool could not be looked at: accepted messages may be left in it",
	}, "The speaker announces nothing "+how+". Once anymx-edge answers, run `anymx drain` again: it hands over the spool.")
}

// withoutNode removes the command that keeps the speaker from announcing.
func (r *resuming) withoutNode(ctx context.Context, socket string, nobody error) error {
	c := control.NewSpeakerClient(socket)
	defer c.Close()
	s, err := r.order(ctx, c, api.DesiredState{Routes: api.Announced, Keep: true}, nobody)
	if err != nil {
		return err
	}
	return r.told(s, []string{
		"anymx-edge does not answer, and nothing is announced before it passes the health checks",
	}, "If anymx-edge was drained when it ran, run `anymx resume` again once it answers.")
}

// order sends the desired state to the speaker in place of the node, and prints why. If the speaker
// does not answer either, it returns the error of the node.
func (p *program) order(ctx context.Context, c *control.SpeakerClient, o api.DesiredState, nobody error) (api.SpeakerStatus, error) {
	soon, cancel := context.WithTimeout(ctx, firstAnswer)
	defer cancel()
	s, err := c.SetDesired(soon, o)
	var refused *api.Error
	if err == nil || errors.As(err, &refused) {
		fmt.Fprintf(p.errOut, "anymx: %s\n", words.Clean(nobody.Error()))
		return s, err
	}
	if ctx.Err() != nil {
		return s, err
	}
	fmt.Fprintf(p.errOut, "anymx: %s\n", words.Clean(err.Error()))
	return s, nobody
}

// confirm waits until all routers with a session have confirmed.
func (d *draining) confirm(ctx context.Context, c *control.SpeakerClient, s api.SpeakerStatus) (api.SpeakerStatus, error) {
	limit := confirmTime
	if d.wait.limited() {
		limit = min(limit, d.wait.limit)
	}
	patience, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	screen := d.display()
	for {
		confirmed, established := s.Confirmed()
		if confirmed == established && s.Routes == api.Withdrawn || patience.Err() != nil {
			screen.clear()
			return s, ctx.Err()
		}
		screen.show(words.SpeakerReport(s, d.now()))
		select {
		case <-time.After(d.poll):
		case <-patience.Done():
			continue
		}
		next, err := c.Status(patience)
		switch {
		case err == nil:
			s = next
		case patience.Err() == nil:
			return s, err
		}
	}
}

// told prints what the speaker does, what is missing and what to do. It never returns success.
func (p *program) told(s api.SpeakerStatus, missing []string, advice string) error {
	o := outcome{Missing: missing, Speaker: &s}
	err := p.print(o, func(w io.Writer) error {
		if err := printLines(w, words.SpeakerReport(s, p.now()).Lines); err != nil {
			return err
		}
		for _, m := range missing {
			fmt.Fprintf(w, "! %s\n", m)
		}
		_, err := fmt.Fprintln(w, advice)
		return err
	})
	if err == nil {
		err = &answered{exitNo}
	}
	return err
}
