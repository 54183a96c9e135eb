package provision

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
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
	t    *testing.T
	root string
	o    Options
	out  bytes.Buffer
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
	n.o = Options{
		Root: n.root, Console: &n.out, Now: func() time.Time { return testTime },
		Group: func(name string) (int, error) { n.groups[name] = true; return os.Getgid(), nil },
	}
	return n
}

func (n *node) run() Report {
	n.t.Helper()
	n.out.Reset()
	r, err := Run(n.t.Context(), n.o)
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
	if n.o.Credentials == "" {
		n.o.Credentials = n.t.TempDir()
	}
	if err := os.WriteFile(filepath.Join(n.o.Credentials, name), data, 0o400); err != nil {
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

func TestProvisionFromESP(t *testing.T) {
	n := newNode(t)
	n.esp(goodFiles())
	r := n.run()
	if !r.OK() || !r.InForce || r.Source != "ESP" {
		t.Fatalf("%+v", r)
	}
	n.placed(goodFiles())
	if n.read("/run/anymx-config/source") != "ESP\n" {
		t.Error(n.read("/run/anymx-config/source"))
	}
	n.absent("/var/lib/anymx-machine/config")
	if root() && fmt.Sprint(n.groups) != "map[anymx:true anymx-edge:true anymx-net:true systemd-network:true]" {
		t.Errorf("groups %v", n.groups)
	}

	// The second run changes nothing, not even the files.
	before, err := os.Stat(n.root + "/run/anymx-config/anymx.toml")
	if err != nil {
		t.Fatal(err)
	}
	if r = n.run(); !r.OK() || r.Changed.Any() {
		t.Errorf("%+v", r.Changed)
	}
	after, err := os.Stat(n.root + "/run/anymx-config/anymx.toml")
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("it was replaced for nothing: %v", err)
	}
	n.placed(goodFiles())

	// A change is reported.
	changed := with(goodFiles(), "recipients.example.net", "only\n", "network/10-uplink.network", "-", "network/30-x.network", "[Match]\nName=x\n",
		"credentials/bgp.router1", "-", "anymx.toml", edit(t, "credential:bgp.router1", ""))
	n.esp(changed)
	r = n.run()
	want := "{[anymx.toml recipients.example.net] [credentials/bgp.router1] [network/30-x.network network/10-uplink.network]}"
	if got := fmt.Sprint(r.Changed); !r.OK() || got != want {
		t.Errorf("changed %s, want %s", got, want)
	}
	n.absent("/run/systemd/network/10-uplink.network", "/run/credstore/bgp.router1")
	if n.read("/run/anymx-config/recipients.example.net") != "only\n" {
		t.Error("the old list is in force")
	}
	last, err := Last(n.root)
	if err != nil || last.Source != "ESP" || fmt.Sprint(last.Changed) != want {
		t.Errorf("%+v, %v", last, err)
	}
}

// A file makes anymx-bgp start if the config announces prefixes.
func TestProvisionTellsTheSpeaker(t *testing.T) {
	n := newNode(t)
	n.esp(goodFiles())
	n.run()
	if got := n.read("/run/anymx-config/wants-bgp"); got != "" {
		t.Errorf("%q", got)
	}
	n.esp(map[string]string{"anymx.toml": "[node]\nname = \"a\"\nhostname = \"mx.example.net\"\n[core]\naddresses = [\"10.77.0.1:25\"]\n"})
	if r := n.run(); !r.OK() {
		t.Fatal(r.Text())
	}
	n.absent("/run/anymx-config/wants-bgp")
}

// An invalid bundle leaves no config at boot; later, the config in force stays.
func TestProvisionBad(t *testing.T) {
	n := newNode(t)
	bad := with(goodFiles(), "anymx.toml", edit(t, "asn = 64512", "asn = \"x\""), "tls/key.pem", "-", "network/99-all.network", "[Network]\n")
	n.esp(bad)
	r := n.run()
	n.absent("/run/systemd/network/99-all.network")
	if r.OK() || r.InForce || r.Source != "" || r.Taken != "ESP" || len(r.Problems) != 2 {
		t.Fatalf("%+v", r)
	}
	n.absent("/run/anymx-config/anymx.toml", "/run/anymx-config/shield.key", "/run/credstore/wg.key")
	for _, want := range []string{"this node has no valid config", "anymx.toml:30:bgp.asn: must be a whole number", "What to do:"} {
		if !strings.Contains(n.read("/run/anymx-config/problem"), want) {
			t.Errorf("%q is not in\n%s", want, n.read("/run/anymx-config/problem"))
		}
	}
	if got := n.read("/run/systemd/network/10-uplink.network"); got != goodFiles()["network/10-uplink.network"] {
		t.Errorf("the network was not set up: %q", got)
	}

	// After a correction, it is installed and the problem is gone.
	n.esp(goodFiles())
	if r = n.run(); !r.OK() {
		t.Fatal(r.Text())
	}
	n.placed(goodFiles())

	// Invalid again: the config in force stays unchanged to the last byte.
	n.esp(with(bad, "network/10-uplink.network", "[Match]\nName=other\n", "credentials/wg.key", "x"))
	r = n.run()
	if r.OK() || !r.InForce || r.Source != "ESP" || r.Changed.Any() || !strings.Contains(r.Text(), "The one from the ESP stays in force") {
		t.Errorf("%+v\n%s", r, r.Text())
	}
	n.placed(goodFiles())

	// The same if all sources are gone.
	if err := os.RemoveAll(n.root + "/efi"); err != nil {
		t.Fatal(err)
	}
	if r = n.run(); r.OK() || !r.InForce || r.Taken != "" {
		t.Errorf("%+v", r)
	}
	n.placed(goodFiles())
}

// At boot, a missing file only affects its own purpose. On a running node, such a config is refused
// and the current one stays.
func TestProvisionWithoutAFile(t *testing.T) {
	n := newNode(t)
	lacking := with(goodFiles(), "tls/key.pem", "-")
	n.esp(lacking)
	r := n.run()
	if !r.OK() || !r.InForce || len(r.Missing) != 1 || !strings.Contains(r.Text(), "tls/key.pem is missing beside anymx.toml") {
		t.Fatalf("%+v\n%s", r, r.Text())
	}
	if got := n.read("/run/anymx-config/anymx.toml"); got != lacking["anymx.toml"] {
		t.Errorf("placed: %q", got)
	}
	n.absent("/run/anymx-config/problem", "/run/anymx-config/tls/key.pem")
	n.esp(goodFiles())
	if r = n.run(); !r.OK() || len(r.Missing) != 0 {
		t.Fatal(r.Text())
	}
	n.esp(lacking)
	if r = n.run(); r.OK() || !r.InForce || len(r.Problems) != 1 || r.Changed.Any() {
		t.Errorf("%+v\n%s", r, r.Text())
	}
	n.placed(goodFiles())
}

func TestProvisionNothing(t *testing.T) {
	n := newNode(t)
	r := n.run()
	if r.OK() || r.InForce || r.Taken != "" || len(r.Looked) != 4 {
		t.Fatalf("%+v", r)
	}
	if text := n.read("/run/anymx-config/problem"); !strings.Contains(text, "this node has no config") || !strings.Contains(text, "labelled ANYMX") {
		t.Error(text)
	}
	n.absent("/run/anymx-config/anymx.toml")
}

func TestProvisionFromCredentials(t *testing.T) {
	n := newNode(t)
	n.esp(with(goodFiles(), "anymx.toml", "not TOML"))
	n.credential("anymx.tree", pack(t, goodFiles(), true))
	r := n.run()
	if !r.OK() || r.Source != "credential anymx.tree" || r.Looked[2].Found != "not read" {
		t.Fatalf("%+v", r)
	}
	n.placed(goodFiles())
	n.absent("/var/lib/anymx-machine/config") // it would come back otherwise

	// Only the config, with secrets from the system.
	n = newNode(t)
	alone := edit(t, "tls_cert = \"/etc/anymx/tls/cert.pem\"\ntls_key = \"/etc/anymx/tls/key.pem\"", "")
	alone = strings.Replace(alone, `"file:/etc/anymx/recipients.example.net"`, `"any"`, 1)
	alone = alone[:strings.Index(alone, "[shield]")]
	n.credential("anymx.config", []byte(alone))
	if r := n.run(); !r.OK() || len(r.Missing) != 2 {
		t.Errorf("without secrets: %s", r.Text())
	}
	writeTree(t, n.root+"/run/credentials/@system", map[string]string{"wg.key": hush[0], "bgp.router1": hush[1]})
	if r := n.run(); !r.OK() || r.Source != "credential anymx.config" {
		t.Errorf("with secrets: %s", r.Text())
	}
	n.absent("/run/credstore/wg.key")

	// A source that exists but can't be read is not skipped.
	n = newNode(t)
	n.esp(goodFiles())
	n.credential("anymx.tree", []byte("no tar"))
	if r := n.run(); r.OK() || r.Taken != "credential anymx.tree" || !strings.Contains(r.Text(), "tar:") {
		t.Errorf("%s", r.Text())
	}
}

// Foreign files for systemd-networkd stay.
func TestProvisionLeavesOthersNetwork(t *testing.T) {
	n := newNode(t)
	writeTree(t, n.root+"/run/systemd/network", map[string]string{"10-uplink.network": "[Match]\nName=ens3\n", "70-x.network": "x"})
	n.esp(goodFiles())
	r := n.run()
	if !r.OK() || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "10-uplink.network was not installed") {
		t.Errorf("%s", r.Text())
	}
	n.esp(with(goodFiles(), "network/10-uplink.network", "-", "network/20-vlan.netdev", "-"))
	if r = n.run(); !r.OK() {
		t.Errorf("%s", r.Text())
	}
	n.absent("/run/systemd/network/20-vlan.netdev")
	if n.read("/run/systemd/network/10-uplink.network") != "[Match]\nName=ens3\n" || n.read("/run/systemd/network/70-x.network") != "x" {
		t.Error("another's file was changed")
	}
}

