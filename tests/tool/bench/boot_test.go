package main

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"anymx/tests/lab"
	"anymx/tests/vm"
)

func TestBootMarkdown(t *testing.T) {
	r := &bootReport{
		started: time.Unix(0, 0), ended: time.Unix(60, 0), accel: vm.Accelerated{Accel: vm.TCG, Why: "it ended: qemu: error: no\n/dev/kvm; qemu: Assertion"},
		systems: []*bootSystem{
			{name: "anymx", sizes: sample{"raw": 200e6, "zst": 160e6, "root": 129.9e6}, boots: result{Rounds: []sample{
				{"first_banner": 30, "first_route": 34, "later_banner": 21, "later_config": 15, "memory": 201e6},
				{"first_banner": 32, "first_route": 33, "later_banner": 22, "later_config": 16, "memory": 202e6},
				{"first_banner": 31, "first_route": 35, "later_banner": 20, "later_config": 17, "memory": 203e6},
			}}},
			{name: "plain Debian", sizes: sample{"raw": 800e6, "zst": 150e6}, boots: result{Rounds: []sample{
				{"first_banner": 31, "first_route": 32, "later_banner": 40, "memory": 404e6},
			}}},
		},
	}
	got := r.markdown()
	for _, want := range []string{
		"QEMU with TCG, which translates every instruction (KVM: no /dev/kvm), 2 CPUs",
		"| MB (10⁶ bytes) | anymx | plain Debian | ratio | to reach | reached |\n|---|",
		"| image, as stored (without its holes) | 200 | 800 | 1/4.0 |  |  |",
		"| image, `.zst` | 160 | 150 | 1.1x | ≤ 160 | yes |",
		"| root file system | 130 | - |  |  |  |",
		"median of 3 with the lowest and the highest in brackets:\n\n| | anymx |",
		"| first SMTP banner | 31.0 (30.0-32.0) | 31.0 | 1.0x | not slower | yes |",
		"| route in the router's kernel | 34.0 (33.0-35.0) | 32.0 | 1.1x | not slower | no |",
		"| config in place | 16.0 (15.0-17.0) | - |  |  |  |",
		"| route in the router's kernel | - | - |  | not slower |  |",
		"| memory used | 202 (201-203) | 404 | 1/2.0 | ≤ 200 | no |",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Index(got, "| 31.0 (30.0-32.0)") > strings.Index(got, "| 21.0 (20.0-22.0)") {
		t.Error("the first boot does not come first")
	}
}

func TestBundleSizes(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, size := range map[string]int{"manifest.json": 1, "anymx_0.1.verity.raw": 2, "anymx_0.1.root.raw": 3, "anymx_0.1.efi": 4} {
		if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(size), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	whole := b.Bytes()
	got, err := bundleSizes(bytes.NewReader(whole))
	if err != nil || len(got) != 2 || got["root"] != 3 || got["uki"] != 4 {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := bundleSizes(bytes.NewReader(whole[:100])); err == nil {
		t.Error("half a header is not an error")
	}
}

func TestNewestImage(t *testing.T) {
	dir := t.TempDir()
	if got := newestImage(dir); got != "" {
		t.Errorf("an empty directory has %q", got)
	}
	for i, name := range []string{"anymx_0.2.raw", "anymx_0.10.raw", "anymx_0.11_debug.raw", "anymx_0.12.raw.zst"} {
		file := filepath.Join(dir, name)
		at := time.Unix(int64(1000+i), 0)
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("anymx_0.2.raw", filepath.Join(dir, "anymx_latest.raw")); err != nil {
		t.Fatal(err)
	}
	if got := newestImage(dir); got != filepath.Join(dir, "anymx_0.10.raw") {
		t.Errorf("the newest is %q", got)
	}
}

// The plain machine replaces PoP a, so it needs its addresses.
func TestPlainStandsInTheLab(t *testing.T) {
	extra := filepath.Join("..", "..", "..", "image", "plain", "extra", "etc")
	for file, all := range map[string][]string{
		"systemd/network/10-uplink.network":  {"=" + lab.A4 + "/25", "=" + lab.A6 + "/64", "Gateway=" + lab.R1ToA4 + "\n", "Gateway=" + lab.R1ToA6 + "\n"},
		"systemd/network/20-service.network": {"=" + lab.Service4 + "/32", "=" + lab.Service6 + "/128"},
		"bird/bird.conf": {"route " + lab.Prefix4 + " ", "route " + lab.Prefix6 + " ", "local " + lab.A4 + " as 64512", "local " + lab.A6 + " as 64512",
			"neighbor " + lab.R1ToA4 + " as 64501", "neighbor " + lab.R1ToA6 + " as 64501", `password "a-shared-secret"`},
	} {
		text, err := os.ReadFile(filepath.Join(extra, file))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range all {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s has no %q", file, want)
			}
		}
	}
}

func TestProcessCPU(t *testing.T) {
	began := time.Now()
	for processCPU(os.Getpid()) == 0 { // a tick is 10 ms
		if time.Since(began) > 10*time.Second {
			t.Fatal("this process takes no CPU time")
		}
	}
	if got := processCPU(-1); got != 0 {
		t.Errorf("no process has taken %s", got)
	}
}
