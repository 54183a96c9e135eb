package edge

import (
	"testing"

	"anymx/edge/spool"
)

// A spool that fills because core is away does not withdraw a node; a disk that other data fills,
// or that fails, does.
func TestBacklogged(t *testing.T) {
	const reserve = 1 << 30
	for name, test := range map[string]struct {
		reason      spool.Reason
		free, bytes int64
		want        bool
	}{
		"high water":                      {spool.ReasonHighWater, 50 * reserve, 10 * reserve, true},
		"messages":                        {spool.ReasonMessages, 50 * reserve, 0, true},
		"storage fails":                   {spool.ReasonEngine, 50 * reserve, 10 * reserve, false},
		"a disk full of other things":     {spool.ReasonReserve, reserve / 2, 1 << 20, false},
		"a disk full of mail":             {spool.ReasonReserve, reserve / 2, 20 * reserve, true},
		"a disk full of mail, for a part": {spool.ReasonReserve, reserve / 2, 3 * reserve / 2, true},
	} {
		s := spool.Stats{DiskFree: test.free, Bytes: test.bytes, DiskReserve: reserve}
		if got := backlogged(&spool.Full{Reason: test.reason}, &s); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
