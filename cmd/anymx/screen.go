package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"anymx/edge/operate/words"
)

// display shows the progress of a node while a command waits.
type display interface {
	show(words.Report)
	// clear removes what would be in the way of the answer.
	clear()
}

// display returns the one for the error output: live on a terminal, occasional lines elsewhere, and
// nothing for programs.
func (p *program) display() display {
	if _, _, ok := p.screen(); ok {
		return &live{w: p.errOut, size: p.screen}
	}
	if p.json {
		return silent{}
	}
	return &plain{w: p.errOut, now: p.now}
}

// live draws a block, and redraws it in place.
type live struct {
	w    io.Writer
	size func() (columns, rows int, ok bool)
	rows int // rows drawn
}

func (l *live) show(r words.Report) {
	columns, rows, ok := l.size()
	if !ok {
		columns, rows = 80, 24
	}
	lines := r.Lines[:min(len(r.Lines), max(1, rows-1))]
	var b strings.Builder
	l.home(&b)
	for _, line := range lines {
		b.WriteString(fit(line, columns) + "\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	l.rows = len(lines)
	io.WriteString(l.w, b.String()) // errors are ignored: the display is an extra
}

func (l *live) clear() {
	if l.rows == 0 {
		return
	}
	var b strings.Builder
	l.home(&b)
	l.rows = 0
	io.WriteString(l.w, b.String()+"\x1b[J") // errors are ignored: the display is an extra
}

// home moves the cursor back to the beginning of the block.
func (l *live) home(b *strings.Builder) {
	if l.rows > 0 {
		fmt.Fprintf(b, "\x1b[%dA\r", l.rows)
	}
}

// fit cuts line so that a terminal does not wrap it. Characters that may be two columns wide count
// as two.
func fit(line string, columns int) string {
	used := 0
	for i, r := range line {
		used++
		if r >= 0x1100 { // the first wide character
			used++
		}
		if used >= columns {
			return line[:i]
		}
	}
	return line
}

// plain writes a line for each step, and one every plainPause in between.
type plain struct {
	w    io.Writer
	now  func() time.Time
	step string
	said time.Time // time of the last line; zero: none yet
}

const plainPause = 5 * time.Second

func (p *plain) show(r words.Report) {
	now := p.now()
	if !p.said.IsZero() && r.Step == p.step && now.Sub(p.said) < plainPause {
		return
	}
	p.step, p.said = r.Step, now
	fmt.Fprintln(p.w, r.Line)
}

func (*plain) clear() {}

// silent shows nothing: a program reads only the answer.
type silent struct{}

func (silent) show(words.Report) {}
func (silent) clear()            {}

// screenOf returns the size of the terminal f, unless it can't move its cursor.
func screenOf(f *os.File, term string) (columns, rows int, ok bool) {
	if term == "dumb" || term == "" {
		return 0, 0, false
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, 0, false
	}
	columns, rows = int(size.Col), int(size.Row)
	if columns == 0 || rows == 0 { // a serial line does not report its size
		columns, rows = 80, 24
	}
	return columns, rows, true
}
