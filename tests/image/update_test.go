package image

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"anymx/edge/appliance/diskimage"
	"anymx/tests/lab"
)

// This is the life of one machine: an unsigned update, a good one, one whose mail program fails,
// and a root that becomes corrupt years later.
func TestUpdates(t *testing.T) {
	s := place(t, "", nil)
	s.on()
	url := s.serve(s.dir)

	t.Run("bad signature", func(t *testing.T) {
		s.t = t
		forged := s.serve(forge(t, bundle(s.dir, second)))
		s.run("update --yes "+forged+"/forged.update", `signature|signed`)
		s.run("update --status", `running +`+regexp.QuoteMeta(first))
		s.letters("unsigned", 10)
	})
	t.Run("good", func(t *testing.T) {
		s.t = t
		load := s.lab.Send(t.Context(), lab.Load{Sessions: 4, Each: 10, Recipient: "good", Pause: 50 * time.Millisecond})
		began := time.Now()
		s.update(url, second)
		s.outOfService(updateLimit)
		t.Logf("%.0f s until the routes are withdrawn", time.Since(began).Seconds())
		s.see(`anymx `+second+`,`, updateLimit)
		s.inService()
		t.Logf("%.0f s until the new version is in service", time.Since(began).Seconds())
		s.awaitConfirmed(second)
		must(t, load.AwaitMore(t.Context(), 10, time.Minute))
		ledger, err := load.Stop()
		must(t, err)
		s.settled(ledger, "good")
	})
	t.Run("rollback by hand", func(t *testing.T) {
		s.t = t
		s.enter("update --rollback --yes")
		s.see(`anymx `+first+`,`, bootLimit)
		s.inService()
		s.letters("back", 10)
	})
	t.Run("again", func(t *testing.T) {
		s.t = t
		s.update(url, second)
		s.see(`anymx `+second+`,`, updateLimit)
		s.inService()
		s.awaitConfirmed(second)
	})
	t.Run("root breaks", func(t *testing.T) {
		s.t = t
		s.Machine.Kill()
		s.corrupt("anymx_" + second)
		s.outOfService(time.Minute)
		began := time.Now()
		must(t, s.On(t.Context()))
		s.see(`anymx `+first+`,`, 15*time.Minute)
		s.inService()
		t.Logf("%.0f s until the other slot is in service", time.Since(began).Seconds())
		s.letters("other", 10)
	})
	t.Run("mail program fails", func(t *testing.T) {
		s.t = t
		builtBroken(t)
		began := time.Now()
		s.update(url, broken)
		s.see(`anymx `+broken+`,`, updateLimit)
		// Three boot attempts, each until it clearly fails or the deadline ends it.
		s.see(`anymx `+first+`,`, 20*time.Minute)
		s.inService()
		t.Logf("%.0f s until the version before is back in service", time.Since(began).Seconds())
		s.run("update --status", `running +`+regexp.QuoteMeta(first))
		s.letters("survived", 10)
	})
}

// update makes the machine download and install a version; it drains and reboots.
func (s *site) update(url, version string) {
	s.t.Helper()
	s.enter(fmt.Sprintf("update --yes %s/%s", url, filepath.Base(bundle(s.dir, version))))
}

// awaitConfirmed waits until the running version is confirmed.
func (s *site) awaitConfirmed(version string) {
	s.t.Helper()
	s.until("update --status", regexp.QuoteMeta(version)+`, confirmed`, 5*time.Minute)
}

// corrupt overwrites parts of the used area of a partition.
func (s *site) corrupt(label string) {
	s.t.Helper()
	table, err := diskimage.ReadTable(s.Disk, s.Disk.Size())
	must(s.t, err)
	for _, p := range table.Partitions {
		if p.Label != label {
			continue
		}
		for at := int64(64 << 10); at < 100<<20; at += 1 << 20 {
			_, err := s.Disk.WriteAt(bytes.Repeat([]byte("corrupt "), 512), p.Start+at)
			must(s.t, err)
		}
		s.Disk.Flush()
		return
	}
	s.t.Fatalf("there is no partition %s", label)
}

// forge changes the version in a bundle's manifest but keeps the signature. The rest of the bundle
// is never read.
func forge(t *testing.T, from string) string {
	t.Helper()
	file, err := os.Open(from)
	must(t, err)
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, 1<<20))
	must(t, err)
	named, forged := []byte(`"`+second+`"`), []byte(`"0.0.9"`)
	if !bytes.Contains(text, named) {
		t.Fatal("the bundle does not name its version")
	}
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "forged.update"), bytes.Replace(text, named, forged, 1), 0o644))
	return dir
}
