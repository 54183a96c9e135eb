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

// maxSocketPath is the longest path in a unix socket address, in bytes.
const maxSocketPath = 107

// ErrSocketLive is wrapped by Listen's error when another process answers on
// the socket.
var ErrSocketLive = errors.New("another process answers on it")

// Listen creates the control socket at path, mode 0660, with the group of the process. Its
// directory must exist. A socket that does not answer was left by a process that died, and is
// replaced; one that answers is an error (ErrSocketLive), and so is a file that is not a socket.
// Closing the listener removes the socket.
//
// Two processes that start in the same instant could both find the same dead socket. The lock of
// the spool, which is taken first, keeps two nodes apart.
func Listen(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("control socket %s: the path is %d bytes long; at most %d fit a unix socket",
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
	if err := os.Chmod(path, socketMode); err != nil { // undoes a strict umask
		return nil, fmt.Errorf("control socket: %w", errors.Join(err, l.Close()))
	}
	return l, nil
}

// listenUnix binds path. The file of a socket never gets more permissions than the socket had
// before bind, so that there is no moment in which others could connect, whatever the umask.
func listenUnix(path string) (net.Listener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var modeErr error
		err := c.Control(func(fd uintptr) { modeErr = syscall.Fchmod(int(fd), socketMode) })
		return errors.Join(err, modeErr)
	}}
	return lc.Listen(context.Background(), "unix", path)
}

// removeDead removes a dead socket at path.
func removeDead(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("it exists and is not a socket; move it away")
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		return errors.Join(ErrSocketLive, c.Close())
	case errors.Is(err, syscall.EAGAIN) || isTimeout(err): // a full backlog means a live process
		return ErrSocketLive
	case !errors.Is(err, syscall.ECONNREFUSED):
		return err
	}
	return os.Remove(path)
}
