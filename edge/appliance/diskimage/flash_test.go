package diskimage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"anymx/tests/kit"
)

// bootable returns a disk image with a file system in it, followed by random data.
func bootable(t testing.TB) []byte {
	t.Helper()
	image, err := os.ReadFile(disk(t, 48<<20, "label: gpt\nstart=2048, size=73728, type=uefi, name=esp\nsize=8192, type=linux, name=anymx_0.5.0\n"))
	if err != nil {
		t.Fatal(err)
	}
	fat, err := os.ReadFile(fatImage(t, 36<<20, "-F", "32"))
	if err != nil {
		t.Fatal(err)
	}
	copy(image[1<<20:], fat)
	r := rand.New(rand.NewPCG(1, 2))
	for i := 38 << 20; i < 40<<20; i++ {
		image[i] = byte(r.Uint32())
	}
	return image
}

// target creates a file that simulates a disk full of old data.
func target(t testing.TB, size int64) *os.File {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "target"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.Write(bytes.Repeat([]byte("old!"), int(size/4))); err != nil {
		t.Fatal(err)
	}
	return f
}

func flash(ctx context.Context, image io.Reader, to *os.File, size int64, told func(Progress)) (Flashed, error) {
	head, err := ReadHead(image)
	if err != nil {
		return Flashed{}, err
	}
	return Flash(ctx, head, FlashOptions{Image: image, Disk: to, Size: size, Told: told})
}

