package main

import (
	"bytes"
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

	"golang.org/x/sys/unix"

	"anymx/edge/operate/control/controltest"
	"anymx/tests/pop"
)

func TestMain(m *testing.M) { os.Exit(pop.Main(m)) }

func TestRealProgram(t *testing.T) {
	bin := filepath.Join(pop.Build(t), "anymx")
	node := controltest.New()
	socket, _ := controltest.Start(t, node, false)
	t.Run("exit codes", func(t *testing.T) { exitCodes(t, bin, socket) })
	t.Run("other user", func(t *testing.T) { otherUser(t, bin, socket) })
	t.Run("completion", func(t *testing.T) { completionScripts(t, bin) })
	t.Run("interrupt", func(t *testing.T) { interrupt(t, bin) })
	t.Run("terminal", func(t *testing.T) { terminal(t, bin) })
	t.Run("live drain", func(t *testing.T) { liveDrain(t, bin) })
	t.Run("interrupted drain", func(t *testing.T) { interruptedDrain(t, bin) })
}

func exitCodes(t *testing.T, bin, socket string) {
	notReady := controltest.New()
	notReady.ReadyErr = errors.New("disk full")
	sick, _ := controltest.Start(t, notReady, false)
	none := filepath.Join(t.TempDir(), "none")
	for _, tt := range []struct {
		args string
		want int
		says string // on stdout or stderr
	}{
		{"status", exitOK, "Phase "},
		{"status --ready", exitOK, "ready"},
		{"check testdata/good.toml", exitOK, "no problem found"},
		{"queue show " + id(1), exitOK, "news@lists.example.org"},
		{"queue hold " + id(1), exitOK, "1 message held"},
		{"status --ready --control " + sick, exitNo, "not ready: disk full"},
		{"check testdata/bad.toml", exitNo, "node.colour"},
		{"queue delete " + id(4), exitOK, "deleted when the attempt has ended"},
		{"frobnicate", exitUsage, "unknown command"},
		{"queue show nonsense", exitUsage, "not a spool id"},
		{"queue delete --all", exitUsage, "add --yes"}, // stdin is /dev/null
		{"status --control " + none, exitUnreachable, "no such socket"},
		{"queue list --control " + none, exitUnreachable, "no such socket"},
		{"queue show " + id(9), exitNotFound, "no such message"},
		{"queue release " + id(9), exitNotFound, "no such message"},
	} {
		cmd := exec.Command(bin, strings.Split(tt.args, " ")...)
		cmd.Env = append(os.Environ(), "ANYMX_CONTROL="+socket)
		out, err := cmd.CombinedOutput()
		if err != nil && cmd.ProcessState == nil {
			t.Fatal(err)
		}
		if code := cmd.ProcessState.ExitCode(); code != tt.want || !strings.Contains(string(out), tt.says) {
			t.Errorf("anymx %s: exit %d, want %d and %q:\n%s", tt.args, code, tt.want, tt.says, out)
		}
	}
}

// A user outside the socket's group gets an error that says so.
func otherUser(t *testing.T, bin, socket string) {
	if os.Getuid() != 0 {
		t.Skip("only root can become another user")
	}
	speaker := confirms()
	speakerSocket := controltest.StartSpeaker(t, speaker)
	if err := os.Chmod(speakerSocket, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{socket, speakerSocket, bin} {
		for dir := filepath.Dir(path); len(dir) > len(os.TempDir()); dir = filepath.Dir(dir) {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	file := filepath.Join(filepath.Dir(bin), "anymx.toml")
	if err := os.WriteFile(file, fmt.Appendf(nil, "[node]\ncontrol = %q\n[bgp]\ncontrol = %q\n", socket, speakerSocket), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"status", "drain", "resume"} {
		cmd := exec.Command(bin, command, "--config", file)
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != exitUnreachable || !strings.Contains(string(out), "permission denied. Run this as root or as a member of the socket's group") {
			t.Errorf("%s: %v: %s", command, cmd.ProcessState, out)
		}
	}
	if orders := speaker.Orders(); len(orders) > 0 {
		t.Errorf("who may not ask the node has ordered its speaker: %+v", orders)
	}
}

func completionScripts(t *testing.T, bin string) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		t.Run(shell, func(t *testing.T) {
			script, err := exec.Command(bin, "completion", shell).Output()
			if err != nil || !bytes.Contains(script, []byte("anymx")) {
				t.Errorf("%v, %d bytes", err, len(script))
			}
			path, err := exec.LookPath(shell)
			if err != nil {
				t.Skipf("%s is not installed (package %s): its script is not checked", shell, shell)
			}
			cmd := exec.Command(path, "-n")
			cmd.Stdin = bytes.NewReader(script)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s -n: %v\n%s", shell, err, out)
			}
		})
	}
}

// A command that waits for the node ends at Ctrl-C, with its own exit code.
func interrupt(t *testing.T, bin string) {
	node := controltest.New()
	asked := make(chan struct{}, 1)
	node.ReadyHook = func(ctx context.Context) error {
		asked <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	socket, _ := controltest.Start(t, node, false)
	var out bytes.Buffer
	cmd := exec.Command(bin, "status", "--control", socket)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-asked
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	cmd.Wait() // the test checks the exit code
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted || out.String() != "anymx: interrupted\n" {
		t.Errorf("exit %d: %s", code, out.String())
	}
}

// On a real terminal delete --all asks, and Ctrl-C counts as an answer.
func terminal(t *testing.T, bin string) {
	for _, tt := range []struct {
		typed      string
		want, left int
	}{{"yes\n", exitOK, 1}, {"no\n", exitNo, 5}, {"\x03", exitInterrupted, 5}, {"\x04", exitNo, 5}} {
		node := controltest.New()
		socket, _ := controltest.Start(t, node, false)
		master, slave := openTerminal(t)
		cmd := exec.Command(bin, "queue", "delete", "--all", "--control", socket)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		slave.Close()
		screen := ""
		buf := make([]byte, 4096)
		master.SetDeadline(time.Now().Add(30 * time.Second)) // pty files have deadlines
		for answered := false; ; {
			n, err := master.Read(buf)
			screen += string(buf[:n])
			if err != nil { // EIO: the program has ended
				break
			}
			if !answered && strings.Contains(screen, "Type yes to go on: ") {
				answered = true
				if _, err := master.WriteString(tt.typed); err != nil {
					t.Fatal(err)
				}
			}
		}
		cmd.Wait() // the test checks the exit code
		if code := cmd.ProcessState.ExitCode(); code != tt.want || node.Len() != tt.left || !strings.Contains(screen, "Delete 5 messages for good?") {
			t.Errorf("%q: exit %d, %d messages left:\n%s", tt.typed, code, node.Len(), screen)
		}
	}
}

// openTerminal makes a pseudo terminal.
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	master = os.NewFile(uintptr(fd), "/dev/ptmx")
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}
