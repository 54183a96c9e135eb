package vm

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Marker is a console line that shows the progress of a boot.
type Marker struct {
	Name    string
	Pattern *regexp.Regexp
}

// Reached is a stage of a boot and when it was reached.
type Reached struct {
	Name string
	At   time.Duration // since power-on
}

// The stages of every boot, before the markers of Options.
const (
	Firmware = "firmware" // its first output
	Kernel   = "kernel"   // by its own clock, so that late output doesn't count
	Initrd   = "initrd"   // systemd runs in the initrd
	Root     = "root"     // systemd runs in the verified root
)

var (
	stamped = regexp.MustCompile(`^\[ *(\d+\.\d{6})\] `)

	systemd = []Marker{
		{Initrd, regexp.MustCompile(`Booting initrd of `)},
		{Root, regexp.MustCompile(`Welcome to `)},
	}
)

// Boot returns the stages reached so far, in order. After a reboot these are still those of the
// first boot; after Resume there are none.
func (m *Machine) Boot() []Reached { return reached(m.Console.Lines(), m.options.Markers) }

// reached finds the stages in the lines of a console.
func reached(lines []Line, markers []Marker) []Reached {
	var all []Reached
	if len(lines) > 0 {
		all = append(all, Reached{Firmware, lines[0].At})
	}
	if at, ok := kernelStart(lines); ok {
		all = append(all, Reached{Kernel, at})
	}
	for _, marker := range slices.Concat(systemd, markers) {
		for _, l := range lines {
			if marker.Pattern.MatchString(l.Text) {
				all = append(all, Reached{marker.Name, l.At})
				break
			}
		}
	}
	return all
}

// kernelStart returns when the kernel's clock was 0. The kernel delays its first lines until it
// knows the console, so the least delayed line is the most exact. The lines of the next boot begin
// with a smaller number.
func kernelStart(lines []Line) (start time.Duration, ok bool) {
	last := -1.0
	for _, l := range lines {
		match := stamped.FindStringSubmatch(l.Text)
		if match == nil {
			continue
		}
		seconds, err := strconv.ParseFloat(match[1], 64)
		if err != nil {
			continue
		}
		if seconds+5 < last { // 5: lines of two processors are not exactly in order
			break
		}
		last = max(last, seconds)
		at := l.At - time.Duration(seconds*float64(time.Second))
		if !ok || at < start {
			start, ok = max(0, at), true
		}
	}
	return start, ok
}

// Split formats how long each part took: "firmware 3.0s, kernel 4.2s, ...". Each time is counted
// from the previous stage.
func Split(all []Reached) string {
	var parts []string
	last := time.Duration(0)
	for _, r := range all {
		parts = append(parts, fmt.Sprintf("%s %.1fs", r.Name, (r.At-last).Seconds()))
		last = r.At
	}
	return strings.Join(parts, ", ")
}
