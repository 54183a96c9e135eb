package control

import (
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

func TestClockText(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	yes, no := true, false
	for _, tt := range []struct {
		clock   *ClockStatus
		text    string
		problem string
	}{
		{nil, "", ""},
		{&ClockStatus{}, "  not known whether it is synchronised", ""},
		{&ClockStatus{Synchronised: &yes}, "  synchronised", ""},
		{&ClockStatus{Synchronised: &no}, "  not synchronised", "the clock is not synchronised; give the machine an NTP server"},
		{
			&ClockStatus{Synchronised: &yes, Steps: 1, Step: -2 * time.Hour, Stepped: now.Add(-time.Minute)},
			"  synchronised; set once since the start, last set back by 2h, 1m ago", "the clock was set back by 2h",
		},
		{
			&ClockStatus{Steps: 3, Step: 5 * time.Second, Stepped: now},
			"  not known whether it is synchronised; set 3 times since the start, last set ahead by 5s, now", "the clock was set ahead by 5s",
		},
		{
			&ClockStatus{Synchronised: &no, BeforeBuild: true, Built: now},
			"  not synchronised\n! the clock is before this program was built (2026-05-01); set it, or give the machine an NTP server",
			"the clock is before this program was built (2026-05-01); set it, or give the machine an NTP server",
		},
	} {
		var all []string
		for _, l := range tt.clock.text(now) {
			mark := "  "
			if l.Wrong {
				mark = "! "
			}
			all = append(all, mark+l.Text)
		}
		if got := strings.Join(all, "\n"); got != tt.text {
			t.Errorf("%+v:\n%s\nwant\n%s", tt.clock, got, tt.text)
		}
		if got := tt.clock.Problem(); got != tt.problem {
			t.Errorf("%+v: %q, want %q", tt.clock, got, tt.problem)
		}
	}
}

// The stamp of a build goes before the toolchain's, which a build without the repository does not have.
func TestBuiltAt(t *testing.T) {
	toolchain := &debug.BuildInfo{Settings: []debug.BuildSetting{{Key: "vcs.time", Value: "2026-01-02T03:04:05Z"}}}
	for _, tt := range []struct {
		stamp string
		info  *debug.BuildInfo
		want  string
	}{
		{"1796062496", toolchain, "2026-11-30T18:14:56Z"},
		{"", toolchain, "2026-01-02T03:04:05Z"},
		{"0", toolchain, "2026-01-02T03:04:05Z"},
		{"soon", &debug.BuildInfo{}, "0001-01-01T00:00:00Z"},
	} {
		if got := builtAt(tt.stamp, tt.info).Format(time.RFC3339); got != tt.want {
			t.Errorf("%q: %s, want %s", tt.stamp, got, tt.want)
		}
	}
}
