package control

import (
	"fmt"
	"runtime/debug"
	"strconv"
	"sync"
	"time"
)

// ClockStatus says how far the machine's wall clock can be trusted.
type ClockStatus struct {
	// Synchronised says whether somebody keeps the clock right, by what the kernel or
	// systemd-timesyncd says. Nil: neither can be asked.
	Synchronised *bool `json:"synchronised,omitempty"`
	// BeforeBuild says that the clock is before Built, and so wrong: mail is dated from Built on.
	BeforeBuild bool      `json:"before_build"`
	Built       time.Time `json:"built,omitzero"` // of the commit that the program is of; zero: not known
	// Steps counts the times that the clock was seen to be set since the program began.
	Steps   int64         `json:"steps"`
	Step    time.Duration `json:"step_ns,omitempty"` // by how much, the last time; negative: back
	Stepped time.Time     `json:"stepped,omitzero"`  // when, by the clock as it was set then
}

// Problem says what may be wrong with the clock; "": nothing is known to be.
func (c *ClockStatus) Problem() string {
	switch {
	case c == nil:
		return ""
	case c.BeforeBuild:
		return "the clock is before this program was built (" + c.Built.UTC().Format(time.DateOnly) + "); set it, or give the machine an NTP server"
	case c.Synchronised != nil && !*c.Synchronised:
		return "the clock is not synchronised; give the machine an NTP server"
	case c.Steps > 0:
		return "the clock was " + c.stepText()
	}
	return ""
}

func (c *ClockStatus) stepText() string {
	if c.Step < 0 {
		return "set back by " + span(-c.Step, true)
	}
	return "set ahead by " + span(c.Step, true)
}

func (c *ClockStatus) text(now time.Time) []line {
	if c == nil {
		return nil
	}
	text := "not known whether it is synchronised"
	if c.Synchronised != nil {
		text = "not synchronised"
		if *c.Synchronised {
			text = "synchronised"
		}
	}
	if c.Steps > 0 {
		text += fmt.Sprintf("; set %s since the start, last %s, %s", times(c.Steps), c.stepText(), when(c.Stepped, now))
	}
	lines := plainLine(text)
	if c.BeforeBuild {
		lines = append(lines, line{c.Problem(), true})
	}
	return lines
}

func times(n int64) string {
	if n == 1 {
		return "once"
	}
	return count(n) + " times"
}

// built is the date of the commit that a build sets, in seconds since 1970 (-ldflags
// "-X anymx/edge/operate/control.built=1796062496"). "" or "0": the toolchain's own stamp counts.
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
