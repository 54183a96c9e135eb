package console

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/term"

	"anymx/edge/config"
	"anymx/edge/operate/api"
	"anymx/edge/operate/words"
)

// Console is a prompt on one terminal, or for one pipe. Its fields are set before Run and not
// changed then.
type Console struct {
	// In is the input, Out the output. Lines can be edited if In is a terminal that can move its
	// cursor.
	In  io.Reader
	Out io.Writer
	// Kind is the terminal's type, as in TERM. "" and "dumb" can't move the cursor.
	Kind string
	// ConfigFile is the node's config, SourceFile and ProblemFile are what provisioning reported
	// about it.
	ConfigFile, SourceFile, ProblemFile string
	// Version is the version of this program.
	Version string
	// Status asks the node. Its context has a short timeout.
	Status func(context.Context) (api.Status, error)
	// Do runs the command in words, of which there is at least one. Ctrl-C ends ctx, and Do returns
	// soon after that.
	Do func(ctx context.Context, s *Session, words []string)
	// Poll is how often a node that is not ready yet is asked until the first key; 0 means 2s.
	Poll time.Duration

	settings fileSettings
	terminal *terminal     // nil: lines are read as they come
	plain    *bufio.Reader // if terminal is nil
	out      io.Writer
}

// Why a session ended, besides the errors of keys.
var errLogout = errors.New("logged out")

// Run shows the banner and the prompt, session after session, until ctx or the input ends, which is
// not an error.
func (c *Console) Run(ctx context.Context) (err error) {
	c.settings.path = c.ConfigFile
	c.out = c.Out
	if tty := terminalOf(c.In); tty != nil && cursorMoves(c.Kind) {
		if c.terminal, err = openTerminal(tty, c.Out); err != nil {
			return err
		}
		c.out = c.terminal.out
		defer func() { err = errors.Join(err, c.terminal.Close()) }()
	} else {
		c.plain = bufio.NewReaderSize(c.In, maxLine+2)
	}
	for ctx.Err() == nil {
		switch err := c.session(ctx); {
		case errors.Is(err, io.EOF), errors.Is(err, errHungUp), ctx.Err() != nil:
			return nil
		case errors.Is(err, errIdle), errors.Is(err, errLogout):
			c.clearScreen()
		case err != nil:
			return err
		}
	}
	return nil
}

// clearScreen removes the previous session's text from a screen, where everyone who passes by could
// read it. A serial line is left as it is, since it may be recorded.
func (c *Console) clearScreen() {
	if c.Kind == "linux" && c.terminal != nil {
		io.WriteString(c.out, "\x1b[H\x1b[2J")
	}
}

// session is one banner, drawn again until the first key, and the lines after it.
func (c *Console) session(ctx context.Context) error {
	facts := c.gather(ctx)
	for {
		for _, line := range facts.Banner() {
			fmt.Fprintln(c.out, line)
		}
		l := c.watch(ctx, facts)
		err := c.lines(ctx, &facts, l.poke)
		next := l.stop()
		if !errors.Is(err, errPoked) {
			return err
		}
		facts = next
		fmt.Fprintln(c.out)
	}
}

// lines reads and runs lines until the session ends, or poke reports new facts before the first
// key.
func (c *Console) lines(ctx context.Context, facts *Facts, poke <-chan struct{}) error {
	s := &Session{console: c}
	if c.terminal == nil {
		return c.plainLines(ctx, s)
	}
	in := &typed{keys: c.terminal.keys, ctx: ctx, poke: poke}
	if facts.Mode == config.ConsoleOff {
		c.terminal.keys.touch()
		if _, err := in.Read(make([]byte, 1)); err != nil {
			return err
		}
		c.terminal.keys.drop()
		return errLogout
	}
	c.terminal.keys.touch()
	editor := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{in, c.terminal.out}, "")
	editor.History = &history{}
	for {
		set := c.settings.get()
		if set.Mode == config.ConsoleOff {
			return errLogout
		}
		in.idle = set.Idle
		editor.SetPrompt(prompt(set))
		editor.SetSize(c.terminal.size()) // it writes nothing if no line is shown
		line, err := editor.ReadLine()
		switch {
		case errors.Is(err, io.EOF): // Ctrl-D
			fmt.Fprintln(c.out)
			return errLogout
		case err != nil:
			return err
		}
		c.do(ctx, s, line)
		if s.over() {
			return errLogout
		}
		c.terminal.keys.touch()
	}
}

// plainLines does the same without an editor.
func (c *Console) plainLines(ctx context.Context, s *Session) error {
	for ctx.Err() == nil {
		set := c.settings.get()
		if set.Mode == config.ConsoleOff {
			return io.EOF
		}
		if terminalOf(c.In) != nil {
			io.WriteString(c.out, prompt(set))
		}
		line, err := c.plainLine()
		if err != nil {
			return err
		}
		c.do(ctx, s, line)
		if s.over() {
			return errLogout
		}
	}
	return ctx.Err()
}

// plainLine reads a line. A line that is too long for Split is truncated, but stays too long.
func (c *Console) plainLine() (string, error) {
	line, more, err := c.plain.ReadLine()
	text := string(line) // more than maxLine of it, if there is more
	for more && err == nil {
		_, more, err = c.plain.ReadLine()
	}
	return text, err
}

// prompt is "ams1> ".
func prompt(s settings) string {
	name := s.Name
	if name == "" || len(name) > 63 { // as long as a name may be
		name = "anymx"
	}
	return words.Clean(name) + "> "
}

// do runs a line. Ctrl-C ends only its context.
func (c *Console) do(ctx context.Context, s *Session, line string) {
	words, err := Split(line)
	if err != nil {
		fmt.Fprintf(c.out, "%v\n", err)
		return
	}
	if len(words) == 0 {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if c.terminal != nil {
		defer c.terminal.keys.onInterrupt(cancel)()
	}
	c.Do(ctx, s, words)
}

// history are the last lines of a session, without empty ones and repetitions.
type history struct{ lines []string }

const maxHistory = 100

// Add implements term.History.
func (h *history) Add(line string) {
	line = strings.TrimSpace(line)
	if line == "" || len(h.lines) > 0 && h.lines[len(h.lines)-1] == line {
		return
	}
	h.lines = append(h.lines, line)
	if len(h.lines) > maxHistory {
		h.lines = h.lines[1:]
	}
}

// Len implements term.History.
func (h *history) Len() int { return len(h.lines) }

// At implements term.History: 0 is the last line.
func (h *history) At(i int) string { return h.lines[len(h.lines)-1-i] }
