package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"anymx/tests/vm/lossy"
)

// The guest of these tests is the UEFI firmware's shell: it has a console, reads and writes FAT,
// and can power off the machine.

func needs(t *testing.T) {
	t.Helper()
	for program, from := range map[string]string{
		"qemu-system-x86_64": "qemu-system-x86", "qemu-img": "qemu-utils", "mkfs.vfat": "dosfstools", "mcopy": "mtools",
	} {
		if _, err := exec.LookPath(lookUp(program)); err != nil {
			t.Skipf("%s is not installed (package %s)", program, from)
		}
	}
	if _, err := findFirmware(); err != nil {
		t.Skip(err)
	}
}

// patience allows for software emulation on a busy machine.
const patience = time.Minute

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// image creates a FAT file system with a file hello.txt, which isn't bootable.
func image(t *testing.T) string {
	t.Helper()
	tree := t.TempDir()
	must(t, os.WriteFile(filepath.Join(tree, "hello.txt"), []byte("hello"), 0o600))
	name := filepath.Join(t.TempDir(), "image.raw")
	_, err := Stick(t.Context(), name, "ANYMX", tree)
	must(t, err)
	return name
}

func overlay(t *testing.T, image string) Disk {
	t.Helper()
	d, err := Overlay(t.Context(), image, filepath.Join(t.TempDir(), "overlay.qcow2"), 0)
	must(t, err)
	return d
}

// shell starts a machine and waits for its firmware's shell.
func shell(t *testing.T, o Options) *Machine {
	t.Helper()
	o.Dir, o.Memory = t.TempDir(), 256
	m, err := Start(t.Context(), o)
	must(t, err)
	t.Cleanup(m.Kill)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := m.Console.ExpectLine(ctx, regexp.MustCompile(`Press .*ESC`), patience); err != nil {
		if strings.Contains(err.Error(), "No bootable") {
			t.Skip("the firmware here has no shell")
		}
		t.Fatal(err)
	}
	must(t, m.Console.Type("\x1b"))
	expect(t, m, `Shell> $`)
	return m
}

func expect(t *testing.T, m *Machine, pattern string) Line {
	t.Helper()
	l, err := m.Console.ExpectLine(t.Context(), regexp.MustCompile(pattern), patience)
	must(t, err)
	return l
}

func enter(t *testing.T, m *Machine, line string) {
	t.Helper()
	must(t, m.Console.Enter(line))
}

func TestMachine(t *testing.T) {
	needs(t)
	t.Parallel()
	stick := Disk{File: image(t), ReadOnly: true}
	m := shell(t, Options{
		Disk: overlay(t, image(t)), Sticks: []Disk{stick}, Watchdog: true,
		NIC: NIC{User: map[string]int{"127.0.0.1:0": 25}}, Credentials: map[string][]byte{"anymx.config": []byte("a, b\x00c")},
	})
	if have := m.Boot(); len(have) != 1 || have[0].Name != Firmware || have[0].At <= 0 {
		t.Errorf("the boot has reached %v", have)
	}
	enter(t, m, "type fs0:hello.txt")
	expect(t, m, `^hello`)
	enter(t, m, "connect -r") // by default, the firmware only looks at what it boots from
	expect(t, m, `Shell> $`)
	enter(t, m, "map -r")
	expect(t, m, `USB\(`)
	must(t, m.PlugIn(t.Context(), "later", Disk{File: image(t), ReadOnly: true}))
	enter(t, m, "connect -r")
	expect(t, m, `Shell> $`)
	enter(t, m, "map -r")
	expect(t, m, `USB\(.*`)
	expect(t, m, `USB\(.*`)
	enter(t, m, "smbiosview -t 11")
	expect(t, m, `anymx.config=YSwgYgBj`)
	seen := len(m.Events())
	enter(t, m, "q") // quits the pager
	must(t, m.Reset(t.Context()))
	_, err := m.Await(t.Context(), seen, "RESET", patience)
	must(t, err)
	expect(t, m, `Press .*ESC`)
	must(t, m.Console.Type("\x1b"))
	expect(t, m, `Shell> $`)
	enter(t, m, "reset -s")
	must(t, m.Ended(t.Context(), patience))
	if _, err := m.Await(t.Context(), 0, "SHUTDOWN", time.Second); err != nil {
		t.Error(err)
	}
	if _, err := m.Console.ExpectLine(t.Context(), regexp.MustCompile("nothing such"), patience); err == nil || !strings.Contains(err.Error(), "Shell>") {
		t.Errorf("a dead machine's console: %v", err)
	}
}

