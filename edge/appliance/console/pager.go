package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// Pager stops after each screenful until a key is pressed. It only does so on a screen, where
// scrolled text is lost: a terminal on a serial line has a history, and a program there presses no
// keys.
type Pager struct {
	session *Session
	ctx     context.Context
	stop    func()
	rows    int // written since the last stop
	column  int // in the current row
	quit    bool
}

// Pages makes a Pager for a command whose context is ctx. It calls stop if the rest is not wanted,
// which is then dropped.
func (s *Session) Pages(ctx context.Context, stop func()) *Pager {
	return &Pager{session: s, ctx: ctx, stop: stop}
}

// Quit reports that the rest was not wanted.
func (p *Pager) Quit() bool { return p.quit }

// Write implements io.Writer. It fails where the terminal does.
func (p *Pager) Write(text []byte) (int, error) {
	c := p.session.console
	if c.terminal == nil || c.Kind != "linux" {
		return c.out.Write(text)
	}
	columns, rows := c.terminal.size()
	for rest := text; len(rest) > 0 && !p.quit; {
		if p.rows >= rows-1 && p.column == 0 {
			p.wait()
			continue
		}
		n := p.row(rest, columns)
		if _, err := c.out.Write(rest[:n]); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(text), nil
}

// row returns how many bytes of text fill the current row, up to the end of the line or of the row.
func (p *Pager) row(text []byte, columns int) int {
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		switch {
		case r == '\n':
			p.rows, p.column = p.rows+1, 0
			return i + size
		case p.column >= columns: // a full row ends with the next character
			p.rows, p.column = p.rows+1, 0
			return i
		}
		p.column++
		i += size
	}
	return len(text)
}

// wait waits for a key. The output ends with "q", with the command, or with the session.
func (p *Pager) wait() {
	const text = "-- more: any key; q: enough --"
	c := p.session.console
	io.WriteString(c.out, text)
	key, err := c.terminal.keys.next(p.ctx, c.settings.get().Idle, nil)
	fmt.Fprintf(c.out, "\r%*s\r", len(text), "")
	p.rows = 0
	p.session.ended = p.session.ended || errors.Is(err, errIdle)
	if err != nil || key == 'q' {
		p.quit = true
		p.stop()
	}
}
