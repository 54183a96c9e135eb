package words

import (
	"strings"
	"testing"
	"time"

	"anymx/edge/operate/api"
)

func TestClockText(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	yes, no := true, false
	for _, tt := range []struct {
		clock   *api.ClockStatus
		text    string
		problem string
	}{
		{nil, "", ""},
		{&api.ClockStatus{}, "  not known whether it is synchronised", ""},
		{&api.ClockStatus{Synchronised: &yes}, "  synchronised", ""},
		{&api.ClockStatus{Synchronised: &no}, "  not synchronised", "the clock is not synchronised; give the machine an NTP server"},
		{
			&api.ClockStatus{Synchronised: &yes, Steps: 1, Step: api.Seconds(-2 * time.Hour), Stepped: now.Add(-time.Minute)},
			"  synchronised; set once since the start, last set back by 2h, 1m ago", "the clock was set back by 2h",
		},
		{
			&api.ClockStatus{Steps: 3, Step: api.Seconds(5 * time.Second), Stepped: now},
			"  not known whether it is synchronised; set 3 times since the start, last set ahead by 5s, now", "the clock was set ahead by 5s",
		},
		{
			&api.ClockStatus{Synchronised: &no, BeforeBuild: true, Built: now},
			"  not synchronised\n! the clock is before this program was built (2026-05-01); set it, or give the machine an NTP server",
			"the clock is before this program was built (2026-05-01); set it, or give the machine an NTP server",
		},
	} {
		var all []string
		for _, l := range clockText(tt.clock, now) {
			mark := "  "
			if l.Wrong {
				mark = "! "
			}
			all = append(all, mark+l.Text)
		}
		if got := strings.Join(all, "\n"); got != tt.text {
			t.Errorf("%+v:\n%s\nwant\n%s", tt.clock, got, tt.text)
		}
		if got := ClockProblem(tt.clock); got != tt.problem {
			t.Errorf("%+v: %q, want %q", tt.clock, got, tt.problem)
		}
	}
}
