package vm

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestArguments(t *testing.T) {
	o := Options{
		Accel: KVM, CPUs: 4, Memory: 2048, Disk: Disk{NBD: "/a,b/s"}, Sticks: []Disk{{File: "/stick", ReadOnly: true}}, Watchdog: true, Balloon: true,
		NIC: NIC{User: map[string]int{"127.0.0.1:2525": 25}, Services: map[string]string{"10.0.2.100:2525": "pipe a,b"}},
	}
	all := strings.Join(append(o.hardware(), o.backends(firmware{code: "/code"}, "/vars", []string{"/c0", "/c1"})...), " ")
	for _, want := range []string{
		"-accel kvm -cpu host -smp 4 -m 2048", "driver=nbd,server.type=unix,server.path=/a,,b/s,", "cache=writeback", "virtio-blk-pci,drive=disk,write-cache=on",
		"-device usb-storage,bus=usb.0,drive=stick0", "file=/stick,readonly=on", "-device i6300esb", "-device virtio-balloon-pci,id=balloon", "readonly=on,file=/code", "unit=1,file=/vars",
		"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:2525-:25,guestfwd=tcp:10.0.2.100:2525-cmd:pipe a,,b", "-smbios type=11,path=/c0 -smbios type=11,path=/c1",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in %s", want, all)
		}
	}
	// Only the backends of the hardware may change between Save and Resume.
	same, other := o, o
	same.Disk, same.NIC.User = Disk{File: "/elsewhere"}, map[string]int{"127.0.0.1:1": 25}
	other.NIC = NIC{Tap: 7}
	if o.likeness("7.2") != same.likeness("7.2") || o.likeness("7.2") == other.likeness("7.2") || o.likeness("7.2") == o.likeness("10.0") {
		t.Error("the likeness does not tell machines apart")
	}
	direct := Options{Accel: TCG, Direct: &Direct{Kernel: "/k", Initrd: "/i", Append: "console=ttyS0"}}
	if args := direct.backends(firmware{}, "", nil); !slices.Contains(args, "console=ttyS0") || strings.Contains(strings.Join(args, " "), "pflash") {
		t.Errorf("a direct boot has %v", args)
	}
}

func TestTree(t *testing.T) {
	files := map[string]string{"anymx.toml": "[node]\n", "credentials/wg.key": "k\n"}
	packed, err := Tree(files)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	r := tar.NewReader(z)
	for n := 0; ; n++ {
		h, err := r.Next()
		if err == io.EOF && n == len(files) {
			break
		}
		if err != nil {
			t.Fatalf("after %d files: %v", n, err)
		}
		text, err := io.ReadAll(r)
		if err != nil || string(text) != files[h.Name] {
			t.Errorf("%s is %q, %v", h.Name, text, err)
		}
	}
	if again, err := Tree(files); err != nil || !bytes.Equal(packed, again) {
		t.Error("the same files give other bytes", err)
	}
}
