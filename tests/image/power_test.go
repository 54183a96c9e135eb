package image

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"anymx/tests/lab"
)

// cuts is how often power is cut under load.
const cuts = 10

// Power fails while clients send, and the disk loses or tears unflushed writes. In the end, core
// has every acknowledged message.
func TestPowerCutUnderLoad(t *testing.T) {
	s := place(t, "", nil)
	s.on()
	var ledgers []lab.Ledger
	for cut := range cuts {
		load := s.lab.Send(t.Context(), lab.Load{Sessions: 8, Each: 10, Recipient: fmt.Sprintf("cut%d", cut)})
		err := load.AwaitMore(t.Context(), 50, 2*time.Minute)
		// Core is unreachable for half of the cuts, so that the spool is full.
		if err == nil && cut%2 == 0 {
			must(t, s.lab.Core.Cut(t.Context()))
			err = load.AwaitMore(t.Context(), 50, time.Minute)
		}
		must(t, err)
		time.Sleep(rand.N(time.Second))
		seed := rand.Uint64()
		lost, err := s.Cut(seed)
		must(t, err)
		ledger, err := load.Stop()
		must(t, err)
		must(t, s.lab.Core.Mend(t.Context()))
		ledgers = append(ledgers, ledger)
		t.Logf("cut %d, seed %d: %s; %d acknowledged before", cut+1, seed, lost, len(ledger.Acknowledged))
		s.outOfService(time.Minute)
		s.on()
	}
	for cut, ledger := range ledgers {
		s.settled(ledger, fmt.Sprintf("cut%d", cut))
	}
}
