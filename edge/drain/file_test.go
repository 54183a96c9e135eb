package drain

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFile(t *testing.T) {
	dir := t.TempDir()
	f := fileIn(dir)
	if s, err := f.read(); s != nil || err != nil {
		t.Fatalf("a new node: %+v, %v", s, err)
	}
	began := time.Now()
	for _, reason := range []string{"new disks", ""} {
		if err := f.write(savedState{Reason: reason, Began: began}); err != nil {
			t.Fatal(err)
		}
		if s, err := f.read(); err != nil || s.Reason != reason || !s.Began.Equal(began) {
			t.Fatalf("%+v, %v", s, err)
		}
	}
	for range 2 { // removing what is not there is what was wanted
		if err := f.remove(); err != nil {
			t.Fatal(err)
		}
	}
	if s, err := f.read(); s != nil || err != nil {
		t.Fatalf("after removal: %+v, %v", s, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestFileUnreadable holds that nothing which can't be understood is taken
// for a node in service.
func TestFileUnreadable(t *testing.T) {
	for _, text := range []string{"", "{", "null", "{}", "[]", `{"reason": 5, "began": "2026-01-01T00:00:00Z"}`, `{"began":"yesterday"}`, "\x00\x00\x00\x00"} {
		f := fileIn(t.TempDir())
		if err := os.WriteFile(string(f.File), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := f.read(); err == nil || !strings.Contains(err.Error(), string(f.File)) {
			t.Errorf("%q: %+v, %v", text, s, err)
		}
	}
	f := fileIn(t.TempDir())
	if err := os.Mkdir(string(f.File), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := f.read(); err == nil {
		t.Error("a directory was read")
	}
	f = fileIn(filepath.Join(t.TempDir(), "absent"))
	if err := f.write(savedState{Began: time.Now()}); err == nil {
		t.Error("written into a directory that is not there")
	}
}
