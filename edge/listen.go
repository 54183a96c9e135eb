package edge

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"

	"anymx/edge/config"
	"anymx/edge/control"
)

// Version is what this program was built from.
func Version() string { return control.ThisVersion().String() }

// ListenTCP listens on plain TCP. Go's listeners are MPTCP where the kernel has
// it, and the shield can't hand connections to those. Keep-alive is off: each
// stage of a session has a time of its own, and turning it on costs four system
// calls for each connection.
func ListenTCP(ctx context.Context, address string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAlive: -1}
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l, nil
}

// NewLog is a program's own log, as the config asks. A reload changes level.
func NewLog(w io.Writer, c *config.Config, level *slog.LevelVar) *slog.Logger {
	setLevel(level, c)
	options := &slog.HandlerOptions{Level: level}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// setLevel takes a level that config has checked.
func setLevel(level *slog.LevelVar, c *config.Config) {
	var l slog.Level
	if l.UnmarshalText([]byte(c.Log.Level)) == nil {
		level.Set(l)
	}
}