func TestFlash(t *testing.T) {
	image := bootable(t)
	const size = 64 << 20
	to := target(t, size)
	var stages []Stage
	got, err := flash(t.Context(), bytes.NewReader(image), to, size, func(p Progress) {
		if len(stages) == 0 || stages[len(stages)-1] != p.Stage {
			stages = append(stages, p.Stage)
		}
		if p.Total > 0 && p.Done > p.Total {
			t.Errorf("%+v", p)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%x", sha256.Sum256(image)); got.SHA256 != want || got.Size != int64(len(image)) {
		t.Errorf("%+v, want %s", got, want)
	}
	if fmt.Sprint(stages) != "[writing syncing verifying]" {
		t.Errorf("stages %v", stages)
	}
	disk, err := os.ReadFile(to.Name())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(disk[:len(image)], image) {
		t.Error("the disk differs from the image")
	}
	if !bytes.Equal(disk[size-headSize:], make([]byte, headSize)) {
		t.Error("the end of the disk is not wiped")
	}
	table, err := ReadTable(to, size)
	if err != nil || table.Damage() != "" {
		t.Errorf("%+v, %v", table, err)
	}
	run(t, "", kit.Tool(t, "sgdisk", "gdisk"), "-p", to.Name())
}

// A partially written disk has no partition table, wherever the write was interrupted.
func TestFlashInterrupted(t *testing.T) {
	image := bootable(t)
	for name, test := range map[string]struct {
		image io.Reader
		stop  int64 // cancel after so many bytes; 0: never
		want  string
	}{
		"cancelled":   {bytes.NewReader(image), 20 << 20, context.Canceled.Error()},
		"cut short":   {bytes.NewReader(image[:30<<20]), 0, "cut short"},
		"read error":  {io.MultiReader(bytes.NewReader(image[:30<<20]), broken{}), 0, "input/output error"},
		"much larger": {io.MultiReader(bytes.NewReader(image), bytes.NewReader(image)), 0, "larger than the disk"},
	} {
		to := target(t, 64<<20)
		ctx, cancel := context.WithCancel(t.Context())
		_, err := flash(ctx, test.image, to, 64<<20, func(p Progress) {
			if test.stop > 0 && p.Done >= test.stop {
				cancel()
			}
		})
		cancel()
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
		if _, err := ReadTable(to, 64<<20); !errors.Is(err, ErrNoTable) {
			t.Errorf("%s: a table is there: %v", name, err)
		}
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, unix.EIO }

func TestFlashRefuses(t *testing.T) {
	image := bootable(t)
	to := target(t, 40<<20)
	if _, err := flash(t.Context(), bytes.NewReader(image), to, 40<<20, nil); err == nil || !strings.Contains(err.Error(), "needs 50331648 bytes, the disk has 41943040") {
		t.Errorf("too small: %v", err)
	}
	for name, head := range map[string][]byte{"no image": []byte("#!/bin/sh\n"), "empty": nil, "zeros": make([]byte, 2<<20)} {
		if _, err := ReadHead(bytes.NewReader(head)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	old, err := os.ReadFile(to.Name())
	if err != nil || !bytes.HasPrefix(old, []byte("old!old!")) {
		t.Errorf("the disk was written to: %v", err)
	}
}

// A disk that returns other data than was written is detected.
func TestFlashFindsABadDisk(t *testing.T) {
	image := bootable(t)
	to := target(t, 64<<20)
	spoiled := false
	_, err := flash(t.Context(), bytes.NewReader(image), to, 64<<20, func(p Progress) {
		if p.Stage == Verifying && !spoiled {
			spoiled = true
			if _, err := to.WriteAt([]byte("worn out"), 30<<20); err != nil {
				t.Error(err)
			}
		}
	})
	if err == nil || !strings.Contains(err.Error(), "differs from the image") {
		t.Errorf("%v", err)
	}
}

// loop attaches a file to a loop device.
func loop(t *testing.T, file string, options ...string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("loop devices need root")
	}
	losetup := kit.Tool(t, "losetup", "mount")
	out, err := exec.Command(losetup, append(options, "--find", "--show", file)...).CombinedOutput()
	if err != nil {
		t.Skipf("no loop device here: %v: %s", err, out)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command(losetup, "--detach", device).CombinedOutput(); err != nil {
			t.Errorf("losetup --detach %s: %v: %s", device, err, out)
		}
	})
	return device
}

func TestFlashToBlockDevice(t *testing.T) {
	image := bootable(t)
	to := target(t, 64<<20)
	device := loop(t, to.Name())
	d, f, err := OpenDrive(device)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if d.Size != 64<<20 || d.File || d.Name != filepath.Base(device) || !strings.Contains(d.Model, to.Name()) {
		t.Errorf("%+v", d)
	}
	if _, _, err := OpenDrive(device); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("opened twice: %v", err)
	}
	if _, err := flash(t.Context(), bytes.NewReader(image), f, d.Size, nil); err != nil {
		t.Fatal(err)
	}
	disk, err := os.ReadFile(to.Name())
	if err != nil || !bytes.Equal(disk[:len(image)], image) {
		t.Errorf("the disk differs from the image: %v", err)
	}
}

// OpenDrive refuses drives that must not be written to. This uses real devices where the machine
// has them.
func TestOpenDriveRefuses(t *testing.T) {
	check := func(name, path, want string) {
		t.Helper()
		_, f, err := OpenDrive(path)
		if f != nil {
			f.Close()
		}
		var refused *Refusal
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	check("a directory", t.TempDir(), "neither a block device nor a file")
	check("a character device", "/dev/null", "neither a block device nor a file")

	file := target(t, 8<<20).Name()
	other, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	lock := unix.Flock_t{Type: unix.F_RDLCK, Start: 100, Len: 1} // as QEMU does
	if err := unix.FcntlFlock(other.Fd(), unix.F_OFD_SETLK, &lock); err != nil {
		t.Fatal(err)
	}
	check("a locked file", file, "a virtual machine")
	other.Close()

	t.Run("loop", func(t *testing.T) {
		device := loop(t, file)
		check("an attached file", file, "attached to "+device)
		run(t, "", kit.Tool(t, "mkfs.ext4", "e2fsprogs"), "-q", "-F", device)
		dir := t.TempDir()
		if out, err := exec.Command("mount", device, dir).CombinedOutput(); err != nil {
			t.Skipf("mount: %v: %s", err, out)
		}
		check("a mounted disk", device, "mounted at "+dir)
		run(t, "", "umount", dir)
		check("read-only", loop(t, target(t, 8<<20).Name(), "--read-only"), "read-only")
		mkswap, swapon := kit.Tool(t, "mkswap", "util-linux"), kit.Tool(t, "swapon", "mount")
		run(t, "", mkswap, device)
		if out, err := exec.Command(swapon, device).CombinedOutput(); err != nil {
			t.Skipf("swapon: %v: %s", err, out)
		}
		check("swap space", device, "swap space in use")
		run(t, "", kit.Tool(t, "swapoff", "mount"), device)
	})
}

// Partitions, mirrors and the system disk are recognized by what the kernel reports, here in a
// directory of the test's own.
func TestFree(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, disk := range []string{"sda 8:0 8:1", "sdb 8:16 8:17", "sdc 8:32 8:33", "sdd 8:48 8:49", "sde 8:64 8:65"} {
		var name, whole, part string
		fmt.Sscan(disk, &name, &whole, &part)
		dir := "sys/devices/" + name
		write(dir+"/size", "2048\n")
		write(dir+"/ro", "0\n")
		write(dir+"/dev", whole+"\n")
		write(dir+"/"+name+"1/partition", "1\n")
		write(dir+"/"+name+"1/dev", part+"\n")
		if err := os.MkdirAll(filepath.Join(root, "sys/dev/block"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("../../devices/"+name, filepath.Join(root, "sys/dev/block", whole)); err != nil {
			t.Fatal(err)
		}
	}
	write("sys/devices/sdc/sdc1/holders/dm-3/dev", "253:3\n")
	write("proc/swaps", "Filename Type Size Used Priority\n/dev/sdd1 partition 1 0 -2\n")
	write("proc/self/mountinfo", "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n22 21 8:17 / /srv/data rw - ext4 /dev/sdb1 rw\n")
	write("udev/b8:65", "S:disk/by-label/ANYMX\nE:ID_FS_TYPE=vfat\nE:ID_FS_LABEL=ANYMX\n")
	s := system{filepath.Join(root, "sys"), filepath.Join(root, "proc"), filepath.Join(root, "udev")}
	for _, test := range []struct{ name, number, want string }{
		{"sda", "8:0", "/dev/sda is the disk that this system runs from (/dev/sda1)"},
		{"sdb", "8:16", "/dev/sdb1 is mounted at /srv/data: unmount it first"},
		{"sdc", "8:32", "/dev/sdc1 is in use by dm-3"},
		{"sdd", "8:48", "/dev/sdd1 is swap space in use"},
		{"sde", "8:64", ""},
	} {
		err := s.free(Drive{Path: "/dev/" + test.name, Name: test.name, Size: 1}, test.number)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
	if got := s.holds(filepath.Join(root, "sys/devices/sde"), "8:64"); fmt.Sprint(got) != "[sde1 vfat ANYMX]" {
		t.Errorf("holds %v", got)
	}
}
