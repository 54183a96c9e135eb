package image

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A systemd that hangs feeds the machine's watchdog no more, which resets the
// machine; and the boot has cost the version one of its tries. Where systemd does
// not hang again, the version carries mail and has them all back.
func TestHungSystemdIsReset(t *testing.T) {
	s := place(t, "", nil)
	// The one thing that holds process 1 for good: its own control group is frozen.
	s.Credentials(map[string][]byte{"tmpfiles.extra": []byte("w /sys/fs/cgroup/init.scope/cgroup.freeze - - - - 1\n")})
	must(t, s.On(t.Context()))
	began := time.Now()
	_, err := s.Machine.Await(t.Context(), 0, "WATCHDOG", bootLimit)
	must(t, err)
	t.Logf("the watchdog fired %.0f s after power-on", time.Since(began).Seconds())
	_, err = s.Machine.Await(t.Context(), 0, "RESET", time.Minute)
	must(t, err)
	s.Machine.Kill() // before it boots again
	if left := s.bootEntry(); !strings.Contains(left, "2 tries left") {
		t.Errorf("boot entry: %s", left)
	}
	s.Credentials(nil)
	s.on()
	s.proven(first)
	s.run("update --status", `running +`+first+`, proven, 3 tries left`)
	s.letters("reset", 10)
}

// bootEntry is what `anymx image show` has to say of the first version's boot entry.
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
