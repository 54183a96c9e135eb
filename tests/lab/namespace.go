package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// namespaces is where iproute2 keeps named namespaces.
const namespaces = "/run/netns"

// Namespace is a network of its own: interfaces, addresses, routes, sockets.
type Namespace struct {
	Name string // for `ip netns`
	file *os.File
}

// newNamespace creates a namespace and brings lo up.
func newNamespace(ctx context.Context, name string) (*Namespace, error) {
	if err := ip(ctx, "netns", "add", name); err != nil {
		return nil, err
	}
	n, err := openNamespace(name)
	if err != nil {
		return nil, err
	}
	if err := n.IP(ctx, "link", "set", "lo", "up"); err != nil {
		return nil, errors.Join(err, n.file.Close())
	}
	return n, nil
}

// openNamespace opens an existing namespace.
func openNamespace(name string) (*Namespace, error) {
	file, err := os.Open(filepath.Join(namespaces, name))
	if err != nil {
		return nil, fmt.Errorf("namespace %s: %w", name, err)
	}
	return &Namespace{Name: name, file: file}, nil
}

// Do runs f inside the namespace: sockets that f creates belong to it, wherever they are used
// later. f must create them on its own goroutine.
func (n *Namespace) Do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		// It is never unlocked: the thread ends with the goroutine, so no other goroutine can end
		// up in this namespace.
		runtime.LockOSThread()
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("entering namespace %s: %w", n.Name, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// Dial connects to an IP address and port from inside.
func (n *Namespace) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var conn net.Conn
	err := n.Do(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens inside, after config has set options on the socket.
func (n *Namespace) Listen(config net.ListenConfig, address string) (net.Listener, error) {
	config.SetMultipathTCP(false) // TCP MD5 and MPTCP exclude each other
	var l net.Listener
	err := n.Do(func() (err error) {
		l, err = config.Listen(context.Background(), "tcp", address)
		return err
	})
	return l, err
}

// Sysctl writes a value below /proc/sys/net.
func (n *Namespace) Sysctl(name, value string) error {
	return n.Do(func() error {
		return os.WriteFile(filepath.Join("/proc/sys/net", name), []byte(value), 0)
	})
}

// IP runs `ip` inside.
func (n *Namespace) IP(ctx context.Context, args ...string) error {
	return ip(ctx, append([]string{"-netns", n.Name}, args...)...)
}

// Output runs a command inside and returns what it prints.
func (n *Namespace) Output(ctx context.Context, args ...string) (string, error) {
	return output(ctx, "ip", append([]string{"netns", "exec", n.Name}, args...)...)
}

// removeNamespace kills all processes in a namespace, which were all started by the lab, and
// removes it.
func removeNamespace(ctx context.Context, name string) error {
	for range 100 {
		pids, err := pidsIn(ctx, name)
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			break
		}
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL) // it may have just ended
		}
		time.Sleep(10 * time.Millisecond)
	}
	return ip(ctx, "netns", "delete", name)
}

// pidsIn lists the processes in a namespace, except this one, which may have a thread inside.
func pidsIn(ctx context.Context, name string) ([]int, error) {
	text, err := output(ctx, "ip", "netns", "pids", name)
	if err != nil {
		return nil, err
	}
	var pids []int
	for word := range strings.FieldsSeq(text) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			return nil, fmt.Errorf("ip netns pids: %w", err)
		}
		if pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// ip runs iproute2's program.
func ip(ctx context.Context, args ...string) error {
	_, err := output(ctx, "ip", args...)
	return err
}

// output returns what a program prints. Its error includes what the program wrote to stderr.
func output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, lookUp(name), args...)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.Output()
	if err == nil {
		return string(out), nil
	}
	var exit *exec.ExitError
	said := string(out)
	if errors.As(err, &exit) {
		said += string(exit.Stderr)
	}
	return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(said))
}

// lookUp finds a program, even if it is not in the user's PATH.
func lookUp(name string) string {
	for _, dir := range []string{"", "/usr/sbin", "/sbin", "/usr/lib/frr"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	return name
}
