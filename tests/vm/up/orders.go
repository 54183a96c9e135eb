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

// The running program takes orders on a unix socket in its state directory: a line
// with a command; what it answers goes to the other end as it comes. "console" is
// the console's octets instead.

// errNone says that nothing runs.
var errNone = errors.New("there is no machine; `make qemu` starts one")

// socketIn is the path of a state directory's socket, however long that of the
// directory is. The file must stay open while it is used.
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

// order has the running program do something, and prints its answer. An answer
// that ends with "failed: ..." is an error.
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

// listen opens the socket. That of a program that was killed is taken over; another
// one that runs is an error.
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
	l.(*net.UnixListener).SetUnlinkOnClose(false) // its path is not what it was
	return l, nil
}

// take takes orders until ctx ends. do carries one out, and tells out how it goes;
// console attaches a connection.
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

// line reads one, and nothing after it: that is the console's.
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
