package spool

import "testing"

// A spool that fills because core is away does not withdraw a node; a disk that other data fills,
// or that fails, does.
func TestBacklogged(t *testing.T) {
	const reserve = 1 << 30
	for name, test := range map[string]struct {
		reason      Reason
		free, bytes int64
		want        bool
	}{
		"high water":                      {ReasonHighWater, 50 * reserve, 10 * reserve, true},
		"messages":                        {ReasonMessages, 50 * reserve, 0, true},
		"storage fails":                   {ReasonEngine, 50 * reserve, 10 * reserve, false},
		"a disk full of other things":     {ReasonReserve, reserve / 2, 1 << 20, false},
		"a disk full of mail":             {ReasonReserve, reserve / 2, 20 * reserve, true},
		"a disk full of mail, for a part": {ReasonReserve, reserve / 2, 3 * reserve / 2, true},
	} {
		s := Stats{DiskFree: test.free, Bytes: test.bytes, DiskReserve: reserve}
		if got := (&Full{Reason: test.reason}).Backlogged(&s); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
