package diskimage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"anymx/tests/kit"
)

var testTime = time.Date(2026, 5, 1, 12, 30, 20, 0, time.UTC)

func run(t testing.TB, stdin string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "MTOOLS_SKIP_CHECK=0", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// fatImage creates a file system with mkfs.vfat and adds some files with mtools.
func fatImage(t testing.TB, size int64, options ...string) string {
	t.Helper()
	mkfs := kit.Tool(t, "mkfs.vfat", "dosfstools")
	mmd, mcopy := kit.Tool(t, "mmd", "mtools"), kit.Tool(t, "mcopy", "mtools")
	file := filepath.Join(t.TempDir(), "fat.raw")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	run(t, "", mkfs, append(append([]string{"-n", "ESP"}, options...), file)...)
	run(t, "", mmd, "-i", file, "::/EFI", "::/EFI/Linux", "::/EFI/BOOT")
	run(t, strings.Repeat("kernel", 50_000), mcopy, "-i", file, "-", "::/EFI/Linux/anymx_0.5.0+3.efi")
	run(t, "loader", mcopy, "-i", file, "-", "::/EFI/BOOT/BOOTX64.EFI")
	return file
}

// fsck fails the test if fsck.vfat finds anything.
func fsck(t testing.TB, file string) {
	t.Helper()
	fsckLost(t, file, false)
}

// fsckLost allows what a crash may leave: clusters that belong to no file, and the messages that
// follow from them.
func fsckLost(t testing.TB, file string, lost bool) {
	t.Helper()
	out, err := exec.Command(kit.Tool(t, "fsck.vfat", "dosfstools"), "-n", "-v", file).CombinedOutput()
	text := string(out)
	if err == nil {
		return
	}
	if lost {
		left := []string{}
		for line := range strings.Lines(text[strings.Index(text, "sectors total"):]) {
			switch line = strings.TrimSpace(line); {
			case line == "sectors total", strings.HasPrefix(line, "Checking"), strings.HasPrefix(line, "Reclaim"), line == "",
				strings.HasPrefix(line, "Leaving filesystem unchanged"), strings.HasPrefix(line, file),
				strings.HasPrefix(line, "Free cluster summary wrong"), strings.HasPrefix(line, "Auto-correcting"),
				strings.HasPrefix(line, "FATs differ"), strings.HasPrefix(line, "Using first FAT"),
				strings.HasPrefix(line, "Filesystem was changed"):
			default:
				left = append(left, line)
			}
		}
		if len(left) == 0 {
			return
		}
	}
	t.Fatalf("fsck.vfat: %v\n%s", err, text)
}

func open(t testing.TB, file string) (*FAT, *os.File) {
	t.Helper()
	dev, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	info, err := dev.Stat()
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(dev, info.Size(), Partition{Size: info.Size()})
	if err != nil {
		t.Fatal(err)
	}
	return f, dev
}

// tree reads all files below a folder.
func tree(t testing.TB, f *FAT, at string) map[string]string {
	t.Helper()
	all := map[string]string{}
	list, err := f.ReadDir(at)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		path := at + "/" + e.Name
		if e.Folder {
			for name, text := range tree(t, f, path) {
				all[e.Name+"/"+name] = text
			}
			continue
		}
		data, err := f.ReadFile(path, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name] = string(data)
	}
	return all
}

func asMap(files []File) map[string]string {
	m := map[string]string{}
	for _, f := range files {
		m[f.Name] = string(f.Data)
	}
	return m
}

var (
	first = []File{
		{"anymx.toml", []byte("[node]\nname = \"ams1\"\n")},
		{"tls/cert.pem", bytes.Repeat([]byte("certificate\n"), 1000)},
		{"tls/key.pem", []byte("key")},
		{"credentials/wg.key", []byte("0123456789")},
		{"network/10-lan.network", []byte("[Match]\nName=eth0\n")},
		{"recipients.example.net", nil},
		{"recipients.example.org", []byte("a\nb\n")},
		{"name-of-26-characters.toml", []byte("26")},
	}
	second = []File{{"anymx.toml", []byte("[node]\nname = \"fra1\"\n")}, {"deep/er/and/deeper/still", []byte("x")}}
)

func same(a, b map[string]string) bool {
	return fmt.Sprint(a) == fmt.Sprint(b)
}

