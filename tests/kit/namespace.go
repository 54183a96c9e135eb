package kit

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// EnterNamespace moves the calling thread into a new network namespace in which only loopback is
// up, so that what it dials never reaches the network of the machine. The caller has locked its
// goroutine to the thread.
func EnterNamespace() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	return loopback()
}

// loopback sets lo up in the thread's namespace.
func loopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("setting lo up: %w", err)
	}
	return nil
}

// inside is set in the environment of the child.
const inside = "ANYMX_TEST_NETNS"

// missing is why there is no namespace.
var missing = "TestMain does not call kit.InNamespace"

// InNamespace runs the tests of a package by run, which is the rest of its TestMain, in a network
// namespace of their own with loopback and no way out, and returns the exit code. It starts the
// test binary again as a child in the namespace. Root creates it directly; other users need a user
// namespace, in which they keep their ids. Where neither can be created the tests run without, and
// those that call NeedNamespace are skipped.
func InNamespace(run func() int) int {
	if os.Getenv(inside) != "" {
		missing = ""
		if err := loopback(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		// Nobody but root has this capability in a test.
		_ = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
		_ = os.Unsetenv(inside) // tests start the binary again, too
		return run()
	}
	if slices.ContainsFunc(os.Args, func(arg string) bool { return strings.HasPrefix(arg, "-test.fuzzworker") }) {
		missing = "" // the fuzzer that started it is inside, and talks to it by open files
		return run()
	}
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if uid, gid := os.Geteuid(), os.Getegid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
		cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN}
	}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return max(1, exit.ExitCode()) // -1 where a signal ended it
	case err != nil:
		missing = err.Error()
		return run()
	}
	return 0
}

// NeedNamespace skips a test that dials where it would use the network of the machine.
func NeedNamespace(t interface {
	Helper()
	Skip(args ...any)
}) {
	t.Helper()
	if missing != "" {
		t.Skip("needs a network namespace: " + missing)
	}
}
