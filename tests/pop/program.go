package pop

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"anymx/edge/delivery/smtpc/smtptest"
	"anymx/tests/kit"
)

// Program is one process of ours, or of a peer.
type Program struct {
	*kit.Process
	t testing.TB
}

// Run starts a program whose output goes to a file. It is killed at the end of
// the test, which shows the end of the output if it failed.
func Run(t testing.TB, path string, args ...string) *Program {
	t.Helper()
	return run(t, nil, path, args...)
}

// run is Run with a file that the program has as its descriptor 3; nil: none.
func run(t testing.TB, passed *os.File, path string, args ...string) *Program {
	t.Helper()
	cmd := exec.Command(path, args...)
	if passed != nil {
		cmd.ExtraFiles = []*os.File{passed}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	name := filepath.Base(path)
	process, err := kit.Start(cmd, name, filepath.Join(t.TempDir(), name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		process.Kill()
		if t.Failed() {
			t.Logf("%s ends:\n%s", name, process.Tail(30))
		}
	})
	return &Program{process, t}
}

// Stop ends the process by SIGTERM and returns its exit code; it fails the
// test when that takes longer than limit.
func (p *Program) Stop(limit time.Duration) int {
	p.t.Helper()
	_ = p.Process.Signal(syscall.SIGTERM)
	return p.Wait(limit)
}

// Wait waits for the process to end, and returns its exit code; it fails the
// test when that takes longer than limit. A program that was told to end is
// killed by a second SIGTERM, such as Stop's.
func (p *Program) Wait(limit time.Duration) int {
	p.t.Helper()
	if err := p.Process.Wait(limit); err != nil {
		p.t.Fatal(err)
	}
	return p.ExitCode()
}

// Signal sends a signal.
func (p *Program) Signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// Log is all that the program has written.
func (p *Program) Log() string { return p.Output() }

// Await waits for a banner at address, at most a minute.
func (p *Program) Await(address string) {
	p.t.Helper()
	p.until(func(ctx context.Context) error { return smtptest.Greets(ctx, address) })
}

// until waits until ready returns nil, at most a minute.
func (p *Program) until(ready func(context.Context) error) {
	p.t.Helper()
	if err := p.Process.Await(p.t.Context(), time.Minute, ready); err != nil {
		p.t.Fatal(err)
	}
}
