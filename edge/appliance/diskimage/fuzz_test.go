package diskimage

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// sign corrects the checksums of the first copy of a table.
func sign(image []byte) {
	h := image[512:1024]
	le := binary.LittleEndian
	n := uint64(le.Uint32(h[80:])) * uint64(le.Uint32(h[84:]))
	if at := le.Uint64(h[72:]) * 512; n < 32<<10 && at < 32<<10 {
		le.PutUint32(h[88:], crc32.ChecksumIEEE(image[at:at+n]))
	}
	length := le.Uint32(h[12:])
	if length < headerSize || length > 512 {
		return
	}
	le.PutUint32(h[16:], 0)
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:length]))
}

// FuzzFAT corrupts a file system in some places. Opening it must return, with or without an error.
// If it opens, a folder can be replaced and is read back.
func FuzzFAT(f *testing.F) {
	file := fatImage(f, 34<<20, "-F", "32", "-s", "1")
	fat, _ := open(f, file)
	if err := fat.Replace("anymx", first, testTime); err != nil {
		f.Fatal(err)
	}
	image, err := os.ReadFile(file)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(11), uint32(0), []byte{0, 2})
	f.Add(uint32(13), uint32(44), []byte{200})
	f.Add(uint32(fat.reserved*fat.sector+8), uint32(fat.reserved*fat.sector+40), []byte{2, 0, 0, 0})
	f.Add(uint32(fat.data+26), uint32(fat.data+64), []byte{3, 0})
	f.Add(uint32(fat.data+20), uint32(fat.data+32), []byte{0xff, 0xff})
	f.Fuzz(func(t *testing.T, a, b uint32, with []byte) {
		data := bytes.Clone(image)
		for _, at := range []uint32{a, b} {
			copy(data[int(at)%len(data):], with[:min(len(with), 64)])
		}
		dev := &journal{data: data}
		fat, err := Open(dev, int64(len(data)), Partition{Size: int64(len(data))})
		if err != nil {
			return
		}
		_, _ = fat.ReadFile("anymx/anymx.toml", 1<<20)
		if err := fat.Replace("anymx", second, testTime); err != nil {
			return
		}
		fat, err = Open(dev, int64(len(data)), Partition{Size: int64(len(data))})
		if err != nil {
			t.Fatalf("after Replace: %v", err)
		}
		if got := tree(t, fat, "anymx"); !same(got, asMap(second)) {
			t.Errorf("read %v", got)
		}
	})
}

// This covers each kind of corruption with a fixed seed, since a short fuzz run may miss some.
func TestOpenRefusesDamage(t *testing.T) {
	file := fatImage(t, 34<<20, "-F", "32", "-s", "1")
	good, _ := open(t, file)
	image, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	efi, err := good.lookUp(0, "EFI")
	if err != nil {
		t.Fatal(err)
	}
	linux, err := good.lookUp(efi.cluster, "Linux")
	if err != nil {
		t.Fatal(err)
	}
	kernel, err := good.lookUp(linux.cluster, "anymx_0.5.0+3.efi")
	if err != nil {
		t.Fatal(err)
	}
	entry := func(c uint32) int64 { return good.reserved*good.sector + int64(c)*4 }
	put := func(at int64, v uint32) func([]byte) {
		return func(b []byte) { binary.LittleEndian.PutUint32(b[at:], v) }
	}
	for name, spoil := range map[string]func([]byte){
		"a loop":                 put(entry(kernel.cluster+5), kernel.cluster),
		"a loop of a folder":     put(entry(linux.cluster), linux.cluster),
		"a chain to nowhere":     put(entry(kernel.cluster+5), 0x0ffffff0),
		"a chain to a free one":  put(entry(kernel.cluster+5), 0),
		"two files in one place": put(entry(kernel.cluster+5), linux.cluster),
		"a root of nothing":      put(44, 1),
		"a huge root":            put(44, 1<<27),
		"no root":                put(44, 0),
		"a root that ends":       put(44, 0x30303030),
		"no sectors":             func(b []byte) { b[11], b[12] = 0, 0 },
		"larger than the disk":   put(32, 1<<30),
		"a table too small":      put(36, 1),
		"a table too large":      put(36, 1<<28),
		"no signature":           func(b []byte) { b[510] = 0 },
		"FAT12":                  put(32, 4000),
	} {
		b := bytes.Clone(image)
		spoil(b)
		if _, err := Open(&journal{data: b}, int64(len(b)), Partition{Size: int64(len(b))}); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	if _, err := Open(&journal{data: image}, int64(len(image)), Partition{Start: 1 << 20, Size: int64(len(image))}); err == nil {
		t.Error("a partition behind the end: opened")
	}
}

// A file system that the kernel wrote, with its own habits, can be read too.
func TestReadsWhatTheKernelWrote(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	if types, err := os.ReadFile("/proc/filesystems"); err != nil || !bytes.Contains(types, []byte("\tvfat\n")) {
		t.Skip("this kernel has no vfat")
	}
	file, dir := fatImage(t, 64<<20, "-F", "32"), t.TempDir()
	if out, err := exec.Command("mount", "-o", "loop", file, dir).CombinedOutput(); err != nil {
		t.Skipf("mount: %v: %s", err, out)
	}
	want := "text of a file"
	err := os.MkdirAll(filepath.Join(dir, "anymx/tls"), 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "anymx/tls/a-long-name.pem"), []byte(want), 0o600)
	}
	if out, umount := exec.Command("umount", dir).CombinedOutput(); umount != nil || err != nil {
		t.Fatalf("%v; umount: %v: %s", err, umount, out)
	}
	f, _ := open(t, file)
	got, err := f.ReadFile("anymx/tls/a-long-name.pem", 1<<20)
	if err != nil || string(got) != want {
		t.Errorf("%q, %v", got, err)
	}
}
