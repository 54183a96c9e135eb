package service

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"strings"
	"syscall"
	"time"

	"anymx/edge/config"
)

// Log returns the program's own log, as configured. SetLevel changes level.
func Log(w io.Writer, c *config.Config, level *slog.LevelVar) *slog.Logger {
	SetLevel(level, c)
	return NewLog(w, c.Log.Format == "json", level)
}

// NewLog returns a log that writes a line for each record: logfmt, or a JSON object. Durations are
// numbers of seconds. In the journal each line has its priority.
func NewLog(w io.Writer, json bool, level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: durationsInSeconds}
	handlerOn := func(w io.Writer) slog.Handler {
		if json {
			return slog.NewJSONHandler(w, options)
		}
		return slog.NewTextHandler(w, options)
	}
	if !isJournal(w) {
		return slog.New(handlerOn(w))
	}
	var h priorityHandler
	for i, p := range priorities {
		h[i] = handlerOn(&prefixWriter{to: w, prefix: p.prefix})
	}
	return slog.New(h)
}

// SetLevel sets level to the configured one, which config has checked. A nil level is ignored.
func SetLevel(level *slog.LevelVar, c *config.Config) {
	var l slog.Level
	if level != nil && l.UnmarshalText([]byte(c.Log.Level)) == nil {
		level.Set(l)
	}
}

// durationsInSeconds encodes all durations in the log.
func durationsInSeconds(_ []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindDuration:
		a.Value = seconds(a.Value.Duration())
	case slog.KindAny:
		if d, ok := a.Value.Any().(config.Duration); ok {
			a.Value = seconds(time.Duration(d))
		}
	}
	return a
}

// seconds rounds d to a tenth of a millisecond, because smaller values would be written with an
// exponent. A whole number has no fraction.
func seconds(d time.Duration) slog.Value {
	d = d.Round(time.Second / 10000)
	if d%time.Second == 0 {
		return slog.Int64Value(int64(d / time.Second))
	}
	return slog.Float64Value(math.Round(d.Seconds()*10000) / 10000)
}

// priorities are those of syslog, most severe first, with the lowest level of each.
var priorities = [...]struct {
	least  slog.Level
	prefix string // in the journal's format (sd-daemon(3))
}{
	{slog.LevelError, "<3>"},
	{slog.LevelWarn, "<4>"},
	{slog.LevelInfo, "<6>"},
	{math.MinInt, "<7>"},
}

// priorityHandler has a handler for each of the priorities.
type priorityHandler [len(priorities)]slog.Handler

// Enabled reports whether a level is logged.
func (h priorityHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h[0].Enabled(ctx, level)
}

// Handle logs r with its priority.
func (h priorityHandler) Handle(ctx context.Context, r slog.Record) error {
	at := 0
	for r.Level < priorities[at].least {
		at++
	}
	return h[at].Handle(ctx, r)
}

// WithAttrs adds attributes to all lines.
func (h priorityHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	for i := range h {
		h[i] = h[i].WithAttrs(attrs)
	}
	return h
}

// WithGroup begins a group in all lines.
func (h priorityHandler) WithGroup(name string) slog.Handler {
	for i := range h {
		h[i] = h[i].WithGroup(name)
	}
	return h
}

// prefixWriter writes each line with a prefix in a single write, so that lines of several writers
// don't mix. Its handler calls it from one goroutine at a time.
type prefixWriter struct {
	to     io.Writer
	prefix string
	line   []byte
}

func (w *prefixWriter) Write(line []byte) (int, error) {
	w.line = append(append(w.line[:0], w.prefix...), line...)
	n, err := w.to.Write(w.line)
	return max(0, n-len(w.prefix)), err
}

// isJournal reports whether w is the stream to the journal that systemd opened for this program:
// JOURNAL_STREAM holds its device and inode (systemd.exec(5)).
func isJournal(w io.Writer) bool {
	stream := os.Getenv("JOURNAL_STREAM")
	f, ok := w.(*os.File)
	if stream == "" || !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil {
		return false
	}
	sys, ok := info.Sys().(*syscall.Stat_t)
	return ok && stream == fmt.Sprintf("%d:%d", sys.Dev, sys.Ino)
}

// WriteError writes the error that ends a program; in the journal each line has error priority.
func WriteError(w io.Writer, program string, err error) {
	text := fmt.Sprintf("%s: %s", program, err)
	if isJournal(w) {
		prefix := priorities[0].prefix
		text = prefix + strings.ReplaceAll(text, "\n", "\n"+prefix)
	}
	fmt.Fprintln(w, text)
}
