package machine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"anymx/edge/appliance/slot"
	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/operate/words"
	"anymx/edge/refusal"
)

const (
	answerLimit  = 10 * time.Second // of one response of another program
	silenceLimit = 30 * time.Second // of a draining node
	downLimit    = time.Minute      // of systemctl
)

// rollback boots the version in the other slot.
func (m *Machine) rollback(o *operation, want api.PowerRequest) error {
	t, err := m.updatable()
	if err != nil {
		return refusal.Invalid.Wrap(err)
	}
	confirmed, err := m.records.confirmed()
	if err != nil {
		return err
	}
	if why := mayRollBack(t, confirmed, rootHashOf); why != "" {
		return refusal.Invalid.Errorf("rollback refused: %s", why)
	}
	version := t.Other().Version
	if want.Reason == "" {
		want.Reason = "rollback to version " + version
	}
	m.drain(o, want)
	if err := m.swap(version); err != nil {
		return err
	}
	return m.goDown(o, "reboot", "version %s is next", version)
}

// swap makes the version in the other slot the next one: first its boot counter is reset, and only
// then the running one's is used up.
func (m *Machine) swap(version string) error {
	unlock, err := m.records.lock()
	if err != nil {
		return err
	}
	defer unlock()
	t, err := m.updatable()
	if err != nil {
		return err
	}
	if other := t.Other(); !other.Whole() || other.Version != version {
		return fmt.Errorf("version %s is no longer in the other slot", version)
	}
	if err := m.arm(t, t.Other()); err != nil {
		return err
	}
	running := t.Running()
	_, err = slot.Rename(t.ESP, *running.Entry, running.Entry.Lowered(), running.Spare...)
	return err
}

// reboot drains and reboots.
func (m *Machine) reboot(o *operation, want api.PowerRequest) error {
	if want.Reason == "" {
		want.Reason = "reboot"
	}
	m.drain(o, want)
	next := "the loader's choice"
	if t, err := m.table(); err == nil && t.Next() != "" {
		next = "version " + t.Next()
	}
	return m.goDown(o, "reboot", "%s is next", next)
}

// poweroff drains and powers the machine off.
func (m *Machine) poweroff(o *operation, want api.PowerRequest) error {
	if want.Reason == "" {
		want.Reason = "poweroff"
	}
	m.drain(o, want)
	return m.goDown(o, "poweroff", "until the machine is turned on again")
}

// goDown makes systemd reboot the machine, or power it off. It returns when that has started.
func (m *Machine) goDown(o *operation, verb, format string, args ...any) error {
	o.reportText(api.MachineReboot, "%s", verb)
	// Going down stops this program too, which must not stop systemctl
	ctx, cancel := context.WithTimeout(context.WithoutCancel(o.ctx), downLimit)
	defer cancel()
	if err := m.systemctl(ctx, verb); err != nil && m.ctx.Err() == nil {
		return err
	}
	o.reportDone(api.MachineReboot, verb+": "+format, args...)
	return nil
}

// drain takes the node out of service until its restart. A node that does not respond, or does not
// finish, delays nothing: what it has accepted is on disk.
func (m *Machine) drain(o *operation, want api.PowerRequest) {
	if err := m.drained(o, want); err != nil {
		m.Log.Warn("continuing without a complete drain", "err", err)
		o.reportText(api.MachineDrain, "continuing without a complete drain: %s", err)
	}
}

func (m *Machine) drained(o *operation, want api.PowerRequest) error {
	sockets, err := control.SocketsOf(m.Config, false)
	if err != nil {
		return err
	}
	c := control.NewClient(sockets.Node)
	defer c.Close()
	ctx, cancel := context.WithTimeout(o.ctx, m.DrainLimit)
	defer cancel()
	s, err := ask(ctx, c.Status)
	if err != nil {
		return err
	}
	if s.Phase != api.Drained && s.Phase != api.Stopping {
		o.reportText(api.MachineDrain, "draining the node")
		if s, err = c.Drain(ctx, api.DrainRequest{Reason: want.Reason, Now: want.Now, Until: api.UntilRestart}); err != nil {
			return err
		}
	}
	var silent time.Time // since when; zero: it responds
	for s.Phase != api.Drained && s.Phase != api.Stopping {
		o.reportText(api.MachineDrain, "%s", words.DrainReport(s, time.Now()).Line)
		select {
		case <-ctx.Done():
			if o.ctx.Err() == nil {
				return fmt.Errorf("not drained after %s", m.DrainLimit)
			}
			return ctx.Err()
		case <-time.After(m.Poll):
		}
		next, err := ask(ctx, c.Status)
		switch {
		case err == nil:
			s, silent = next, time.Time{}
		case silent.IsZero():
			silent = time.Now()
		case time.Since(silent) > silenceLimit:
			return err
		}
	}
	left := words.DrainLeft(s, time.Now())
	if len(left) == 0 {
		o.reportText(api.MachineDrain, "the node is drained")
		return nil
	}
	return errors.New(strings.Join(left, "; "))
}

// ask queries another program, with a limit of some seconds.
func ask[T any](ctx context.Context, what func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	return what(ctx)
}