// A machine that can't be written to is an error, and the config in force stays.
func TestProvisionWithoutRoom(t *testing.T) {
	n := newNode(t)
	n.esp(goodFiles())
	n.run()
	n.esp(with(goodFiles(), "recipients.example.net", "x\n"))
	n.o.Group = func(string) (int, error) { return 0, errors.New("no such group") }
	if root() {
		if _, err := Run(t.Context(), n.o); err == nil || !strings.Contains(err.Error(), "no such group") {
			t.Errorf("%v", err)
		}
		if err := os.RemoveAll(n.root + "/run/anymx-config.new"); err != nil {
			t.Fatal(err)
		}
		n.placed(goodFiles())
	}
	entries, err := os.ReadDir(n.root + "/run/credstore")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			t.Errorf("%s is left", e.Name())
		}
	}
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

func TestProvisionFromStick(t *testing.T) {
	for _, fsType := range []string{"ext4", "erofs"} {
		t.Run(fsType, func(t *testing.T) {
			n := newNode(t)
			before := mounts(t)
			inFolder := map[string]string{"lost.txt": "x"}
			for name, text := range goodFiles() {
				inFolder["anymx/"+name] = text
			}
			device := n.stick(fsType, inFolder, "ANYMX")
			r := n.run()
			if !r.OK() || r.Source != "file system ANYMX on "+device {
				t.Fatal(r.Text())
			}
			n.placed(goodFiles())
			if mounts(t) != before {
				t.Error("it is still mounted")
			}

			// The config was copied, so the stick may be removed.
			n.unplug()
			n.reboot()
			r = n.run()
			if want := "copy on /var, made 2026-05-01 12:00 UTC from the file system ANYMX on " + device; !r.OK() || r.Source != want {
				t.Fatalf("source %q, want %q\n%s", r.Source, want, r.Text())
			}
			n.placed(goodFiles())
			info, err := os.Stat(n.root + "/var/lib/anymx-machine/config/tree/credentials/wg.key")
			if err != nil || info.Mode() != 0o600 {
				t.Errorf("%v, %v", info.Mode(), err)
			}

			// The ESP takes precedence over the copy.
			n.esp(with(goodFiles(), "recipients.example.net", "esp\n"))
			if r = n.run(); r.Source != "ESP" {
				t.Error(r.Text())
			}
			if err := Forget(n.root); err != nil {
				t.Fatal(err)
			}
			n.absent("/var/lib/anymx-machine/config")
		})
	}
}

