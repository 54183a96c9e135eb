package control

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestListenMode(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o077, 0o777} {
		path := filepath.Join(t.TempDir(), "s")
		old := syscall.Umask(umask)
		l, err := Listen(path)
		syscall.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode(); got != fs.ModeSocket|socketMode {
			t.Errorf("umask %03o: mode %v, want %v", umask, got, fs.ModeSocket|socketMode)
		}
		l.Close()
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the socket is still there after Close: %v", err)
		}
	}
}

// The mode that Listen sets before bind must keep others out until chmod.
func TestListenHasNoOpenMoment(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	dir := t.TempDir()
	plain, err := net.Listen("unix", filepath.Join(dir, "plain"))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	ours, err := listenUnix(filepath.Join(dir, "ours"))
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	for name, want := range map[string]fs.FileMode{"plain": 0o777, "ours": socketMode} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s: mode %v right after bind, want %v", name, got, want)
		}
	}
}

func TestListenReplacesDeadSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Fatalf("no dead socket to start with: %v", err)
	}
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("the new socket does not answer: %v", err)
	}
	c.Close()
}

func TestListenLeavesLiveSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := Listen(path); !errors.Is(err, ErrSocketLive) {
		t.Fatalf("second Listen: %v, want ErrSocketLive", err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("the first socket was harmed: %v", err)
	}
	c.Close()
}

// A live process that accepts nothing has a full backlog. Connect then fails unlike it does for a
// dead socket, and does not succeed either.
func TestListenLeavesBusySocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	full := false
	for range 16 {
		c, err := net.Dial("unix", path)
		if full = errors.Is(err, syscall.EAGAIN); full {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if !full {
		t.Fatal("the backlog does not fill up")
	}
	if _, err := Listen(path); !errors.Is(err, ErrSocketLive) {
		t.Fatalf("Listen: %v, want ErrSocketLive", err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Fatalf("the live socket was removed: %v", err)
	}
}

func TestListenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("keep me"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ path, want string }{
		{file, "it exists and is not a socket"},
		{link, "it exists and is not a socket"},
		{dir, "it exists and is not a socket"},
		{filepath.Join(dir, "missing", "s"), "its directory does not exist"},
		{filepath.Join(file, "s"), "not a directory"},
		{filepath.Join(dir, strings.Repeat("x", 120)), "bytes long; at most 107 fit"},
	} {
		l, err := Listen(tt.path)
		if err == nil {
			l.Close()
			t.Errorf("%s: no error", tt.path)
		} else if !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.path) {
			t.Errorf("%s: error %q does not say %q", tt.path, err, tt.want)
		}
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "keep me" {
		t.Errorf("the file that stood there was harmed: %q, %v", text, err)
	}
}
