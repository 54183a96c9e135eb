package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// progress prints which packages are compiled and tested, and how many are done. All other output goes
// through it, so that its line on a terminal never interrupts another.
type progress struct {
	out     io.Writer
	width   int           // of the terminal; 0 means that out is a file and each report is a line
	every   time.Duration // between reports
	compile func() string // returns what the Go command compiles at the moment, "" for nothing

	mu          sync.Mutex
	start       time.Time
	total, done int
	running     map[string]time.Time // by package, since when
	drawn       bool                 // the terminal's last line is a report
}

// newProgress reports to out, every second on a terminal, else every 20 seconds.
func newProgress(out io.Writer, total int) *progress {
	p := &progress{out: out, every: 20 * time.Second, start: time.Now(), total: total, running: map[string]time.Time{},
		compile: func() string { return compiled(os.Getpid()) }}
	if file, ok := out.(*os.File); ok {
		if size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ); err == nil {
			p.every, p.width = time.Second, max(40, int(size.Col))
		}
	}
	return p
}

// Write writes b to the output, without the progress line.
func (p *progress) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	return p.out.Write(b)
}

// erase removes the report from the terminal.
func (p *progress) erase() {
	if p.drawn {
		_, _ = io.WriteString(p.out, "\r\x1b[K")
		p.drawn = false
	}
}

// began records that the tests of a package run.
func (p *progress) began(pkg string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running[pkg] = time.Now()
}

// ended records that a package is done. It may have failed to compile.
func (p *progress) ended(pkg string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.running, pkg)
	p.done++
}

// report reports until ctx ends.
func (p *progress) report(ctx context.Context) {
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			p.mu.Lock()
			defer p.mu.Unlock()
			p.erase()
			return
		case <-tick.C:
			compiling := p.compile()
			p.mu.Lock()
			line := p.line(time.Now(), compiling)
			p.erase()
			if p.width > 0 {
				if len(line) > p.width-1 {
					line = line[:p.width-4] + "..."
				}
				p.drawn = true
			} else {
				line += "\n"
			}
			_, _ = io.WriteString(p.out, line)
			p.mu.Unlock()
		}
	}
}

// line formats one report.
func (p *progress) line(now time.Time, compiling string) string {
	parts := []string{fmt.Sprintf("progress: %v, %d of %d packages done", now.Sub(p.start).Round(time.Second), p.done, p.total)}
	names := make([]string, 0, len(p.running))
	for name := range p.running {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(p.running[a].Compare(p.running[b]), cmp.Compare(a, b))
	})
	for i, name := range names {
		names[i] = fmt.Sprintf("%s (%v)", name, now.Sub(p.running[name]).Round(time.Second))
	}
	if len(names) > 0 {
		parts = append(parts, "testing "+strings.Join(names, ", "))
	}
	if compiling != "" {
		parts = append(parts, compiling)
	}
	return strings.Join(parts, "; ")
}

// compiled describes what the compilers and linkers among the descendants of a process work on. It
// reads their command lines, because the Go command doesn't report it.
func compiled(pid int) string {
	var compiling, linking []string
	for _, child := range below(pid, 3) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", child))
		if err != nil {
			continue // it has ended
		}
		args := strings.Split(string(text), "\x00")
		switch filepath.Base(args[0]) {
		case "compile":
			if pkg := after(args, "-p"); pkg != "" {
				compiling = append(compiling, pkg)
			}
		case "link":
			if file := after(args, "-o"); file != "" {
				linking = append(linking, filepath.Base(file))
			}
		}
	}
	var parts []string
	if len(compiling) > 0 {
		parts = append(parts, "compiling "+strings.Join(compiling, ", "))
	}
	if len(linking) > 0 {
		parts = append(parts, "linking "+strings.Join(linking, ", "))
	}
	return strings.Join(parts, "; ")
}

// after returns the argument that follows flag.
func after(args []string, flag string) string {
	if i := slices.Index(args, flag); i >= 0 && i+1 < len(args) {
		return args[i+1]
	}
	return ""
}

// below lists the descendants of a process, depth generations deep.
func below(pid, depth int) []int {
	if depth == 0 {
		return nil
	}
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // the pattern is right
	var all []int
	for _, file := range threads {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		for _, word := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(word); err == nil {
				all = append(append(all, child), below(child, depth-1)...)
			}
		}
	}
	return all
}
