package lab

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"anymx/tests/kit"
)

// start runs a program inside and appends its output to the file log. The program leads its own
// session, so that it outlives a terminal.
func (n *Namespace) start(name, log string, args ...string) (*kit.Process, error) {
	// `ip netns exec` replaces itself with the program, so signals go to this process.
	cmd := exec.Command(lookUp("ip"), append([]string{"netns", "exec", n.Name}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return kit.Start(cmd, name, log)
}

// RSS returns the resident memory of p, in bytes.
func RSS(p *kit.Process) (int64, error) {
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
