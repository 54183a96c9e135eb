package image

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"testing"
	"time"

	"anymx/tests/lab"
)

// Power fails at some point of an update: during the download, while the slot is written, between
// the partitions and the boot entry, or at the reboot. Each time, the machine boots one of the two
// versions, and no mail is lost.
func TestPowerCutDuringUpdate(t *testing.T) {
	t.Run("download", func(t *testing.T) {
		cutUpdates(t, []moment{{`receive .* [2-9]\d%`, 5 * time.Second}, {`is complete`, 3 * time.Second}})
	})
	t.Run("write", func(t *testing.T) {
		cutUpdates(t, []moment{
			{`Successfully acquired`, 5 * time.Second}, // the hash tree: the root is next
			{`Importing .*\.efi`, 3 * time.Second},
		})
	})
}

// moment is a time at which power fails: within some time after a line on the console.
type moment struct {
	after  string
	within time.Duration
}

// cutUpdates begins an update for each moment, in which power fails, under load.
func cutUpdates(t *testing.T, moments []moment) {
	s := place(t, "", nil)
	s.on()
	url := s.serve(s.dir)
	runs, other := first, second
	var ledgers []lab.Ledger
	for n, moment := range moments {
		load := s.lab.Send(t.Context(), lab.Load{Sessions: 4, Each: 10, Recipient: fmt.Sprintf("update%d", n), Pause: 50 * time.Millisecond})
		s.enter("update --yes --allow-older --stage-only " + url + "/" + base(bundle(s.dir, other)))
		s.see(moment.after, 5*time.Minute)
		time.Sleep(rand.N(moment.within))
		seed := rand.Uint64()
		said := s.lastWord()
		lost, err := s.Cut(seed)
		must(t, err)
		ledger, err := load.Stop()
		must(t, err)
		ledgers = append(ledgers, ledger)
		s.outOfService(time.Minute)
		s.on()
		if s.shows(`running +` + regexp.QuoteMeta(other) + `, `) {
			runs, other = other, runs
		}
		t.Logf("cut at %q, seed %d: %s; it came back with %s", said, seed, lost, runs)
	}
	for n, ledger := range ledgers {
		s.settled(ledger, fmt.Sprintf("update%d", n))
	}
	// Updates still work.
	s.enter("update --yes --allow-older " + url + "/" + base(bundle(s.dir, other)))
	s.see(`anymx `+other+`,`, updateLimit)
	s.inService()
	s.awaitConfirmed(other)
}

// shows reports whether the machine's status has a matching line. Its status always has a line per
// slot.
func (s *site) shows(pattern string) bool {
	s.t.Helper()
	s.until("update --status", `running +0\.0\.\d, `, time.Minute)
	lines := s.Machine.Console.Lines()
	for _, l := range lines[max(0, len(lines)-12):] {
		if regexp.MustCompile(pattern).MatchString(l.Text) {
			return true
		}
	}
	return false
}

// lastWord returns the last console line that contains letters.
func (s *site) lastWord() string {
	lines := s.Machine.Console.Lines()
	for i := len(lines) - 1; i >= 0; i-- {
		if letters.MatchString(lines[i].Text) {
			return lines[i].Text
		}
	}
	return ""
}

var letters = regexp.MustCompile(`[a-z]{3}`)
