package plumb

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"
)

// work is one comparison's steps and what became of them.
type work struct {
	*Plumbing
	devices   links
	held      map[Thing]found // what there was, by place
	now       time.Time
	done      []Step
	repaired  int64
	retried   int64
	failed    map[Thing]error // by place
	forbidden error           // if the kernel lets us do nothing
	lines     int             // logged
}

// do does one step, unless its thing was put back too often of late.
func (w *work) do(step Step) {
	place := step.Thing.place()
	again := w.held[place].duplicate && w.wanted[place]
	repair := step.Verb != Delete && w.stood[place] && !again
	if repair && !w.due(place) || again && !w.dueAgain(place) {
		return
	}
	err := w.try(step, repair)
	switch {
	case err != nil:
		w.failed[place] = err
		if errors.Is(err, unix.EPERM) {
			w.forbidden = err
		}
		return
	case again && step.Verb == Add:
		w.retried++
		w.paces[place].refused(w.now, w.every)
		w.line(slog.LevelInfo, "tried again", "what", step.Thing.String(), "kind", step.Thing.Kind())
	case again: // counted once it is added
	case repair:
		w.repaired++
		if w.paces[place].count(w.now, w.every) {
			w.line(slog.LevelError, "put back again; something else keeps taking it away, so the pauses grow",
				"what", step.Thing.String(), "kind", step.Thing.Kind(), "pause", w.paces[place].pause)
		} else {
			w.line(slog.LevelWarn, "put back", "what", step.Thing.String(), "kind", step.Thing.Kind())
		}
	default:
		w.line(slog.LevelInfo, "done", "step", step.String())
	}
	w.done = append(w.done, step)
}

// due says whether a thing may be put back now.
func (w *work) due(place Thing) bool {
	if w.paces[place] == nil {
		w.paces[place] = &pace{}
	}
	return !w.now.Before(w.paces[place].next())
}

// dueAgain says whether an address that another host has may be tried again now.
func (w *work) dueAgain(place Thing) bool {
	if w.paces[place] == nil {
		w.paces[place] = &pace{}
	}
	if p := w.paces[place]; !p.duplicate {
		p.refused(w.now, w.every)
	}
	return w.due(place)
}

// try asks the kernel for one step.
func (w *work) try(step Step, repair bool) error {
	if device := step.Thing.Device(); device != "" && w.devices.index[device] == 0 {
		return errNoDevice
	}
	if step.Verb == Delete {
		err := w.kernel.remove(w.devices, step.Thing)
		if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENOENT) {
			return nil // it is gone already: with its device, or with what it hung on
		}
		return err
	}
	err := w.kernel.add(w.devices, step.Thing, step.Verb == Replace)
	if errors.Is(err, unix.EEXIST) {
		if step.Thing.Kind() != "route" {
			return nil // another made the same meanwhile
		}
		if repair { // another's route took the place of ours
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

// rest says how many lines were left out.
func (w *work) rest() {
	if more := w.lines - maxLines; more > 0 {
		w.log.Warn("and so on", "more", more)
	}
}
