package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"anymx/tests/kit"
)

// insideFlag is the first argument of the ladder when `go test -exec` runs it with a test binary.
const insideFlag = "-inside"

// namespaceWorks reports whether this process may make network namespaces.
func namespaceWorks() error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		done <- kit.EnterNamespace()
	}()
	return <-done
}

// runInside runs a test binary in a network namespace of its own and returns its exit code. The
// namespace has routes to loopback only, so no test can reach the machine's network, and one that
// tries fails its package. Namespaces that a test makes itself are not counted.
func runInside(args []string, out io.Writer) (int, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := kit.EnterNamespace(); err != nil {
		return 0, err
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// A Ctrl-C reaches the whole process group; other signals of the Go command are passed on.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGQUIT)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-signals:
				if s != unix.SIGINT {
					_ = cmd.Process.Signal(s) // it may have just ended
				}
			case <-ended:
				return
			}
		}
	}()
	err := cmd.Wait()
	close(ended)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	code := cmd.ProcessState.ExitCode()
	if code < 0 { // a signal ended it
		code = 1
	}
	refused, err := unroutable()
	if err != nil {
		return 0, err
	}
	if refused > 0 {
		fmt.Fprintf(out, "%d attempts to reach an address outside of this machine: use loopback, or a network namespace that the test makes\n", refused)
		if code == 0 {
			code = 1
		}
	}
	return code, nil
}

// unroutable returns how often the kernel refused to send from the thread's network namespace because
// there was no route.
func unroutable() (int, error) {
	v4, err := os.ReadFile("/proc/thread-self/net/snmp")
	if err != nil {
		return 0, err
	}
	v6, err := os.ReadFile("/proc/thread-self/net/snmp6")
	if err != nil && !errors.Is(err, os.ErrNotExist) { // no IPv6 in this kernel
		return 0, err
	}
	return noRoutes4(string(v4)) + noRoutes6(string(v6)), nil
}

// noRoutes4 reads OutNoRoutes of Ip in /proc/net/snmp, which has a line of names before each line of
// values.
func noRoutes4(text string) int {
	var names []string
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) == 0 || words[0] != "Ip:" {
			continue
		}
		for i, name := range names {
			if name == "OutNoRoutes" && i < len(words) {
				n, _ := strconv.Atoi(words[i]) // the kernel writes numbers
				return n
			}
		}
		names = words
	}
	return 0
}

// noRoutes6 reads Ip6OutNoRoutes in /proc/net/snmp6, which has a name and a value in each line.
func noRoutes6(text string) int {
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) == 2 && words[0] == "Ip6OutNoRoutes" {
			n, _ := strconv.Atoi(words[1]) // the kernel writes numbers
			return n
		}
	}
	return 0
}