// fsck.vfat and mtools can read the written folder, and all other files are unchanged.
func TestReplace(t *testing.T) {
	for name, options := range map[string]struct {
		size    int64
		options []string
	}{
		"FAT32":           {64 << 20, []string{"-F", "32"}},
		"FAT32 4 KiB":     {512 << 20, []string{"-F", "32", "-s", "8"}},
		"FAT32 one table": {64 << 20, []string{"-F", "32", "-f", "1"}},
		"FAT16":           {32 << 20, []string{"-F", "16"}},
		"4 KiB sectors":   {300 << 20, []string{"-F", "32", "-S", "4096", "-s", "1"}},
	} {
		t.Run(name, func(t *testing.T) {
			file := fatImage(t, options.size, options.options...)
			f, _ := open(t, file)
			if f.Label != "ESP" || f.Dirty {
				t.Errorf("label %q, dirty %v", f.Label, f.Dirty)
			}
			before := f.Free()
			for _, files := range [][]File{first, second, first, {}} {
				if err := f.Replace("anymx", files, testTime); err != nil {
					t.Fatal(err)
				}
				fsck(t, file)
				f, _ = open(t, file)
				if got := tree(t, f, "anymx"); !same(got, asMap(files)) {
					t.Errorf("read %v, want %v", got, asMap(files))
				}
				if out := run(t, "", kit.Tool(t, "mdir", "mtools"), "-i", file, "-/", "-b", "::/"); len(files) > 0 {
					for _, want := range files {
						if !strings.Contains(out, "::/anymx/"+want.Name+"\n") {
							t.Errorf("mdir does not see %s:\n%s", want.Name, out)
						}
						data := run(t, "", kit.Tool(t, "mtype", "mtools"), "-i", file, "::/anymx/"+want.Name)
						if data != string(want.Data) {
							t.Errorf("mtype: %s is %q", want.Name, data)
						}
					}
				}
				kernel, err := f.ReadFile("efi/LINUX/anymx_0.5.0+3.efi", 1<<20)
				if err != nil || string(kernel) != strings.Repeat("kernel", 50_000) {
					t.Errorf("what else is there: %d bytes, %v", len(kernel), err)
				}
			}
			if err := f.Remove("anymx"); err != nil {
				t.Fatal(err)
			}
			if err := f.Remove("anymx"); err != nil {
				t.Errorf("what is not there: %v", err)
			}
			fsck(t, file)
			f, _ = open(t, file)
			if f.Free() != before {
				t.Errorf("%d bytes free, %d before", f.Free(), before)
			}
			if _, err := f.ReadDir("anymx"); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the folder is still there: %v", err)
			}
		})
	}
}

// A folder that another program created, with its own choice of names, can be replaced as well.
func TestReplaceOfAnother(t *testing.T) {
	file := fatImage(t, 64<<20, "-F", "32")
	mmd, mcopy := kit.Tool(t, "mmd", "mtools"), kit.Tool(t, "mcopy", "mtools")
	run(t, "", mmd, "-i", file, "::/Anymx", "::/Anymx/tls")
	run(t, "old", mcopy, "-i", file, "-", "::/Anymx/anymx.toml")
	f, _ := open(t, file)
	if err := f.Replace("anymx", first, testTime); err != nil {
		t.Fatal(err)
	}
	fsck(t, file)
	f, _ = open(t, file)
	if got := tree(t, f, "anymx"); !same(got, asMap(first)) {
		t.Errorf("read %v", got)
	}
}

// A full root folder grows if it can.
func TestReplaceInFullRoot(t *testing.T) {
	file := fatImage(t, 64<<20, "-F", "32", "-s", "1")
	f, _ := open(t, file)
	mcopy := kit.Tool(t, "mcopy", "mtools")
	for n := 0; ; n++ {
		b, err := f.folder(0)
		if err != nil {
			t.Fatal(err)
		}
		if b[len(b)-entrySize] != 0 {
			break
		}
		if n > 64 {
			t.Fatal("the root does not fill")
		}
		run(t, "x", mcopy, "-i", file, "-", fmt.Sprintf("::/FILE%d", n))
		f, _ = open(t, file)
	}
	if err := f.Replace("anymx", first, testTime); err != nil {
		t.Fatal(err)
	}
	fsck(t, file)
	f, _ = open(t, file)
	if got := tree(t, f, "anymx"); !same(got, asMap(first)) {
		t.Errorf("read %v", got)
	}
}

