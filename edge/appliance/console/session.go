package console

import (
	"context"
	"errors"
	"io"
	"time"

	"golang.org/x/term"
)

// Session is a command's view of the console that runs it.
type Session struct {
	console *Console
	ended   bool
	// attended is the context of a command that would run forever, nil if none did.
	attended context.Context
}

// Out is where a command writes its text.
func (s *Session) Out() io.Writer { return s.console.out }

// In is where a command reads the answers to its questions, line by line. It ends with ctx.
func (s *Session) In(ctx context.Context) io.Reader {
	c := s.console
	if c.terminal == nil {
		return c.plain
	}
	return &answers{ctx: ctx, c: c}
}

// Interactive reports whether a person can answer.
func (s *Session) Interactive() bool { return terminalOf(s.console.In) != nil }

// Size returns the columns and rows of the terminal; ok is false if the cursor can't be moved.
func (s *Session) Size() (columns, rows int, ok bool) {
	if s.console.terminal == nil {
		return 0, 0, false
	}
	columns, rows = s.console.terminal.size()
	return columns, rows, true
}

// Name returns the node's name, or "". See Mode: both are read from the config each time.
func (s *Session) Name() string { return s.console.settings.get().Name }

// Mode returns what the config allows on the console: a value of config.Console.
func (s *Session) Mode() string { return s.console.settings.get().Mode }

// Missing reports that the node has no config.
func (s *Session) Missing() bool { return s.console.settings.get().Missing }

// Provisioned returns where the node's config came from, and what is wrong with it.
func (s *Session) Provisioned() (source string, problem []string) { return s.console.Provisioned() }

// Clear clears the screen, if there is one.
func (s *Session) Clear() {
	if s.console.terminal != nil {
		io.WriteString(s.console.out, "\x1b[H\x1b[2J")
	}
}

// End ends the session when the command has.
func (s *Session) End() { s.ended = true }

// AnyKey waits for a key and discards it with everything else typed. It returns nil if a key was
// pressed, otherwise the reason: ctx or the terminal ended, or the idle time is over.
func (s *Session) AnyKey(ctx context.Context) error {
	t := s.console.terminal
	if t == nil {
		return errors.New("no terminal to read a key from")
	}
	_, err := t.keys.next(ctx, s.console.settings.get().Idle, nil)
	t.keys.drop()
	s.ended = s.ended || errors.Is(err, errIdle)
	return err
}

// Attended returns ctx limited to the prompt's idle time, for commands that would run forever. When
// that time is over, the session ends.
func (s *Session) Attended(ctx context.Context) (context.Context, context.CancelFunc) {
	idle := s.console.settings.get().Idle
	if s.console.terminal == nil || idle == 0 {
		return context.WithCancel(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, idle)
	s.attended = ctx
	return ctx, cancel
}

// over reports whether the session ends.
func (s *Session) over() bool {
	return s.ended || s.attended != nil && errors.Is(s.attended.Err(), context.DeadlineExceeded)
}

// answers reads one line for each Read, with the editor.
type answers struct {
	ctx  context.Context
	c    *Console
	rest []byte
}

func (a *answers) Read(p []byte) (int, error) {
	if len(a.rest) == 0 {
		set := a.c.settings.get()
		in := &typed{keys: a.c.terminal.keys, ctx: a.ctx, idle: set.Idle}
		editor := term.NewTerminal(struct {
			io.Reader
			io.Writer
		}{in, a.c.terminal.out}, "")
		line, err := editor.ReadLine()
		if err != nil {
			return 0, err
		}
		a.rest = append([]byte(line), '\n')
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// lookout watches a node that is not ready yet for something new to show.
type lookout struct {
	poke   chan struct{} // one slot
	cancel context.CancelFunc
	done   chan struct{}
	facts  Facts // when done is closed
}

// watch starts with f, until stop is called. A ready node needs no watching.
func (c *Console) watch(ctx context.Context, f Facts) *lookout {
	ctx, cancel := context.WithCancel(ctx)
	l := &lookout{poke: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{}), facts: f}
	if f.ready() || c.terminal == nil {
		close(l.done)
		return l
	}
	every := c.Poll
	if every == 0 {
		every = 2 * time.Second
	}
	go func() {
		defer close(l.done)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for before := f.headline(); l.facts.headline() == before; l.facts = c.gather(ctx) {
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
		}
		l.poke <- struct{}{}
	}()
	return l
}

// stop ends watching, and returns the last facts.
func (l *lookout) stop() Facts {
	l.cancel()
	<-l.done
	return l.facts
}
