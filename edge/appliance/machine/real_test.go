package machine

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"anymx/edge/appliance/slot/slottest"
	"anymx/edge/operate/api"
)

// The real systemd-sysupdate, with the transfers of the image, behaves as the tests' imitation
// does. ANYMX_SYSUPDATE is its path (257 or later; it may be a script that enters a root file
// system with it, with this machine's /tmp and /dev). The test needs root for a loop device.
func TestRealSysupdate(t *testing.T) {
	real := os.Getenv("ANYMX_SYSUPDATE")
	if real == "" {
		t.Skip("ANYMX_SYSUPDATE names no systemd-sysupdate")
	}
	w := newWorld(t)
	out, err := exec.Command("losetup", "-f", "--show", w.Disk).CombinedOutput()
	if err != nil {
		t.Skipf("no loop device: %v: %s", err, out)
	}
	loop := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "-d", loop).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	files, err := filepath.Glob("../../../image/sysupdate.d/*.transfer")
	if err != nil || len(files) != 3 {
		t.Fatalf("%v, %v", files, err)
	}
	definitions := t.TempDir()
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		here := strings.NewReplacer("/var/lib/anymx-machine", w.options.State, "Path=auto", "Path="+loop, "%A", "0.5.0").Replace(string(text))
		if err := os.WriteFile(filepath.Join(definitions, filepath.Base(f)), []byte(here), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.put("/real", "#!/bin/sh\nSYSTEMD_RELAX_ESP_CHECKS=1 SYSTEMD_ESP_PATH="+w.ESP+" exec "+real+" --definitions="+definitions+" \"$@\"\n")
	if err := os.Chmod(w.Root+"/real", 0o755); err != nil {
		t.Fatal(err)
	}
	w.options.Sysupdate, w.options.System.Disk, w.Disk = w.Root+"/real", loop, loop
	list := w.Partitions(t) // old content of the slot must not remain in place of the zeros
	if err := poke(loop, list[4].Start+1_800_000); err != nil {
		t.Fatal(err)
	}
	c, _ := w.run()
	for _, version := range []string{"0.6.0", "0.7.0", "0.4.0"} { // into an empty slot, over an older version, over a newer one
		walked, _, err := w.update(c, api.UpdateRequest{StageOnly: true, AllowOlder: true}, w.bundle(version))
		if err != nil {
			t.Fatalf("%s: %v, %v\n%s", version, walked, err, w.log)
		}
		w.holds(version)
	}
	w.entries("anymx_0.4.0+3-0.efi", "anymx_0.5.0+0-1.efi")
	// A power cut during an update leaves only one label.
	table, err := w.Read()
	if err != nil {
		t.Fatal(err)
	}
	m := slottest.Machine{System: w.options.System}
	if err := setLabel(&m, table.Other().Root.Number, "_empty", ""); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(table.Path(*table.Other().Entry)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.update(c, api.UpdateRequest{StageOnly: true}, w.bundle("0.6.0")); err != nil {
		t.Fatal(err)
	}
	w.holds("0.6.0")
	w.entries("anymx_0.5.0+3.efi", "anymx_0.6.0+3-0.efi")
}
