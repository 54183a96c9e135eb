package api

import (
	"runtime/debug"
	"strconv"
	"sync"
	"time"
)

// ClockStatus tells how far the machine's wall clock can be trusted.
type ClockStatus struct {
	// Synchronised tells whether the clock is kept right, according to the kernel or
	// systemd-timesyncd. Nil: neither could be asked.
	Synchronised *bool `json:"synchronised,omitempty"`
	// BeforeBuild says that the clock is before Built, and so wrong: mail is dated from Built on.
	BeforeBuild bool      `json:"before_build"`
	Built       time.Time `json:"built,omitzero"` // date of the commit that the program was built from; zero: not known
	// Steps counts how often the clock was set since the program began.
	Steps   int64     `json:"steps"`
	Step    Seconds   `json:"step_seconds,omitempty"` // size of the last one; negative: back
	Stepped time.Time `json:"stepped,omitzero"`       // when, by the clock as it was set then
}

// built is the date of the commit, set by the build, in seconds since 1970 (-ldflags "-X
// anymx/edge/operate/api.built=1796062496"). "" or "0": the toolchain's own stamp is used.
var built string

// Built returns the date of the commit that this program was built from, zero if it is not known. The
// same commit gives the same date.
var Built = sync.OnceValue(func() time.Time {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return builtAt(built, info)
})

// builtAt reads the stamp of the build, or that of the toolchain.
func builtAt(stamp string, info *debug.BuildInfo) time.Time {
	if seconds, err := strconv.ParseInt(stamp, 10, 64); err == nil && seconds > 0 {
		return time.Unix(seconds, 0).UTC()
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			t, _ := time.Parse(time.RFC3339, s.Value) // zero if it can't be read
			return t
		}
	}
	return time.Time{}
}
