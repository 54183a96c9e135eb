package service

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Each change of a file has its own stamp, even one that restores the old size and time.
func TestStampOf(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	absent := StampOf(file)
	if absent != (Stamp{}) {
		t.Errorf("without a file: %+v", absent)
	}
	write := func(text string) Stamp {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		return StampOf(file)
	}
	first := write("a")
	if first == absent || first != StampOf(file) {
		t.Errorf("%+v, then %+v", first, StampOf(file))
	}
	for deadline := time.Now().Add(5 * time.Second); write("b") == first; { // the kernel's clock is coarse
		if time.Now().After(deadline) {
			t.Fatal("another content, and the same stamp")
		}
	}
}
