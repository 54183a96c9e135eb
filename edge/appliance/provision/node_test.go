package provision

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func mkfifo(path string) error { return syscall.Mkfifo(path, 0o600) }

// node is the root directory of a node.
type node struct {
	t       *testing.T
	root    string
	options Options
	out     bytes.Buffer
	// groups that were looked up
	groups map[string]bool
}

func newNode(t *testing.T) *node {
	n := &node{t: t, root: t.TempDir(), groups: map[string]bool{}}
	for _, dir := range []string{"/run", "/var/lib"} {
		if err := os.MkdirAll(n.root+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	n.options = Options{
		Root: n.root, Console: &n.out, Now: func() time.Time { return testTime },
		Group: func(name string) (int, error) { n.groups[name] = true; return os.Getgid(), nil },
	}
	return n
}

func (n *node) run() Report {
	n.t.Helper()
	n.out.Reset()
	r, err := Run(n.t.Context(), n.options)
	if err != nil {
		n.t.Fatal(err)
	}
	quiet(n.t, n.out.String())
	if n.out.String() != r.Text() {
		n.t.Errorf("the console got\n%s\nthe report is\n%s", n.out.String(), r.Text())
	}
	return r
}

func (n *node) esp(files map[string]string) {
	n.t.Helper()
	if err := os.RemoveAll(n.root + "/efi/anymx"); err != nil {
		n.t.Fatal(err)
	}
	writeTree(n.t, n.root+"/efi/anymx", files)
}

func (n *node) credential(name string, data []byte) {
	n.t.Helper()
	if n.options.Credentials == "" {
		n.options.Credentials = n.t.TempDir()
	}
	if err := os.WriteFile(filepath.Join(n.options.Credentials, name), data, 0o400); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) read(name string) string {
	n.t.Helper()
	data, err := os.ReadFile(n.root + name)
	if err != nil {
		n.t.Fatal(err)
	}
	return string(data)
}

func (n *node) absent(names ...string) {
	n.t.Helper()
	for _, name := range names {
		if _, err := os.Lstat(n.root + name); !errors.Is(err, fs.ErrNotExist) {
			n.t.Errorf("%s is there: %v", name, err)
		}
	}
}

// placed checks that a valid bundle is in force, with the right owners and modes.
func (n *node) placed(files map[string]string) {
	n.t.Helper()
	modes := map[string]fs.FileMode{
		"/run/anymx-config/anymx.toml": 0o640, "/run/anymx-config/tls/key.pem": 0o640, "/run/credstore/wg.key": 0o600,
		"/run/systemd/network/10-uplink.network": 0o644, "/run/systemd/network/20-vlan.netdev": 0o640, "/run/anymx-config": 0o750 | fs.ModeDir,
		"/run/anymx-config/tls": 0o750 | fs.ModeDir,
	}
	for name, want := range modes {
		info, err := os.Lstat(n.root + name)
		if err != nil || info.Mode() != want {
			n.t.Errorf("%s: %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
	for name, text := range files {
		at := "/run/anymx-config/" + name
		if rest, ok := strings.CutPrefix(name, "credentials/"); ok {
			at = "/run/credstore/" + rest
		} else if rest, ok := strings.CutPrefix(name, "network/"); ok {
			at = "/run/systemd/network/" + rest
		}
		if got := n.read(at); got != text {
			n.t.Errorf("%s is %q", at, got)
		}
	}
	n.absent("/run/anymx-config/problem", "/run/anymx-config/credentials", "/run/anymx-config/network", "/run/anymx-config.new")
}

// stick creates a file system with a bundle on a loop device and a udev record for it.
func (n *node) stick(fsType string, files map[string]string, label string) (device string) {
	n.t.Helper()
	if os.Geteuid() != 0 {
		n.t.Skip("loop devices and mounts need root")
	}
	dir, image := n.t.TempDir(), filepath.Join(n.t.TempDir(), "stick")
	writeTree(n.t, dir, files)
	var cmd *exec.Cmd
	switch fsType {
	case "ext4":
		cmd = exec.Command("mkfs.ext4", "-q", "-L", label, "-d", dir, image, "16M")
	case "erofs":
		cmd = exec.Command("mkfs.erofs", image, dir) // not every version can set a label; the udev record below has it
	}
	if out, err := cmd.CombinedOutput(); errors.Is(err, exec.ErrNotFound) {
		n.t.Skipf("%s is not here", cmd.Path)
	} else if err != nil {
		n.t.Fatalf("%v: %s", err, out)
	}
	out, err := exec.Command("losetup", "--find", "--show", image).CombinedOutput()
	if err != nil {
		n.t.Skipf("no loop device here: %v: %s", err, out)
	}
	device = strings.TrimSpace(string(out))
	n.t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil {
			n.t.Errorf("losetup: %v: %s", err, out)
		}
	})
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil {
		n.t.Fatal(err)
	}
	number := fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	writeTree(n.t, n.root, map[string]string{
		"sys/class/block/" + filepath.Base(device) + "/dev": number + "\n",
		"run/udev/data/b" + number:                          "I:1\nE:ID_FS_LABEL=" + label + "\nE:ID_FS_TYPE=" + fsType + "\n",
	})
	if err := os.MkdirAll(n.root+"/dev", 0o755); err != nil {
		n.t.Fatal(err)
	}
	if err := os.Symlink(device, n.root+device); err != nil {
		n.t.Fatal(err)
	}
	return device
}

// unplug removes all sticks from udev's records.
func (n *node) unplug() {
	n.t.Helper()
	if err := os.RemoveAll(n.root + "/run/udev"); err != nil {
		n.t.Fatal(err)
	}
}

// reboot removes everything that is in memory.
func (n *node) reboot() {
	n.t.Helper()
	if err := errors.Join(os.RemoveAll(n.root+"/run"), os.Mkdir(n.root+"/run", 0o755)); err != nil {
		n.t.Fatal(err)
	}
}

func mounts(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
