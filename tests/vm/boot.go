package vm

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Marker is a line of the console that tells how far a boot is.
type Marker struct {
	Name    string
	Pattern *regexp.Regexp
}

// Reached is how far a boot was, and when.
type Reached struct {
	Name string
	At   time.Duration // since power-on
}

// What is told of every boot, before the markers of Options.
const (
	Firmware = "firmware" // has said its first word
	Kernel   = "kernel"   // by its own clock, so that what it prints late does not count
	Initrd   = "initrd"   // systemd runs in the initrd
	Root     = "root"     // systemd runs in the root that was found and checked
)

var (
	stamped = regexp.MustCompile(`^\[ *(\d+\.\d{6})\] `)

	systemd = []Marker{
		{Initrd, regexp.MustCompile(`Booting initrd of `)},
		{Root, regexp.MustCompile(`Welcome to `)},
	}
)

// Boot is what this boot has reached so far, in order. After a reboot it is the
// first boot that counts, after Resume there is none.
func (m *Machine) Boot() []Reached { return reached(m.Console.Lines(), m.options.Markers) }

// reached reads the lines of a console.
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

// kernelStart is when the kernel's clock stood at 0. The kernel holds its first
// lines back until it knows the console, so the line that was delayed least tells;
// those of the next boot begin with a smaller number.
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
		if seconds+5 < last { // 5: lines of two processors are not quite in order
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

// Split is how long each part took, for people: "firmware 3.0s, kernel 4.2s, ...".
// A part is the time from what was reached before.
func Split(all []Reached) string {
	var parts []string
	last := time.Duration(0)
	for _, r := range all {
		parts = append(parts, fmt.Sprintf("%s %.1fs", r.Name, (r.At-last).Seconds()))
		last = r.At
	}
	return strings.Join(parts, ", ")
}
