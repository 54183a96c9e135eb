package wire

import (
	"testing"
	"time"
)

// came are bytes for which the client was waited.
type came struct {
	after time.Duration
	bytes int64
}

// A client may be silent for as long as what came in the last minute is worth, and what came before that
// does not count.
func TestRate(t *testing.T) {
	const least = 100 // bytes a second
	for name, tt := range map[string]struct {
		came  []came
		grace time.Duration
		want  time.Duration
	}{
		"nothing yet":                      {nil, 0, 0},
		"grace":                            {nil, 30 * time.Second, 30 * time.Second},
		"grace, some of it used":           {[]came{{10 * time.Second, 0}}, 30 * time.Second, 20 * time.Second},
		"worth ten seconds":                {[]came{{0, 1000}}, 0, 10 * time.Second},
		"worth ten seconds, four are over": {[]came{{4 * time.Second, 1000}}, 0, 6 * time.Second},
		"exactly as fast as it must be":    {[]came{{10 * time.Second, 1000}, {10 * time.Second, 1000}}, 0, 0},
		"too slow":                         {[]came{{10 * time.Second, 900}}, 0, -time.Second},
		"paid for hours in advance":        {[]came{{0, 1 << 40}}, 0, time.Minute},
		"paid in advance, long ago":        {[]came{{0, 1 << 40}, {30 * time.Second, 1}, {29 * time.Second, 1}}, 0, time.Second},
		"paid in advance, used up":         {[]came{{0, 1 << 40}, {30 * time.Second, 1}, {40 * time.Second, 1}}, 0, -10 * time.Second},
		"steady for an hour":               {steady(3600, least), 0, 0},
		"twice as fast for an hour":        {steady(3600, 2*least), 0, 30 * time.Second},
	} {
		var r rate
		for _, c := range tt.came {
			r.add(c.after, c.bytes)
		}
		got := r.patience(least, tt.grace)
		// A bucket is a sixth of the window, so a steady client is known by that.
		if slack := window / 6; got < tt.want-slack || got > tt.want+slack {
			t.Errorf("%s: patience of %s, want %s", name, got, tt.want)
		}
	}
}

// steady are n seconds in each of which bytes come.
func steady(n int, bytes int64) (all []came) {
	for range n {
		all = append(all, came{time.Second, bytes})
	}
	return all
}
