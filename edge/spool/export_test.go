package spool

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestExportAside exports each message that was set aside once, leaves the reserve free, and
// resumes an interrupted export.
func TestExportAside(t *testing.T) {
	o := testOptions(nil)
	o.Dir = filepath.Join(t.TempDir(), "spool")
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	s := openTest(t, o)
	all := stored{}
	all.fill(t, s, 8)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if folders, _, err := ExportAside(o.Dir, false, 0, now, nil); err != nil || len(folders) != 0 {
		t.Errorf("before anything was set aside: %q, %v", folders, err)
	}
	aside, err := SetAside(o.Dir, now)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := ExportAside(o.Dir, false, math.MaxInt64/2, now, nil); err == nil || !strings.Contains(err.Error(), "free space") {
		t.Errorf("a full disk: %v", err)
	}
	to := filepath.Join(filepath.Dir(o.Dir), exportName, filepath.Base(aside))
	if err := errors.Join(os.MkdirAll(to+unfinished, 0o700), os.WriteFile(filepath.Join(to+unfinished, "x.eml"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	told := 0
	folders, sum, err := ExportAside(o.Dir, false, 0, now, func(Salvaged) { told++ })
	if err != nil || len(folders) != 1 || folders[0] != to || sum.Messages != 8 || told != 8 {
		t.Fatalf("%q, %+v, %d told, %v", folders, sum, told, err)
	}
	for id, body := range all {
		if got, err := os.ReadFile(filepath.Join(to, id.String()+".eml")); err != nil || !bytes.Equal(got, body) {
			t.Errorf("%s: %d bytes, %v", id, len(got), err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(to), "*"+unfinished)); err != nil || len(left) != 0 {
		t.Errorf("left over: %q, %v", left, err)
	}
	if folders, _, err := ExportAside(o.Dir, false, 0, now, nil); err != nil || len(folders) != 0 {
		t.Errorf("a second time: %q, %v", folders, err)
	}
	// The store itself, which is intact here, with the time in its name.
	s = openTest(t, o)
	all = stored{}
	all.fill(t, s, 3)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	folders, sum, err = ExportAside(o.Dir, true, 0, now.Add(time.Hour), nil)
	if err != nil || len(folders) != 1 || filepath.Base(folders[0]) != "spool-20260304T060607Z" || sum.Messages != 3 {
		t.Errorf("%q, %+v, %v", folders, sum, err)
	}
}
