package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// The running program takes commands on a unix socket in its state directory: it reads a line with
// a command and streams the reply. After the command "console", the connection carries the
// console's bytes.

// errNone reports that nothing is running.
var errNone = errors.New("there is no machine; `make qemu` starts one")

// socketIn returns a path for the socket of a state directory that is short enough, whatever the
// length of the directory's path. The file must stay open while the path is used.
func socketIn(state string) (*os.File, string, error) {
	dir, err := os.Open(state)
	if err != nil {
		return nil, "", err
	}
	return dir, fmt.Sprintf("/proc/self/fd/%d/control", dir.Fd()), nil
}

func dial(state string) (net.Conn, error) {
	dir, name, err := socketIn(state)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errNone
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	conn, err := net.Dial("unix", name)
	if err != nil {
		return nil, errNone
	}
	return conn, nil
}

// order sends a command to the running program and prints its reply. A reply that ends with
// "failed: ..." is an error.
func order(ctx context.Context, state, command string) error {
	conn, err := dial(state)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if _, err := fmt.Fprintln(conn, command); err != nil {
		return err
	}
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		if why, failed := strings.CutPrefix(lines.Text(), "failed: "); failed {
			return errors.New(why)
		}
		fmt.Println(lines.Text())
	}
	return lines.Err()
}

// listen opens the socket. It replaces the socket of a killed program; if another program is
// running, that is an error.
func listen(state string) (net.Listener, error) {
	if conn, err := dial(state); err == nil {
		_ = conn.Close()
		return nil, errors.New("a machine runs already; `bin/.qemu down` ends it")
	}
	if err := os.Remove(filepath.Join(state, "control")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	dir, name, err := socketIn(state)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	l, err := net.Listen("unix", name)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // its path may no longer lead to it
	return l, nil
}

// take accepts commands until ctx ends. do executes one and reports its progress to out; console
// attaches a connection.
func take(ctx context.Context, l net.Listener, do func(ctx context.Context, command string, out io.Writer) error, console func(ctx context.Context, conn net.Conn)) {
	var under sync.WaitGroup
	defer under.Wait()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		under.Go(func() {
			defer conn.Close()
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer stop()
			if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				return
			}
			command, err := line(conn)
			if err != nil || conn.SetReadDeadline(time.Time{}) != nil {
				return
			}
			if command == "console" {
				console(ctx, conn)
				return
			}
			if err := do(ctx, command, conn); err != nil {
				fmt.Fprintf(conn, "failed: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
			}
		})
	}
}

// line reads a single line and nothing beyond it, which would belong to the console.
func line(r io.Reader) (string, error) {
	var text []byte
	one := make([]byte, 1)
	for len(text) < 100 {
		if _, err := io.ReadFull(r, one); err != nil {
			return "", err
		}
		if one[0] == '\n' {
			return string(text), nil
		}
		text = append(text, one[0])
	}
	return "", errors.New("no order is that long")
}
