package image

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A systemd that hangs stops feeding the watchdog, which resets the machine; that boot has used up
// one of the version's boot attempts. If systemd doesn't hang again, the version carries mail and
// gets all its boot attempts back.
func TestHungSystemdIsReset(t *testing.T) {
	s := place(t, "", nil)
	// Only freezing its own control group makes process 1 hang for good.
	s.Credentials(map[string][]byte{"tmpfiles.extra": []byte("w /sys/fs/cgroup/init.scope/cgroup.freeze - - - - 1\n")})
	must(t, s.On(t.Context()))
	began := time.Now()
	_, err := s.Machine.Await(t.Context(), 0, "WATCHDOG", bootLimit)
	must(t, err)
	t.Logf("the watchdog fired %.0f s after power-on", time.Since(began).Seconds())
	_, err = s.Machine.Await(t.Context(), 0, "RESET", time.Minute)
	must(t, err)
	s.Machine.Kill() // before it boots again
	if left := s.bootEntry(); !strings.Contains(left, "2 boot attempts left") {
		t.Errorf("boot entry: %s", left)
	}
	s.Credentials(nil)
	s.on()
	s.awaitConfirmed(first)
	s.run("update --status", `running +`+first+`, confirmed, 3 boot attempts left`)
	s.letters("reset", 10)
}

// bootEntry returns what `anymx image show` prints about the first version's boot entry.
func (s *site) bootEntry() string {
	s.t.Helper()
	disk := filepath.Join(s.t.TempDir(), "disk")
	must(s.t, s.Disk.CopyTo(disk))
	shown := anymx(s.t, "image", "show", disk)
	for line := range strings.Lines(shown) {
		if strings.Contains(line, "anymx_"+first) && strings.Contains(line, ".efi") {
			return line
		}
	}
	s.t.Fatalf("no boot entry of version %s:\n%s", first, shown)
	return ""
}