func TestReplaceRefuses(t *testing.T) {
	file := fatImage(t, 40<<20, "-F", "32")
	for name, test := range map[string]struct {
		folder string
		files  []File
		want   string
	}{
		"too large":    {"anymx", []File{{"big", make([]byte, 41<<20)}}, "no space left"},
		"a long name":  {"anymx-config", nil, "one to eight"},
		"upper case":   {"ANYMX", nil, "lower-case"},
		"up":           {"anymx", []File{{"../x", nil}}, "an empty name"},
		"absolute":     {"anymx", []File{{"/x", nil}}, "an empty name"},
		"case alone":   {"anymx", []File{{"a", nil}, {"A", nil}}, "twice"},
		"file, folder": {"anymx", []File{{"a", nil}, {"a/b", nil}}, "twice"},
		"letters":      {"anymx", []File{{"ä", nil}}, "can't hold"},
		"dot":          {"anymx", []File{{"a.", nil}}, "ends with a dot"},
	} {
		f, _ := open(t, file)
		if err := f.Replace(test.folder, test.files, testTime); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
		fsck(t, file)
	}
	mcopy := kit.Tool(t, "mcopy", "mtools")
	run(t, "x", mcopy, "-i", file, "-", "::/ANYMX")
	f, _ := open(t, file)
	if err := f.Replace("anymx", first, testTime); err == nil || !strings.Contains(err.Error(), "is a file") {
		t.Errorf("a file in its place: %v", err)
	}
}

// journal records writes and syncs.
type journal struct {
	data  []byte
	steps []step
}

type step struct {
	at   int64
	data []byte // nil: a sync
}

func (j *journal) ReadAt(p []byte, at int64) (int, error) {
	return bytes.NewReader(j.data).ReadAt(p, at)
}

func (j *journal) WriteAt(p []byte, at int64) (int, error) {
	if at+int64(len(p)) > int64(len(j.data)) {
		return 0, io.ErrShortWrite
	}
	j.steps = append(j.steps, step{at, bytes.Clone(p)})
	return copy(j.data[at:], p), nil
}

func (j *journal) Sync() error {
	j.steps = append(j.steps, step{})
	return nil
}

// Power may fail at any moment: whichever writes since the last sync reached the disk, the folder
// has either the old or the new content, and nothing else changes.
func TestReplaceSurvivesCrashes(t *testing.T) {
	for kind, size := range map[string]int64{"32": 34 << 20, "16": 4 << 20} {
		t.Run("FAT"+kind, func(t *testing.T) {
			file := fatImage(t, size, "-F", kind, "-s", "1")
			f, _ := open(t, file)
			if err := f.Replace("anymx", first, testTime); err != nil {
				t.Fatal(err)
			}
			image, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			j := &journal{data: bytes.Clone(image)}
			f, err = Open(j, int64(len(image)), Partition{Size: int64(len(image))})
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Replace("anymx", second, testTime); err != nil {
				t.Fatal(err)
			}
			crash(t, image, j.steps)
		})
	}
}

// crash simulates a crash after each step: with everything written so far, with each write since
// the last sync missing, and with each of them alone.
func crash(t *testing.T, image []byte, steps []step) {
	stable := bytes.Clone(image)
	var open []step
	seen := map[string]int{}
	check := func(apply func(data []byte)) {
		data := bytes.Clone(stable)
		apply(data)
		seen[state(t, data)]++
	}
	for _, s := range steps {
		if s.data == nil {
			for _, w := range open {
				copy(stable[w.at:], w.data)
			}
			open = nil
			continue
		}
		open = append(open, s)
		check(func(data []byte) {
			for _, w := range open {
				copy(data[w.at:], w.data)
			}
		})
		check(func(data []byte) { copy(data[s.at:], s.data) })
		check(func(data []byte) {
			for _, w := range open[:len(open)-1] {
				copy(data[w.at:], w.data)
			}
		})
	}
	if len(open) > 0 {
		t.Error("it ends without a sync")
	}
	if seen["old"] < 10 || seen["new"] < 3 || len(seen) != 2 {
		t.Errorf("seen: %v", seen)
	}
}

// state reports which content the folder has, after checking the whole file system.
func state(t *testing.T, data []byte) string {
	t.Helper()
	f, err := Open(&journal{data: data}, int64(len(data)), Partition{Size: int64(len(data))})
	if err != nil {
		t.Fatal(err)
	}
	kernel, err := f.ReadFile("EFI/Linux/anymx_0.5.0+3.efi", 1<<20)
	if err != nil || len(kernel) != 300_000 {
		t.Fatalf("the kernel: %d bytes, %v", len(kernel), err)
	}
	file := filepath.Join(t.TempDir(), "crashed")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	fsckLost(t, file, true)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	switch got := tree(t, f, "anymx"); {
	case same(got, asMap(first)):
		return "old"
	case same(got, asMap(second)):
		return "new"
	default:
		return fmt.Sprint(got)
	}
}