// A machine can be resumed any number of times from its saved state, each time with a disk of its
// own.
func TestSaved(t *testing.T) {
	needs(t)
	t.Parallel()
	disk := overlay(t, image(t))
	m := shell(t, Options{Disk: disk})
	enter(t, m, "set -v answer 42") // in memory
	enter(t, m, "echo before > fs0:before.txt")
	expect(t, m, `Shell> $`)
	enter(t, m, "ls fs0:before.txt")
	expect(t, m, `1 File`)
	saved, err := m.Save(t.Context(), filepath.Join(t.TempDir(), "saved"), func(name string) error { return disk.CopyTo(t.Context(), name) })
	must(t, err)
	if m.Running() {
		t.Error("the machine runs on")
	}
	if saved, err = OpenSaved(saved.Dir); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		again, err := Resume(t.Context(), saved, Options{Dir: t.TempDir(), Memory: 256, Disk: overlay(t, saved.Disk())})
		must(t, err)
		t.Cleanup(again.Kill)
		enter(t, again, "echo is %answer%")
		expect(t, again, `^is 42`)
		enter(t, again, "ls fs0:")
		expect(t, again, `before.txt`)
		expect(t, again, `2 File`)
		enter(t, again, "echo after > fs0:after.txt")
		expect(t, again, `Shell> $`)
		again.Kill()
	}
	if _, err := Resume(t.Context(), saved, Options{Dir: t.TempDir(), Memory: 512, Disk: overlay(t, saved.Disk())}); !errors.Is(err, ErrUnlike) {
		t.Errorf("a machine with more memory goes on: %v", err)
	}
}

// A lossy disk keeps a guest's writes while the power is on, and still has a valid file system
// after any power cut.
func TestLossyDisk(t *testing.T) {
	needs(t)
	t.Parallel()
	d, err := lossy.New(image(t), filepath.Join(t.TempDir(), "disk"), lossy.Options{})
	must(t, err)
	defer d.Close()
	s, err := lossy.Serve(d, filepath.Join(t.TempDir(), "s"))
	must(t, err)
	defer s.Close()
	m := shell(t, Options{Disk: Disk{NBD: s.Socket()}})
	enter(t, m, "echo kept > fs0:kept.txt")
	expect(t, m, `Shell> $`)
	enter(t, m, "type fs0:kept.txt")
	expect(t, m, `^kept`)
	c := d.Counts()
	if c.Reads == 0 || c.Writes == 0 || c.Flushes == 0 {
		t.Errorf("the disk was asked for %+v", c)
	}
	m.Kill()
	cut, err := s.PowerCut(1)
	must(t, err)
	t.Log(c, cut)
	again := shell(t, Options{Disk: Disk{NBD: s.Socket()}})
	enter(t, again, "type fs0:hello.txt")
	expect(t, again, `^hello`)
}

// QEMU ends with the process that started it.
func TestDiesWithItsParent(t *testing.T) {
	needs(t)
	if dir := os.Getenv("VM_TEST_PARENT"); dir != "" {
		m, err := Start(t.Context(), Options{Dir: dir, Memory: 256, Accel: TCG})
		must(t, err)
		fmt.Printf("pid %d\n", m.PID())
		must(t, syscall.Kill(os.Getpid(), syscall.SIGKILL))
	}
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDiesWithItsParent$", "-test.v")
	cmd.Env = append(os.Environ(), "VM_TEST_PARENT="+t.TempDir())
	out, _ := cmd.CombinedOutput() // it was killed
	match := regexp.MustCompile(`pid (\d+)`).FindSubmatch(out)
	if match == nil {
		t.Fatalf("%s", out)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		state, err := os.ReadFile("/proc/" + string(match[1]) + "/stat")
		if err != nil || strings.Contains(string(state), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("QEMU is still there: %s", state)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestStartThatFails(t *testing.T) {
	needs(t)
	t.Parallel()
	for _, o := range []Options{
		{QEMU: "no-such-program", Accel: TCG},
		{Disk: Disk{File: "/no/such/disk"}, Accel: TCG},
		{Enter: func(func() error) error { return errors.New("no such namespace") }, Accel: TCG},
	} {
		o.Dir = t.TempDir()
		if m, err := Start(t.Context(), o); err == nil {
			m.Kill()
			t.Errorf("%+v starts", o)
		} else {
			t.Log(err)
		}
	}
}

func TestAccelerator(t *testing.T) {
	needs(t)
	t.Parallel()
	a := Accelerator(t.Context())
	t.Logf("%s %s", a.Accel, a.Why)
	if a.Accel == TCG && a.Why == "" {
		t.Error("no word why there is no KVM")
	}
	if err := probe(t.Context(), TCG); err != nil {
		t.Error("the probe fails where it can't:", err)
	}
}
