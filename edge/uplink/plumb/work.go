package plumb

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"
)

// work is one comparison's steps and their outcome.
type work struct {
	*Plumbing
	devices   links
	held      map[Thing]found // what there was, by key
	now       time.Time
	done      []Step
	repaired  int64
	retried   int64
	failed    map[Thing]error // by key
	forbidden error           // set if the kernel lets us change nothing
	lines     int             // logged so far
}

// do runs one step, unless its thing was restored too often of late.
func (w *work) do(step Step) {
	key := step.Thing.key()
	again := w.held[key].duplicate && w.wanted[key]
	repair := step.Verb != Delete && w.wasPresent[key] && !again
	if repair && !w.due(key) || again && !w.dueAgain(key) {
		return
	}
	err := w.apply(step, repair)
	switch {
	case err != nil:
		w.failed[key] = err
		if errors.Is(err, unix.EPERM) {
			w.forbidden = err
		}
		return
	case again && step.Verb == Add:
		w.retried++
		w.paces[key].refused(w.now, w.every)
		w.line(slog.LevelInfo, "retried", "what", step.Thing.String(), "kind", step.Thing.Kind())
	case again: // counted once it is added
	case repair:
		w.repaired++
		if w.paces[key].count(w.now, w.every) {
			w.line(slog.LevelError, "restored again; another program keeps removing it, so the pauses grow",
				"what", step.Thing.String(), "kind", step.Thing.Kind(), "pause", w.paces[key].pause)
		} else {
			w.line(slog.LevelWarn, "restored", "what", step.Thing.String(), "kind", step.Thing.Kind())
		}
	default:
		w.line(slog.LevelInfo, "changed", "step", step.String())
	}
	w.done = append(w.done, step)
}

// due reports whether a thing may be restored now.
func (w *work) due(key Thing) bool {
	if w.paces[key] == nil {
		w.paces[key] = &pace{}
	}
	return !w.now.Before(w.paces[key].next())
}

// dueAgain reports whether an address that another host uses may be retried now.
func (w *work) dueAgain(key Thing) bool {
	if w.paces[key] == nil {
		w.paces[key] = &pace{}
	}
	if p := w.paces[key]; !p.duplicate {
		p.refused(w.now, w.every)
	}
	return w.due(key)
}

// apply asks the kernel for one step.
func (w *work) apply(step Step, repair bool) error {
	if device := step.Thing.Device(); device != "" && w.devices.index[device] == 0 {
		return errNoDevice
	}
	if step.Verb == Delete {
		err := w.kernel.remove(w.devices, step.Thing)
		if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENOENT) {
			return nil // already gone: with its device, or with what it depended on
		}
		return err
	}
	err := w.kernel.add(w.devices, step.Thing, step.Verb == Replace)
	if errors.Is(err, unix.EEXIST) {
		if step.Thing.Kind() != "route" {
			return nil // another program made the same meanwhile
		}
		if repair { // a foreign route replaced ours
			return w.kernel.add(w.devices, step.Thing, true)
		}
	}
	return err
}

// line logs, within the bound for one comparison.
func (w *work) line(level slog.Level, message string, args ...any) {
	if w.lines++; w.lines <= maxLines {
		w.log.Log(context.Background(), level, message, args...)
	}
}

// logOmitted logs how many lines were left out.
func (w *work) logOmitted() {
	if more := w.lines - maxLines; more > 0 {
		w.log.Warn("more changes not logged", "count", more)
	}
}
