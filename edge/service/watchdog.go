package service

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Part is a part of a program that can be asked whether it still works.
type Part struct {
	Name string // for the log
	// Answers returns when the part has answered, which is at once unless it is stuck for good. It
	// must wait only for the program itself: not for a disk, another host, or a client. If systemd
	// killed a program because one of those hangs, the new process would meet the same problem, and
	// everything that still worked would be lost.
	Answers func()
}

// Watchdog notifies systemd that the program is alive, as long as all of its parts answer: systemd
// kills it after the time in its unit (WatchdogSec=) without a notification. It returns when ctx
// ends, or at once if systemd did not ask for a watchdog. A part that never answers holds on to a
// goroutine.
func Watchdog(ctx context.Context, log *slog.Logger, parts ...Part) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Error("no watchdog", "err", err)
	}
	if interval <= 0 {
		return
	}
	w := watchdog{log: log, parts: parts}
	w.run(ctx, interval/2)
}

type watchdog struct {
	log   *slog.Logger
	parts []Part
	asked atomic.Pointer[string] // the part whose answer is due
}

func (w *watchdog) run(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	answered, stuck := w.ask(), false
	for {
		select {
		case <-ctx.Done():
			return
		case <-answered:
			notify(daemon.SdNotifyWatchdog)
			if stuck {
				w.log.Info("all parts of the program answer again")
			}
			answered, stuck = nil, false
		case <-tick.C:
			if answered == nil {
				answered = w.ask()
			} else if !stuck {
				stuck = true
				w.log.Error("a part of the program is stuck: systemd's watchdog hears nothing until it answers", "part", *w.asked.Load())
			}
		}
	}
}

// ask asks the parts one after the other. The returned channel is closed when all have answered.
func (w *watchdog) ask() <-chan struct{} {
	all := make(chan struct{})
	go func() {
		defer close(all)
		for i := range w.parts {
			w.asked.Store(&w.parts[i].Name)
			w.parts[i].Answers()
		}
	}()
	return all
}

// ControlPart returns the program's own control socket as a Part. Closing the connection at once,
// because there are too many, counts as an answer.
func ControlPart(socket string, log *slog.Logger) Part {
	return Part{Name: "control socket", Answers: func() {
		if err := knock(socket); err != nil {
			log.Debug("control socket", "err", err)
		}
	}}
}

// knock requests /healthz and waits for an answer, or for the end of the connection.
func knock(socket string) error {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err // the socket is gone, so nothing is stuck
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /healthz HTTP/1.0\r\n\r\n"); err != nil {
		return err
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil && err != io.EOF {
		return fmt.Errorf("answer: %w", err)
	}
	return nil
}
