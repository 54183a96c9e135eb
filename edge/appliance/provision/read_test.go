package provision

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadTree(t *testing.T) {
	dir := t.TempDir()
	writeTree(t, dir, with(goodFiles(), "notes.txt", "x", ".git/config", "x", "tls/key.pem~", "x"))
	bundle, err := ReadBundle(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(bundle.Files) != len(goodFiles()) || len(bundle.Faults) > 0 || fmt.Sprint(bundle.Unused) != "[notes.txt]" || bundle.Names()[0] != "anymx.toml" {
		t.Errorf("%v %v %v", bundle.Names(), bundle.Faults, bundle.Unused)
	}
	if c := Check(bundle, CheckOptions{Now: testTime}); len(c.Problems) > 0 {
		t.Error(problems(c))
	}
	alone, err := ReadBundle(filepath.Join(dir, "anymx.toml"))
	if err != nil || len(alone.Files) != 1 || string(alone.Files["anymx.toml"]) != goodConfig {
		t.Errorf("%v, %v", alone, err)
	}
	if _, err := ReadBundle(filepath.Join(dir, "tls")); !errors.Is(err, errNoConfig) {
		t.Errorf("a folder without a config: %v", err)
	}
	if _, err := ReadBundle(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
}

// Malicious content of a stick does no harm and is reported.
func TestReadHostileTree(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("of this machine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		make func(dir string) error
		file string
		want string
	}{
		"a link": {func(dir string) error {
			return errors.Join(os.Remove(dir+"/tls/key.pem"), os.Symlink(secret, dir+"/tls/key.pem"))
		}, "tls/key.pem", "symbolic link"},
		"a link in the tree": {func(dir string) error {
			return errors.Join(os.Remove(dir+"/tls/key.pem"), os.Symlink("../shield.key", dir+"/tls/key.pem"))
		}, "tls/key.pem", "symbolic link"},
		"a folder that is a link": {func(dir string) error {
			return errors.Join(os.RemoveAll(dir+"/credentials"), os.Symlink(filepath.Dir(secret), dir+"/credentials"))
		}, "credentials", "symbolic link"},
		"a FIFO": {func(dir string) error {
			return errors.Join(os.Remove(dir+"/shield.key"), mkfifo(dir+"/shield.key"))
		}, "shield.key", "not a regular file"},
		"a folder": {func(dir string) error {
			return errors.Join(os.Remove(dir+"/shield.key"), os.Mkdir(dir+"/shield.key", 0o755))
		}, "shield.key", "not a regular file"},
		"a huge file": {func(dir string) error { return os.Truncate(dir+"/lists/shield.block", 1<<40) }, "lists/shield.block", "too large"},
		"many files": {func(dir string) error {
			for i := range maxListed {
				if err := os.WriteFile(fmt.Sprintf("%s/network/%d.network", dir, i), nil, 0o600); err != nil {
					return err
				}
			}
			return nil
		}, "network", "too many files"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			writeTree(t, dir, goodFiles())
			if err := test.make(dir); err != nil {
				t.Fatal(err)
			}
			bundle, err := ReadBundle(dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := bundle.Faults[test.file]; err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("fault %v, want %q", err, test.want)
			}
			for name, data := range bundle.Files {
				if bytes.Contains(data, []byte("of this machine")) {
					t.Errorf("%s holds a file of this machine", name)
				}
			}
			c := Check(bundle, CheckOptions{Now: testTime})
			if len(c.Problems) == 0 {
				t.Error("no problem")
			}
			quiet(t, problems(c))
		})
	}
	dir := t.TempDir()
	if err := os.Symlink(secret, filepath.Join(dir, "anymx.toml")); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadBundle(dir); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("a config that is a link: %v", err)
	}
}

// pack creates a tar of files; zip compresses it.
func pack(t testing.TB, files map[string]string, zip bool, extra ...*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, text := range files {
		if err := w.WriteHeader(&tar.Header{Name: "./" + name, Mode: 0o600, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	for _, h := range extra {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if !zip {
		return b.Bytes()
	}
	var z bytes.Buffer
	c := gzip.NewWriter(&z)
	if _, err := c.Write(b.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	return z.Bytes()
}

func TestReadTar(t *testing.T) {
	for _, zip := range []bool{false, true} {
		a, err := readTar(pack(t, goodFiles(), zip, &tar.Header{Name: "./", Typeflag: tar.TypeDir}, &tar.Header{Name: "tls/", Typeflag: tar.TypeDir}))
		if err != nil {
			t.Fatal(err)
		}
		bundle, err := collect(a)
		if err != nil || len(bundle.Files) != len(goodFiles()) {
			t.Errorf("%v, %v", bundle.Names(), err)
		}
		if c := Check(bundle, CheckOptions{Now: testTime}); len(c.Problems) > 0 {
			t.Error(problems(c))
		}
	}
	link := &tar.Header{Name: "tls/key.pem", Typeflag: tar.TypeSymlink, Linkname: "/etc/shadow"}
	a, err := readTar(pack(t, with(goodFiles(), "tls/key.pem", "-"), false, link))
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := collect(a)
	if err != nil || bundle.Faults["tls/key.pem"] == nil || bundle.Files["tls/key.pem"] != nil {
		t.Errorf("a link: %v, %v", bundle.Faults, err)
	}
	for name, data := range map[string][]byte{
		"out":      pack(t, nil, false, &tar.Header{Name: "../x"}),
		"absolute": pack(t, nil, false, &tar.Header{Name: "/etc/x"}),
		"inside":   pack(t, nil, false, &tar.Header{Name: "a/../../x"}),
		"cut":      pack(t, map[string]string{"x": strings.Repeat("x", 2000)}, false)[:700],
		"zip cut":  pack(t, goodFiles(), true)[:700],
		"noise":    bytes.Repeat([]byte("no tar "), 200),
	} {
		if a, err := readTar(data); err == nil {
			t.Errorf("%s: taken: %v", name, a.files)
		}
	}
}

// A decompression bomb is refused before it is in memory.
func TestReadTarBomb(t *testing.T) {
	var z bytes.Buffer
	c := gzip.NewWriter(&z)
	w := tar.NewWriter(c)
	const size = maxTotal + 1<<20
	if err := w.WriteHeader(&tar.Header{Name: "anymx.toml", Mode: 0o600, Size: size}); err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 1<<20)
	for range size >> 20 {
		if _, err := w.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), c.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := readTar(z.Bytes()); !errors.Is(err, errTooLarge) {
		t.Errorf("%d bytes: %v", z.Len(), err)
	}
}

func FuzzReadTar(f *testing.F) {
	f.Add(pack(f, goodFiles(), false))
	f.Add(pack(f, goodFiles(), true))
	f.Add(pack(f, nil, false, &tar.Header{Name: "a/../../x"}, &tar.Header{Name: "x", Typeflag: tar.TypeLink, Linkname: "y"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := readTar(data)
		if err != nil {
			return
		}
		for name := range a.files {
			if strings.HasPrefix(name, "/") || strings.HasPrefix(name, "../") || strings.Contains(name, "/../") {
				t.Errorf("the name %q leads out", name)
			}
		}
		bundle, err := collect(a)
		if err != nil {
			return
		}
		for name := range bundle.Files {
			if err := CheckName(name); err != nil {
				t.Errorf("%q: %v", name, err)
			}
		}
		Check(bundle, CheckOptions{Now: testTime})
	})
}
