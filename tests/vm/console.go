package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Line is a line of the serial console, without escape sequences.
type Line struct {
	At   time.Duration // since power-on, when its first byte arrived
	Text string
}

func (l Line) String() string { return fmt.Sprintf("%8.3f  %s", l.At.Seconds(), l.Text) }

// Console is a machine's serial console.
type Console struct {
	conn net.Conn
	on   time.Time // power-on
	log  *os.File  // every byte, as received
	done chan struct{}

	mu      sync.Mutex
	lines   []Line
	open    Line // the line without an end yet
	begun   bool
	escape  []byte // an incomplete escape sequence
	cursor  int    // where ExpectLine continues
	readers map[chan []byte]bool
	news    chan struct{} // closed and replaced when there is more
}

// errSilent is wrapped by the error of a wait for a line that did not come.
var errSilent = errors.New("no such line on the console")

// newConsole starts reading; it also appends the output to log, which it closes.
func newConsole(conn net.Conn, log *os.File, on time.Time) *Console {
	c := &Console{conn: conn, on: on, log: log, done: make(chan struct{}), readers: make(map[chan []byte]bool), news: make(chan struct{})}
	go func() {
		defer close(c.done)
		defer c.log.Close()
		b := make([]byte, 4096)
		for {
			n, err := conn.Read(b)
			if n > 0 {
				c.takeOutput(time.Since(c.on), b[:n])
			}
			if err != nil {
				return // QEMU has ended
			}
		}
	}()
	return c
}

// takeOutput processes new output.
func (c *Console) takeOutput(at time.Duration, text []byte) {
	_, _ = c.log.Write(text) // a full disk shows elsewhere
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range text {
		c.takeByte(at, b)
	}
	for r := range c.readers {
		select {
		case r <- slices.Clone(text):
		default: // a slow reader misses it
		}
	}
	close(c.news)
	c.news = make(chan struct{})
}

func (c *Console) takeByte(at time.Duration, b byte) {
	if c.escape != nil {
		c.escape = append(c.escape, b)
		if !ended(c.escape) {
			return
		}
		last, first := b, c.escape[1]
		c.escape = nil
		if first == '[' && strings.IndexByte("HfJ", last) >= 0 {
			c.end() // what follows is elsewhere on the screen
		}
		return
	}
	if !c.begun {
		c.open, c.begun = Line{At: at}, true
	}
	switch {
	case b == 0x1b:
		c.escape = []byte{b}
	case b == '\n':
		c.lines = append(c.lines, c.open)
		c.begun = false
	case b == '\b':
		if n := len(c.open.Text); n > 0 {
			c.open.Text = c.open.Text[:n-1]
		}
	case b == '\t' || b >= ' ' && b != 0x7f:
		c.open.Text += string([]byte{b})
	}
}

// end completes the open line, unless it is empty.
func (c *Console) end() {
	if c.begun && strings.TrimSpace(c.open.Text) != "" {
		c.lines = append(c.lines, c.open)
	}
	c.begun = false
}

// ended reports whether an escape sequence (ECMA-48 5.4, 8.3.89) is complete.
func ended(s []byte) bool {
	switch {
	case len(s) < 2:
		return false
	case s[1] == '[':
		return len(s) > 2 && s[len(s)-1] >= 0x40 || len(s) > 64
	case s[1] == ']': // a title: ends with BEL or ST
		return s[len(s)-1] == 7 || s[len(s)-1] == '\\' && s[len(s)-2] == 0x1b || len(s) > 512
	}
	return s[len(s)-1] >= 0x30
}

// Lines returns all lines so far. The last one may be incomplete.
func (c *Console) Lines() []Line {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all()
}

func (c *Console) all() []Line {
	all := c.lines[:len(c.lines):len(c.lines)]
	if c.begun && c.open.Text != "" {
		all = append(all, c.open)
	}
	return all
}

// Tail returns the last n lines for display.
func (c *Console) Tail(n int) string {
	all := c.Lines()
	var text strings.Builder
	for _, l := range all[max(0, len(all)-n):] {
		fmt.Fprintln(&text, l)
	}
	return text.String()
}

// ExpectLine waits up to limit until a line matches, and returns it. It starts after the line that
// the previous ExpectLine returned. An incomplete line, such as a prompt, matches too. The error
// includes the console's last 100 lines.
func (c *Console) ExpectLine(ctx context.Context, pattern *regexp.Regexp, limit time.Duration) (Line, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ended, still := false, false
	for {
		line, found, news := c.find(pattern, ended || still)
		if found {
			return line, nil
		}
		if ended {
			return Line{}, fmt.Errorf("%w: %q: %w; the console ends:\n%s", errSilent, pattern, errGone, c.Tail(100))
		}
		still = false
		select {
		case <-news:
		case <-time.After(quiet):
			still = true
		case <-c.done:
			ended = true // but the last output has not been checked yet
		case <-ctx.Done():
			return Line{}, fmt.Errorf("%w: %q within %s; the console ends:\n%s", errSilent, pattern, limit, c.Tail(100))
		}
	}
}

// quiet is how long the console must be silent before an incomplete line counts as a prompt.
const quiet = 200 * time.Millisecond

// find looks for a line after the cursor and moves the cursor past it. The incomplete line counts
// if still is true. news is closed when there is more output.
func (c *Console) find(pattern *regexp.Regexp, still bool) (line Line, found bool, news <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.lines
	if still {
		all = c.all()
	}
	for i := c.cursor; i < len(all); i++ {
		if pattern.MatchString(all[i].Text) {
			c.cursor = i + 1
			return all[i], true, c.news
		}
	}
	return line, false, c.news
}

// Forget makes ExpectLine ignore all output so far.
func (c *Console) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cursor = len(c.all())
}

// Type types keys. See Enter.
func (c *Console) Type(keys string) error {
	if err := c.conn.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(c.conn, keys); err != nil {
		return fmt.Errorf("console: %w", err)
	}
	return nil
}

// Enter types a line and the Enter key.
func (c *Console) Enter(line string) error { return c.Type(line + "\r") }

// Attach connects the console to conn, both ways, until ctx, conn or the machine ends.
func (c *Console) Attach(ctx context.Context, conn net.Conn) {
	feed := make(chan []byte, 4096)
	c.mu.Lock()
	c.readers[feed] = true
	c.mu.Unlock()
	typed := make(chan struct{})
	go func() {
		defer close(typed)
		b := make([]byte, 256)
		for {
			n, err := conn.Read(b)
			if err != nil || c.Type(string(b[:n])) != nil {
				return
			}
		}
	}()
	defer func() {
		c.mu.Lock()
		delete(c.readers, feed)
		c.mu.Unlock()
		_ = conn.Close()
		<-typed
	}()
	for {
		select {
		case text := <-feed:
			if _, err := conn.Write(text); err != nil {
				return
			}
		case <-typed:
			return
		case <-c.done:
			return
		case <-ctx.Done():
			return
		}
	}
}
