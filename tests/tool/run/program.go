package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"anymx/edge/delivery/smtpc/smtptest"
	"anymx/tests/kit"
)

// program is anymx-edge or anymx-core as a child process.
type program struct {
	*kit.Process
	seen bool // ended has reported that it ended by itself
}

// startProgram starts bin/name with a config file and appends its log to a file. The program has a
// process group of its own, so that a Ctrl-C reaches only us and we stop the programs in order. It
// gets SIGTERM if we are killed.
func startProgram(o options, name, config string) (*program, error) {
	cmd := exec.Command(filepath.Join(o.bin, name), "-config", config)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	p, err := kit.Start(cmd, name, filepath.Join(o.state, name+".log"))
	if err != nil {
		return nil, err
	}
	return &program{Process: p}, nil
}

// wait polls until the program is ready or has ended, for ten seconds at most. They include the
// recovery of the spool.
func (p *program) wait(ctx context.Context, ready func(context.Context) error) error {
	err := p.Await(ctx, 10*time.Second, ready)
	p.seen = err != nil && !p.Running()
	return err
}

// ended returns an error for a program that ended by itself, with the last lines of its log.
func (p *program) ended() error {
	p.seen = true
	how := "stopped unexpectedly"
	if err := p.Err(); err != nil {
		how = "stopped unexpectedly (" + err.Error() + ")"
	}
	return fmt.Errorf("%s %s; the last lines of its log %s:\n%s", p.Name, how, p.Log, p.Tail(10))
}

// stop sends SIGTERM and waits. It kills the program after limit, or when ctx ends.
func (p *program) stop(ctx context.Context, limit time.Duration) error {
	if !p.Running() {
		if p.seen {
			return nil
		}
		return p.ended()
	}
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping %s: %w", p.Name, err)
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.Done():
		if p.Err() != nil {
			return p.ended()
		}
		return nil
	case <-timer.C:
	case <-ctx.Done():
	}
	p.Kill()
	return fmt.Errorf("%s did not stop in time and was killed; see its log %s", p.Name, p.Log)
}

// greets returns a check that an SMTP server at address greets with 220.
func greets(address string) func(context.Context) error {
	return func(ctx context.Context) error { return smtptest.Greets(ctx, address) }
}

// answers returns a check that an HTTP GET of url returns 200.
func answers(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		transport := &http.Transport{DisableKeepAlives: true} // no proxy: this is loopback
		reply, err := transport.RoundTrip(req)
		if err != nil {
			return err
		}
		defer reply.Body.Close()
		if reply.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", url, reply.Status)
		}
		return nil
	}
}
