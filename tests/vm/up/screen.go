package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// screen prints for a person. Colors are for terminals only.
type screen struct {
	out    io.Writer
	colour bool
	began  time.Time
}

func newScreen(out *os.File) *screen {
	s := &screen{out: out, began: time.Now()}
	if info, err := out.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		s.colour = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && os.Getenv("TERM") != ""
	}
	return s
}

func (s *screen) bold(text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[1m" + text + "\x1b[0m"
}

// title starts a section.
func (s *screen) title(format string, args ...any) {
	fmt.Fprintf(s.out, "\n%s\n", s.bold(fmt.Sprintf(format, args...)))
}

// line prints a fact.
func (s *screen) line(format string, args ...any) { fmt.Fprintf(s.out, "  "+format+"\n", args...) }

// at prints an event and how long after another one it happened.
func (s *screen) at(t time.Duration, format string, args ...any) {
	fmt.Fprintf(s.out, "  %6.1fs  %s\n", t.Seconds(), fmt.Sprintf(format, args...))
}

// block prints text from another program.
func (s *screen) block(text string) {
	for line := range strings.Lines(strings.TrimRight(text, "\n") + "\n") {
		fmt.Fprintf(s.out, "    %s", line)
	}
}
