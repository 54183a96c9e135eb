package console

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// terminal is a terminal in raw mode: input and output.
type terminal struct {
	tty    *os.File
	before *term.State
	keys   *keys
	out    *screen
}

// openTerminal puts tty into raw mode. Keys and line ends that the kernel would process are
// processed here, so that no key is a signal.
func openTerminal(tty *os.File, out io.Writer) (*terminal, error) {
	before, err := term.MakeRaw(int(tty.Fd()))
	if err != nil {
		return nil, fmt.Errorf("console: raw mode: %w", err)
	}
	k, err := openKeys(tty)
	if err != nil {
		term.Restore(int(tty.Fd()), before) // best effort
		return nil, err
	}
	return &terminal{tty: tty, before: before, keys: k, out: &screen{w: out}}, nil
}

// Close restores the terminal's mode.
func (t *terminal) Close() error {
	t.keys.Close()
	err := term.Restore(int(t.tty.Fd()), t.before)
	if err != nil && !errors.Is(err, unix.EIO) { // EIO: the line has hung up
		return fmt.Errorf("console: terminal: %w", err)
	}
	return nil
}

// size returns the terminal's columns and rows. A serial line has none: then they are 80 and 24.
func (t *terminal) size() (columns, rows int) {
	size, err := unix.IoctlGetWinsize(int(t.tty.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col < 20 || size.Row < 5 {
		return 80, 24
	}
	return int(size.Col), int(size.Row)
}

// cursorMoves reports whether a terminal of this kind can move its cursor.
func cursorMoves(kind string) bool { return kind != "" && kind != "dumb" }

// terminalOf returns r as a terminal, or nil if it is not one.
func terminalOf(r io.Reader) *os.File {
	if f, ok := r.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

// screen writes to a terminal in raw mode, where a line ends with CR and LF. It is safe for
// concurrent use.
type screen struct {
	mu   sync.Mutex
	w    io.Writer
	last byte
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]byte, 0, len(p)+bytes.Count(p, []byte{'\n'}))
	for _, c := range p {
		if c == '\n' && s.last != '\r' {
			out = append(out, '\r')
		}
		out = append(out, c)
		s.last = c
	}
	if _, err := s.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}
