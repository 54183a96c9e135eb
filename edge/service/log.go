package service

import (
	"io"
	"log/slog"

	"anymx/edge/config"
)

// Log is a program's own log, as the config asks. SetLevel changes level.
func Log(w io.Writer, c *config.Config, level *slog.LevelVar) *slog.Logger {
	SetLevel(level, c)
	options := &slog.HandlerOptions{Level: level}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// SetLevel takes over a level that config has checked. A nil level is left alone.
func SetLevel(level *slog.LevelVar, c *config.Config) {
	var l slog.Level
	if level != nil && l.UnmarshalText([]byte(c.Log.Level)) == nil {
		level.Set(l)
	}
}
