package statefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestFile(t *testing.T) {
	dir := t.TempDir()
	f := File(filepath.Join(dir, "state.json"))
	if _, err := f.Read(10); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
	if err := f.Remove(); err != nil {
		t.Errorf("removing a missing file: %v", err)
	}
	for _, text := range []string{"first", "", "0123456789"} {
		if err := f.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := f.Read(10); string(got) != text || err != nil {
			t.Errorf("%q, %v, want %q", got, err, text)
		}
	}
	if _, err := f.Read(9); err == nil {
		t.Error("a file above the limit was read")
	}
	if info, err := os.Stat(string(f)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	// The remains of a write that a crash cut off change nothing, and are overwritten.
	if err := os.WriteFile(string(f)+".new", []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Read(10); string(got) != "0123456789" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if err := f.Write([]byte("whole")); err != nil {
		t.Error(err)
	}
	if err := f.Remove(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestFailedWrite checks that a failed write leaves the old file, and nothing next to it.
func TestFailedWrite(t *testing.T) {
	dir := t.TempDir()
	f := File(filepath.Join(dir, "state.json"))
	if err := os.MkdirAll(filepath.Join(string(f), "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := f.Write([]byte("x")); err == nil {
		t.Error("a directory was replaced")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
	if err := File(filepath.Join(dir, "absent", "state.json")).Write(nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without its directory: %v", err)
	}
}