func TestProvisionSticks(t *testing.T) {
	t.Run("two", func(t *testing.T) {
		n := newNode(t)
		n.esp(goodFiles())
		a, b := n.stick("ext4", goodFiles(), "ANYMX"), n.stick("ext4", goodFiles(), "ANYMX")
		r := n.run()
		if r.OK() || !strings.Contains(r.Text(), "found 2, only one is allowed") || !strings.Contains(r.Text(), a) || !strings.Contains(r.Text(), b) {
			t.Error(r.Text())
		}
	})
	t.Run("another label", func(t *testing.T) {
		n := newNode(t)
		n.esp(goodFiles())
		n.stick("ext4", with(goodFiles(), "anymx.toml", "bad"), "OTHER")
		if r := n.run(); !r.OK() || r.Source != "ESP" {
			t.Error(r.Text())
		}
	})
	t.Run("no config on it", func(t *testing.T) {
		n := newNode(t)
		n.esp(goodFiles())
		n.stick("ext4", map[string]string{"photo.jpg": "x"}, "ANYMX")
		if r := n.run(); !r.OK() || r.Source != "ESP" || !strings.Contains(r.Looked[1].Found, "no anymx.toml at its top or in its folder") {
			t.Error(r.Text())
		}
	})
	t.Run("a bad config on it", func(t *testing.T) {
		n := newNode(t)
		n.esp(goodFiles())
		n.stick("ext4", with(goodFiles(), "anymx.toml", "bad"), "ANYMX")
		if r := n.run(); r.OK() || r.InForce {
			t.Error(r.Text())
		}
		n.absent("/var/lib/anymx-machine/config")
	})
	t.Run("the ESP has one too", func(t *testing.T) {
		n := newNode(t)
		n.esp(goodFiles())
		n.stick("ext4", goodFiles(), "ANYMX")
		if r := n.run(); !r.OK() || !strings.Contains(r.Text(), "the ESP has a config too") {
			t.Error(r.Text())
		}
	})
	t.Run("damaged", func(t *testing.T) {
		n := newNode(t)
		device := n.stick("ext4", goodFiles(), "ANYMX")
		f, err := os.OpenFile(device, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteAt(make([]byte, 4096), 0)
		if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
			t.Fatal(err)
		}
		if r := n.run(); r.OK() || !strings.Contains(r.Text(), "mount "+device+" as ext4: ") {
			t.Error(r.Text())
		}
	})
	t.Run("a type that is not mounted", func(t *testing.T) {
		n := newNode(t)
		writeTree(t, n.root, map[string]string{"sys/class/block/sdz1/dev": "8:401\n", "run/udev/data/b8:401": "E:ID_FS_LABEL=ANYMX\nE:ID_FS_TYPE=ntfs\n"})
		if r := n.run(); r.OK() || !strings.Contains(r.Text(), `/dev/sdz1 has a file system of type "ntfs"; use vfat`) {
			t.Error(r.Text())
		}
	})
	t.Run("a part of a mirror", func(t *testing.T) {
		n := newNode(t)
		writeTree(t, n.root, map[string]string{
			"sys/class/block/sdz1/dev": "8:401\n", "run/udev/data/b8:401": "E:ID_FS_LABEL=ANYMX\nE:ID_FS_TYPE=vfat\n",
			"sys/class/block/sdz1/holders/md0/dev": "9:0\n",
		})
		if r := n.run(); r.Taken != "" {
			t.Error(r.Text())
		}
	})
}

