package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// socketMode lets the owner and the group of the node use its socket.
const socketMode = 0o660

// maxSocketPath is what fits into a unix socket address, in octets.
const maxSocketPath = 107

// ErrSocketLive is wrapped by Listen's error when another process answers on
// the socket.
var ErrSocketLive = errors.New("another process answers on it")

// Listen makes the control socket at path, mode 0660, with the group of the
// process. Its directory must exist. A socket that nobody answers on is what a
// process that died left behind, and is replaced; one that is answered is an
// error (ErrSocketLive), and so is anything there that is no socket. Closing
// the listener removes the socket.
//
// Two processes that start in the same instant could both find the same dead
// socket. What keeps two nodes apart is the lock of their spool, which is
// taken first.
func Listen(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("control socket %s: the path is %d octets long; at most %d fit a unix socket",
			path, len(path), maxSocketPath)
	}
	if _, err := os.Stat(filepath.Dir(path)); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("control socket %s: its directory does not exist: %w", path, err)
	}
	if err := removeDead(path); err != nil {
		return nil, fmt.Errorf("control socket %s: %w", path, err)
	}
	l, err := listenUnix(path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(path, socketMode); err != nil { // what a strict umask took away
		return nil, fmt.Errorf("control socket: %w", errors.Join(err, l.Close()))
	}
	return l, nil
}

// listenUnix binds path. The mode that the socket has before bind is the most
// that its file gets, so that there is no moment in which others may connect,
// whatever the umask.
func listenUnix(path string) (net.Listener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var modeErr error
		err := c.Control(func(fd uintptr) { modeErr = syscall.Fchmod(int(fd), socketMode) })
		return errors.Join(err, modeErr)
	}}
	return lc.Listen(context.Background(), "unix", path)
}

// removeDead makes room at path.
func removeDead(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("something that is no socket stands there; move it away")
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		return errors.Join(ErrSocketLive, c.Close())
	case errors.Is(err, syscall.EAGAIN) || isTimeout(err): // its backlog is full, so it has one
		return ErrSocketLive
	case !errors.Is(err, syscall.ECONNREFUSED):
		return err
	}
	return os.Remove(path)
}
