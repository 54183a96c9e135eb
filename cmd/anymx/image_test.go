package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"anymx/edge/config/configtest"
	"anymx/edge/operate/control/controltest"
	"anymx/tests/kit"
)

// bench has an image, made with standard tools, and a config bundle.
type bench struct {
	t                  *testing.T
	dir, image, bundle string
}

const wgKey = "cGFzc3dvcmRwYXNzd29yZHBhc3N3b3JkcGFzc3dvcmQ="

func runTool(t *testing.T, stdin, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func newBench(t *testing.T) *bench {
	t.Helper()
	dir := t.TempDir()
	b := &bench{t: t, dir: dir, image: filepath.Join(dir, "anymx.raw"), bundle: filepath.Join(dir, "ams1")}
	mkfs, mmd, mcopy := kit.Tool(t, "mkfs.vfat", "dosfstools"), kit.Tool(t, "mmd", "mtools"), kit.Tool(t, "mcopy", "mtools")
	sfdisk := kit.Tool(t, "sfdisk", "fdisk")
	if err := os.WriteFile(b.image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(b.image, 64<<20); err != nil {
		t.Fatal(err)
	}
	runTool(t, `label: gpt
start=2048, size=81920, type=uefi, name="esp"
size=4096, type=2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5, name="anymx_0.5.0_verity"
size=8192, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name="anymx_0.5.0"
size=4096, type=2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5, name="_empty"
size=8192, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name="_empty"
`, sfdisk, "--quiet", b.image)
	runTool(t, "", mkfs, "-F", "32", "--offset", "2048", b.image, "40960")
	at := b.image + "@@1M"
	runTool(t, "", mmd, "-i", at, "::/EFI", "::/EFI/Linux")
	runTool(t, strings.Repeat("kernel", 20_000), mcopy, "-i", at, "-", "::/EFI/Linux/anymx_0.5.0+2-1.efi")
	runTool(t, "x", mcopy, "-i", at, "-", "::/EFI/Linux/rescue.efi")
	b.write("anymx.toml", `[node]
name = "ams1"
hostname = "mx.example.net"
[core]
addresses = ["10.77.0.1:2525"]
[[domain]]
name = "example.net"
recipients = "file:/etc/anymx/recipients.example.net"
`+configtest.Announced)
	b.write("recipients.example.net", "postmaster\n")
	b.write("credentials/wg.key", wgKey+"\n")
	b.write("network/10-uplink.network", "[Match]\nName=eth0\n[Network]\nAddress=198.51.100.2/24\n")
	return b
}

func (b *bench) write(name, text string) {
	b.t.Helper()
	path := filepath.Join(b.bundle, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// run runs a command line in which IMAGE, BUNDLE and DIR mean those of the bench.
func (b *bench) run(args string, typed *string) (out, errOut string, code int) {
	b.t.Helper()
	var o, e bytes.Buffer
	p := &program{
		in: strings.NewReader(""), out: &o, errOut: &e, getenv: func(string) string { return "" },
		now: func() time.Time { return controltest.Now }, terminal: func() bool { return typed != nil }, screen: noScreen, poll: time.Millisecond,
	}
	if typed != nil {
		p.in = strings.NewReader(*typed)
	}
	args = strings.NewReplacer("IMAGE", b.image, "BUNDLE", b.bundle, "DIR", b.dir).Replace(args)
	code = p.run(context.Background(), strings.Split(args, " "))
	settle := func(text string) string {
		text = strings.NewReplacer(b.image, "IMAGE", b.bundle, "BUNDLE", b.dir, "DIR").Replace(text)
		if strings.Contains(text, wgKey) {
			b.t.Errorf("%s shows a secret:\n%s", args, text)
		}
		return text
	}
	return settle(o.String()), settle(e.String()), code
}

// fsck fails the test if fsck.vfat finds anything on the ESP.
func (b *bench) fsck() {
	b.t.Helper()
	image, err := os.ReadFile(b.image)
	if err != nil {
		b.t.Fatal(err)
	}
	esp := filepath.Join(b.t.TempDir(), "esp")
	if err := os.WriteFile(esp, image[1<<20:41<<20], 0o600); err != nil {
		b.t.Fatal(err)
	}
	runTool(b.t, "", kit.Tool(b.t, "fsck.vfat", "dosfstools"), "-n", esp)
}

func TestImageConfig(t *testing.T) {
	b := newBench(t)
	for _, step := range []struct {
		args        string
		code        int
		out, errOut []string // parts of the output
		notOut      string
	}{
		{"image config BUNDLE --dry-run", exitOK, []string{"BUNDLE: no problem found\n  anymx.toml", "credentials/wg.key              45 B  secret\n"}, nil, "wrote"},
		{"image config BUNDLE IMAGE --dry-run", exitOK, []string{"IMAGE: would write 4 files, "}, []string{"can read the secrets in it (1 file)"}, "wrote"},
		{"image show IMAGE", exitOK, []string{"\nConfig  none\n"}, nil, ""},
		{"image config BUNDLE IMAGE", exitOK, []string{"IMAGE: wrote 4 files, ", "in the folder anymx of its ESP; "}, []string{"anymx: warning: whoever has IMAGE"}, "in the place"},
		{"image config BUNDLE IMAGE", exitOK, []string{"in the place of 4 files; "}, nil, ""},
		{"image show IMAGE", exitOK, []string{"\nConfig  4 files, ", "1 secret\n", "  network/10-uplink.network "}, nil, ""},
		{"image config BUNDLE/anymx.toml IMAGE", exitNo, []string{"anymx.toml:8:domain[0].recipients: recipients.example.net is missing beside anymx.toml\n", "anymx.toml:10:tunnel.private_key_file: credentials/wg.key is missing in the bundle"}, []string{"2 problems in BUNDLE/anymx.toml; nothing was written"}, ""},
		{"image show IMAGE", exitOK, []string{"\nConfig  4 files, "}, nil, ""},
		{"image config --remove IMAGE", exitOK, []string{"the config is removed, 4 files"}, nil, ""},
		{"image config --remove IMAGE", exitOK, []string{"IMAGE: it has no config\n"}, nil, ""},
		{"image show IMAGE", exitOK, []string{"\nConfig  none\n"}, nil, ""},
		{"image config BUNDLE", exitUsage, nil, []string{"which image?"}, ""},
		{"image config BUNDLE IMAGE --remove", exitUsage, nil, []string{"--remove takes the image alone"}, ""},
		{"image config none IMAGE", exitUsage, nil, []string{"no such file"}, ""},
		{"image config BUNDLE none", exitNo, nil, []string{"no such file"}, ""},
		{"image config BUNDLE BUNDLE/anymx.toml", exitNo, nil, []string{"no GUID partition table"}, ""},
	} {
		out, errOut, code := b.run(step.args, nil)
		if code != step.code {
			t.Errorf("%s: exit %d, want %d\n%s%s", step.args, code, step.code, out, errOut)
		}
		for _, want := range step.out {
			if !strings.Contains(out, want) {
				t.Errorf("%s: %q is not in\n%s", step.args, want, out)
			}
		}
		for _, want := range step.errOut {
			if !strings.Contains(errOut, want) {
				t.Errorf("%s: %q is not in\n%s", step.args, want, errOut)
			}
		}
		if step.notOut != "" && strings.Contains(out, step.notOut) {
			t.Errorf("%s: %q is in\n%s", step.args, step.notOut, out)
		}
		b.fsck()
	}
}

// Secrets that the node gets elsewhere may be missing if a flag says so.
func TestImageConfigSecretsElsewhere(t *testing.T) {
	b := newBench(t)
	if err := os.RemoveAll(filepath.Join(b.bundle, "credentials")); err != nil {
		t.Fatal(err)
	}
	if _, _, code := b.run("image config BUNDLE IMAGE", nil); code != exitNo {
		t.Errorf("exit %d", code)
	}
	out, errOut, code := b.run("image config BUNDLE IMAGE --secrets-elsewhere --json", nil)
	var got imageConfigured
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != exitOK || !got.OK || !got.Written || len(got.Files) != 3 || len(got.Notes) != 1 {
		t.Errorf("exit %d, %v: %+v\n%s", code, err, got, errOut)
	}
	out, _, code = b.run("image config BUNDLE --dry-run --json", nil)
	got = imageConfigured{}
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != exitNo || got.OK || len(got.Problems) != 1 || got.Problems[0].Line != 10 {
		t.Errorf("exit %d, %v: %+v", code, err, got)
	}
}

func TestImageShow(t *testing.T) {
	b := newBench(t)
	out, errOut, code := b.run("image show IMAGE", nil)
	want := `IMAGE, 64 MiB

Partitions
  1  esp                                  40 MiB
  2  anymx_0.5.0_verity                    2 MiB
  3  anymx_0.5.0                           4 MiB
  4  _empty                                2 MiB
  5  _empty                                4 MiB

Versions
  0.5.0  partitions 3 (root) and 2 (verity)
  an empty slot

Boot entries
  anymx_0.5.0+2-1.efi                 117 KiB  2 boot attempts left, 1 failed
  rescue.efi                              1 B  none of anymx

Config  none
`
	if out != want || errOut != "" || code != exitOK {
		t.Errorf("exit %d: %s\n%s\nwant\n%s", code, errOut, out, want)
	}
	out, _, _ = b.run("image show IMAGE --json", nil)
	var got imageShown
	if err := json.Unmarshal([]byte(out), &got); err != nil || len(got.Partitions) != 5 || len(got.Slots) != 2 || *got.Boot[0].Left != 2 || got.Boot[0].Done != 1 || got.Boot[1].Left != nil {
		t.Errorf("%v: %+v", err, got)
	}

	// A damaged second table is reported, and prevents nothing.
	f, err := os.OpenFile(b.image, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, 512), 64<<20-512); err != nil {
		t.Fatal(err)
	}
	if out, errOut, code = b.run("image show IMAGE", nil); code != exitOK || out != want || !strings.Contains(errOut, "the second copy of the partition table is damaged") {
		t.Errorf("exit %d: %s\n%s", code, errOut, out)
	}
}

// zstdOf compresses the image as image.zst.
func (b *bench) zstdOf() string {
	b.t.Helper()
	data, err := os.ReadFile(b.image)
	if err != nil {
		b.t.Fatal(err)
	}
	var z bytes.Buffer
	w, err := zstd.NewWriter(&z)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		b.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		b.t.Fatal(err)
	}
	path := filepath.Join(b.dir, "packed.raw.zst")
	if err := os.WriteFile(path, z.Bytes(), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return path
}

func TestImageRefusesCompressed(t *testing.T) {
	b := newBench(t)
	b.zstdOf()
	for _, args := range []string{"image config BUNDLE DIR/packed.raw.zst", "image show DIR/packed.raw.zst"} {
		if _, errOut, code := b.run(args, nil); code != exitUsage || !strings.Contains(errOut, "unpack it first (zstd -d DIR/packed.raw.zst)") {
			t.Errorf("exit %d: %s", code, errOut)
		}
	}
}

func (b *bench) disk(size int64) string {
	b.t.Helper()
	path := filepath.Join(b.dir, "disk")
	if err := os.WriteFile(path, bytes.Repeat([]byte("old!"), int(size/4)), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return path
}

func TestImageFlash(t *testing.T) {
	b := newBench(t)
	b.zstdOf()
	image, err := os.ReadFile(b.image)
	if err != nil {
		t.Fatal(err)
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(image))
	for _, from := range []string{"IMAGE", "DIR/packed.raw.zst"} {
		disk := b.disk(80 << 20)
		out, errOut, code := b.run("image flash "+from+" DIR/disk --file --yes", nil)
		if code != exitOK || !regexp.MustCompile(`^DIR/disk: 64 MiB written and compared in .*s \(SHA-256 `+sum+`\)\n$`).MatchString(out) {
			t.Errorf("%s: exit %d: %s%s", from, code, out, errOut)
		}
		for _, want := range []string{"DIR/disk: 80 MiB, a file\n", "writing ", "syncing\n", "verifying "} {
			if !strings.Contains(errOut, want) {
				t.Errorf("%s: %q is not in\n%s", from, want, errOut)
			}
		}
		got, err := os.ReadFile(disk)
		if err != nil || !bytes.Equal(got[:len(image)], image) {
			t.Errorf("%s: the disk is not the image: %v", from, err)
		}
		if out, errOut, code := b.run("image show DIR/disk", nil); code != exitOK || !strings.Contains(out, "0.5.0  partitions 3") {
			t.Errorf("exit %d: %s%s", code, out, errOut)
		}
	}
	out, _, code := b.run("image flash IMAGE DIR/disk --file --yes --json", nil)
	var got flashed
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != exitOK || got.SHA256 != sum || got.Size != 64<<20 || !got.Disk.File {
		t.Errorf("exit %d, %v: %s", code, err, out)
	}
}

func TestImageFlashRefuses(t *testing.T) {
	b := newBench(t)
	for _, test := range []struct {
		args  string
		size  int64
		typed *string
		code  int
		want  string
	}{
		{"image flash IMAGE DIR/disk --yes", 80 << 20, nil, exitUsage, "is a file, not a disk: add --file"},
		{"image flash IMAGE DIR/disk --file", 80 << 20, nil, exitUsage, "add --yes if you mean it"},
		{"image flash IMAGE DIR/disk --file", 80 << 20, typed("yes\n"), exitNo, "nothing was written"},
		{"image flash IMAGE DIR/disk --file", 80 << 20, typed(""), exitNo, "nothing was written"},
		{"image flash IMAGE DIR/disk --file --yes", 32 << 20, nil, exitNo, "is too small: it has 32 MiB (33554432 bytes), the image needs 64 MiB (67108864)"},
		{"image flash BUNDLE/anymx.toml DIR/disk --file --yes", 80 << 20, nil, exitNo, "no GUID partition table"},
		{"image flash none DIR/disk --file --yes", 80 << 20, nil, exitUsage, "no such file"},
		{"image flash IMAGE IMAGE --file --yes", 80 << 20, nil, exitUsage, "are the same"},
		{"image flash IMAGE /dev/null --yes", 80 << 20, nil, exitNo, "neither a block device nor a file"},
		{"image flash IMAGE", 80 << 20, nil, exitUsage, "an argument is missing; usage: anymx image flash IMAGE DISK"},
	} {
		disk := b.disk(test.size)
		_, errOut, code := b.run(test.args, test.typed)
		if code != test.code || !strings.Contains(errOut, test.want) {
			t.Errorf("%s: exit %d, want %d and %q: %s", test.args, code, test.code, test.want, errOut)
		}
		got, err := os.ReadFile(disk)
		if err != nil || int64(len(got)) != test.size || !bytes.HasPrefix(got, []byte("old!")) {
			t.Errorf("%s: the disk was written to: %v", test.args, err)
		}
	}
	b.disk(80 << 20)
	if out, errOut, code := b.run("image flash IMAGE DIR/disk --file", typed("disk\n")); code != exitOK {
		t.Errorf("confirmed: exit %d: %s%s", code, out, errOut)
	}
}
