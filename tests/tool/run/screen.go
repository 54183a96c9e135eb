package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// screen writes what the operator reads, with colours on a terminal.
type screen struct {
	out   io.Writer
	plain bool
	here  string // working directory: paths below it are shown relative to it; "" if unknown
}

// newScreen returns a screen that writes to out.
func newScreen(out *os.File) *screen {
	s := &screen{out: out, plain: true}
	if here, err := os.Getwd(); err == nil {
		s.here = here
	}
	if info, err := out.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		s.plain = os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" || os.Getenv("TERM") == ""
	}
	return s
}

func (s *screen) colour(code, text string) string {
	if s.plain {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// title starts a section.
func (s *screen) title(format string, args ...any) {
	fmt.Fprintf(s.out, "\n%s\n", s.colour("1", fmt.Sprintf(format, args...)))
}

// row prints a name and a fact.
func (s *screen) row(name, format string, args ...any) {
	fmt.Fprintf(s.out, "  %-12s %s\n", name, fmt.Sprintf(format, args...))
}

// good and bad start a line with a result.
func (s *screen) good() string { return s.colour("32", "ok") }
func (s *screen) bad() string  { return s.colour("31", "FAILED") }

// block prints the output of another program, indented.
func (s *screen) block(text string) {
	for line := range strings.Lines(strings.TrimRight(text, "\n") + "\n") {
		fmt.Fprintf(s.out, "    %s", line)
	}
}

// path returns the shortest form of a path that works from the working directory.
func (s *screen) path(name string) string {
	if rel, err := filepath.Rel(s.here, name); s.here != "" && err == nil && !strings.HasPrefix(rel, "..") {
		return rel
	}
	return name
}

// size formats a number of bytes.
func size(n int) string {
	switch {
	case n < 10_000:
		return fmt.Sprintf("%d bytes", n)
	case n < 10_000_000:
		return fmt.Sprintf("%d kB", n/1000)
	}
	return fmt.Sprintf("%d MB", n/1_000_000)
}
