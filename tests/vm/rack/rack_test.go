package rack

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"anymx/tests/vm"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The machine only runs its firmware's shell. After a power cut, it has what survived on its disk;
// after a save, it has everything.
func TestRack(t *testing.T) {
	for program, from := range map[string]string{
		"qemu-system-x86_64": "qemu-system-x86", "/usr/sbin/mkfs.vfat": "dosfstools", "mcopy": "mtools",
	} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed (package %s)", program, from)
		}
	}
	if _, err := os.Stat("/usr/share/OVMF"); err != nil {
		t.Skip("no UEFI firmware (package ovmf)")
	}
	t.Setenv("TMPDIR", t.TempDir())
	tree := t.TempDir()
	must(t, os.WriteFile(filepath.Join(tree, "hello.txt"), []byte("hello"), 0o600))
	o := Options{Image: filepath.Join(t.TempDir(), "image"), Size: 40 << 20, Config: map[string]string{"anymx.toml": "[node]\n"},
		Machine: vm.Options{Memory: 256}}
	_, err := vm.Stick(t.Context(), o.Image, "ANYMX", tree)
	must(t, err)

	o.Dir = t.TempDir()
	r, err := New(o)
	must(t, err)
	defer func() { must(t, r.Close()) }()
	expect := func(pattern string) {
		t.Helper()
		_, err := r.Machine.Console.ExpectLine(t.Context(), regexp.MustCompile(pattern), time.Minute)
		must(t, err)
	}
	on := func() {
		t.Helper()
		must(t, r.On(t.Context()))
		expect(`Press .*ESC`)
		must(t, r.Machine.Console.Type("\x1b"))
		expect(`Shell> $`)
	}
	on()
	if err := r.On(t.Context()); err == nil {
		t.Error("the power comes on twice")
	}
	must(t, r.Machine.Console.Enter("set torn 42")) // in the UEFI variables
	expect(`Shell> $`)
	_, err = r.Cut(1)
	must(t, err)
	on()
	must(t, r.Machine.Console.Enter("echo is %torn%"))
	expect(`^is 42`)
	must(t, r.Machine.Console.Enter("smbiosview -t 11"))
	expect(`io.systemd.credential.binary:anymx.tree=`)
	must(t, r.Machine.Console.Enter("q"))
	expect(`Shell> $`)

	saved, err := r.Save(t.Context(), filepath.Join(t.TempDir(), "saved"))
	must(t, err)
	must(t, r.Close())
	o.Dir = t.TempDir()
	r, err = Resume(t.Context(), saved, o)
	must(t, err)
	must(t, r.Machine.Console.Enter("type fs0:hello.txt"))
	expect(`^hello`)
	if r.Disk.Size() != 40<<20 {
		t.Errorf("the disk has %d bytes", r.Disk.Size())
	}
	must(t, r.Close())
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}