// A config of lower precedence than sticks is not used while udev has an unprocessed disk, which
// may be a stick. The wait for such a disk is limited.
func TestProvisionSettles(t *testing.T) {
	n := newNode(t)
	n.o.Settle, n.o.Now = time.Minute, nil
	n.esp(goodFiles())
	writeTree(t, n.root, map[string]string{"sys/class/block/sdz1/dev": "8:401\n", "sys/class/block/loop0/dev": "7:0\n"})
	time.AfterFunc(50*time.Millisecond, func() {
		writeTree(t, n.root, map[string]string{"run/udev/data/b8:401": "E:ID_FS_LABEL=ANYMX\nE:ID_FS_TYPE=ntfs\n"})
	})
	if r := n.run(); r.OK() || !strings.Contains(r.Text(), "/dev/sdz1") {
		t.Error(r.Text())
	}
	n.o.Settle = 300 * time.Millisecond
	writeTree(t, n.root, map[string]string{"run/udev/data/b8:401": "", "sys/class/block/sdy1/dev": "8:402\n"})
	if r := n.run(); !r.OK() || r.Source != "ESP" {
		t.Error(r.Text())
	}
}

// A stick that appears while the node waits is used.
func TestProvisionWaits(t *testing.T) {
	n := newNode(t)
	n.o.Wait, n.o.Now = time.Minute, nil
	done := make(chan Report, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	go func() {
		r, err := Run(ctx, n.o)
		if err != nil {
			t.Error(err)
		}
		done <- r
	}()
	aside := filepath.Join(t.TempDir(), "efi")
	writeTree(t, aside+"/anymx", goodFiles())
	if err := os.Rename(aside, n.root+"/efi"); err != nil {
		t.Fatal(err)
	}
	if r := <-done; !r.OK() || r.Source != "ESP" {
		t.Error(r.Text())
	}
}

// The copy is atomic: the previous one stays until the new one is complete.
func TestKeepReplaces(t *testing.T) {
	n := newNode(t)
	o := n.o.withDefaults()
	for _, recipients := range []string{"a\n", "b\n", "b\n"} {
		bundle := treeOf(with(goodFiles(), "recipients.example.net", recipients))
		writeTree(t, n.root+keptDir+aside, map[string]string{"tree/anymx.toml": "of a crash"})
		if err := o.keep(&Report{Source: "stick", At: testTime}, bundle); err != nil {
			t.Fatal(err)
		}
		got, err := readKept(n.root + keptDir)
		if err != nil || string(got.Files["recipients.example.net"]) != recipients || len(got.Files) != len(bundle.Files) {
			t.Errorf("%v, %v", got.Names(), err)
		}
	}
}

func TestServeTrouble(t *testing.T) {
	n := newNode(t)
	n.esp(with(goodFiles(), "anymx.toml", edit(t, "hostname", "hostnmae"), "network/<b>.network", "x"))
	n.run()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- ServeTrouble(ctx, TroubleOptions{Listener: l, Root: n.root, Version: "0.5.0"}) }()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(path, accept string) (int, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.Addr().String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if accept != "" {
			request.Header.Set("Accept", accept)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		quiet(t, string(text))
		return response.StatusCode, string(text)
	}
	for _, test := range []struct {
		path, accept string
		status       int
		want         string
	}{
		{"/", "*/*", 200, "anymx.toml:4:node.hostnmae: unknown key"},
		{"/", "*/*", 200, "anymx 0.5.0, looked at 2026-05-01 12:00:00 UTC"},
		{"/", "text/html,*/*", 200, "node.hostnmae: unknown key"},
		{"/", "text/html,*/*", 200, "network/&lt;b&gt;.network"},
		{"/", "application/json", 200, `"configured": false`},
		{"/v1/status", "", 200, `"key": "node.hostnmae"`},
		{"/healthz", "", 200, "alive"},
		{"/readyz", "", 503, "not ready"},
		{"/etc/anymx/anymx.toml", "", 404, "not found"},
	} {
		if status, text := get(test.path, test.accept); status != test.status || !strings.Contains(text, test.want) {
			t.Errorf("%s %s: %d, want %d and %q:\n%s", test.path, test.accept, status, test.status, test.want, text)
		}
	}
	var said Trouble
	if _, text := get("/v1/status", ""); json.Unmarshal([]byte(text), &said) != nil || len(said.Report.Problems) == 0 || said.Advice == "" {
		t.Errorf("%+v", said)
	}
	if response, err := client.Post("http://"+l.Addr().String()+"/", "text/plain", strings.NewReader("x")); err != nil || response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %v, %v", response, err)
	} else {
		response.Body.Close()
	}

	// A client that opens many connections only gets a few.
	var open []net.Conn
	refused := 0
	for range 2 * troubleConnections {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	for _, c := range open {
		c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); err == io.EOF || errors.Is(err, syscall.ECONNRESET) {
			refused++
		}
		c.Close()
	}
	if refused < troubleConnections/2 {
		t.Errorf("%d of %d connections were refused", refused, len(open))
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Without a report, there is still a page.
func TestServeTroubleWithoutReport(t *testing.T) {
	o := TroubleOptions{Root: t.TempDir(), Version: "0.5.0", Log: nil}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.Listener = l
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- ServeTrouble(ctx, o) }()
	response, err := http.Get("http://" + l.Addr().String() + "/")
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil || !strings.Contains(string(text), "provisioning left no report") {
		t.Errorf("%s, %v", text, err)
	}
	http.DefaultClient.CloseIdleConnections()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
