package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Process is one program that runs in a namespace.
type Process struct {
	Name string
	Log  string // file that its output is appended to

	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// start runs a program inside, its output appended to the file log. It becomes
// the leader of a session of its own, so that it outlives a terminal.
func (n *Namespace) start(name, log string, args ...string) (*Process, error) {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	// `ip netns exec` becomes the program, so the process is the one to signal.
	cmd := exec.Command(lookUp("ip"), append([]string{"netns", "exec", n.Name}, args...)...)
	cmd.Stdout, cmd.Stderr = file, file
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	p := &Process{Name: name, Log: log, cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is in ProcessState
		close(p.done)
	}()
	return p, nil
}

// PID is the process's.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Running says whether it has not ended yet. A nil Process has never begun.
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

// Kill ends it by SIGKILL and waits. It may have ended before, or be nil.
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

// Ended waits for the end. Anything but exit 0 within the limit is an error; what
// takes longer is killed.
func (p *Process) Ended(limit time.Duration) error {
	select {
	case <-p.done:
	case <-time.After(limit):
		p.Kill()
		return fmt.Errorf("%s has not ended after %s; its log ends:\n%s", p.Name, limit, p.Tail(15))
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("%s ended with code %d; its log ends:\n%s", p.Name, code, p.Tail(15))
	}
	return nil
}

// RSS is the memory that it has in use, in octets.
func (p *Process) RSS() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return 0, err
	}
	_, rest, _ := bytes.Cut(text, []byte("VmRSS:"))
	var kib int64
	if _, err := fmt.Sscan(string(rest), &kib); err != nil {
		return 0, fmt.Errorf("VmRSS of %s: %w", p.Name, err)
	}
	return kib << 10, nil
}

// Tail is the last n lines of its log.
func (p *Process) Tail(n int) string {
	text, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// Poll asks until ready returns nil, and gives up when limit has passed or ctx
// ends, with the last reason.
func Poll(ctx context.Context, limit time.Duration, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		began := time.Now()
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after %s: %w", limit, err)
		case <-time.After(max(20*time.Millisecond, 2*time.Since(began))): // a dear question is asked less often
		}
	}
}

// await is Poll that also gives up when the process ends.
func (p *Process) await(ctx context.Context, limit time.Duration, ready func(context.Context) error) error {
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
		return fmt.Errorf("%s has ended; its log %s ends:\n%s", p.Name, p.Log, p.Tail(15))
	}
	return fmt.Errorf("%s is not ready %w; its log %s ends:\n%s", p.Name, err, p.Log, p.Tail(15))
}
