package kit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Process is a program that runs beside the tests or the tool that started it.
type Process struct {
	Name string
	Log  string // file that its output is appended to

	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how it ended; read after done
}

// Start starts cmd and appends its output to the file log. Name is what messages call it. The
// caller sets what else matters in cmd: groups, signals, environment.
func Start(cmd *exec.Cmd, name, log string) (*Process, error) {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	cmd.Stdout, cmd.Stderr = file, file
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	p := &Process{Name: name, Log: log, cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// PID is the process's.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is how the process ended: nil for exit code 0, else an *exec.ExitError. Done is closed.
func (p *Process) Err() error { return p.err }

// ExitCode is the code that the process ended with, -1 where a signal ended it. Done is closed.
func (p *Process) ExitCode() int { return p.cmd.ProcessState.ExitCode() }

// Running reports whether the process has not ended yet. A nil Process was never started.
func (p *Process) Running() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Kill ends the process by SIGKILL and waits for it. It may have ended before, or be nil.
func (p *Process) Kill() {
	if p != nil {
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// Signal sends a signal.
func (p *Process) Signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// Stop sends SIGTERM and waits for the end, as Ended does.
func (p *Process) Stop(limit time.Duration) error {
	if !p.Running() {
		return nil
	}
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return p.Ended(limit)
}

// Ended waits for the end. Anything but exit code 0 within the limit is an error; what takes longer
// is killed.
func (p *Process) Ended(limit time.Duration) error {
	if err := p.Wait(limit); err != nil {
		p.Kill()
		return err
	}
	if code := p.ExitCode(); code != 0 {
		return fmt.Errorf("%s ended with code %d; its log ends:\n%s", p.Name, code, p.Tail(15))
	}
	return nil
}

// Wait waits for the end, however it is. A process that has not ended within the limit is an error,
// and goes on.
func (p *Process) Wait(limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		return fmt.Errorf("%s has not ended after %s; its log ends:\n%s", p.Name, limit, p.Tail(30))
	}
}

// Await polls until ready returns nil. It gives up when the process ends, limit has passed or ctx
// ends, with an error that shows the end of the log.
func (p *Process) Await(ctx context.Context, limit time.Duration, ready func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-p.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := Poll(ctx, limit, ready)
	switch {
	case err == nil:
		return nil
	case !p.Running():
		return fmt.Errorf("%s has ended (%v); its log %s ends:\n%s", p.Name, p.cmd.ProcessState, p.Log, p.Tail(30))
	}
	return fmt.Errorf("%s is not ready %w; its log %s ends:\n%s", p.Name, err, p.Log, p.Tail(30))
}

// Output is all that the process has written.
func (p *Process) Output() string {
	text, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Tail is the last n lines of Output.
func (p *Process) Tail(n int) string { return LastLines(p.Output(), n) }

// LastLines are the last n lines of text.
func LastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// StartFor starts cmd for the time of a test. At its end the process gets SIGTERM, and SIGKILL when
// that is not enough, and its output is shown if the test failed.
func StartFor(t testing.TB, cmd *exec.Cmd, name string) *Process {
	t.Helper()
	p, err := Start(cmd, name, filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Signal(syscall.SIGTERM) // it may have ended
		if p.Wait(Patience) != nil {
			p.Kill()
		}
		if t.Failed() {
			t.Logf("%s says:\n%s", name, p.Output())
		}
	})
	return p
}
