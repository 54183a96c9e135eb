package machine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"time"

	"anymx/edge/appliance/provision"
	"anymx/edge/operate/control"
)

const (
	selfTestLimit = 45 * time.Second // of one message through the whole node
	leastPatience = 30 * time.Second // of a confirmation that starts late
	latePause     = time.Minute      // between two attempts after the deadline
	mostRestarts  = 5                // of the mail program, before giving up
)

// ErrUnconfirmed is wrapped by the error of Confirm for a version that was not confirmed in time.
var ErrUnconfirmed = errors.New("this version is not confirmed")

// Confirm waits until the running version has carried mail, and records that. It logs what it waits
// for. A version that was confirmed before is not tested, nor is a node without a config.
//
// When the time is over (Options.Deadline after the boot) and there is a version to go back to, the
// machine is rebooted; the error says so.
func Confirm(ctx context.Context, o Options) error {
	m, err := newMachine(ctx, o)
	if err != nil {
		return err
	}
	patience, cancel := context.WithTimeout(ctx, max(m.Deadline-m.sinceBoot(), min(leastPatience, m.Deadline)))
	defer cancel()
	m.givesUp = true
	lacks, err := m.confirmUntil(patience, m.Retry)
	switch {
	case err != nil:
		return err
	case lacks == "":
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return m.giveUp(ctx, lacks)
}

// confirmUntil attempts to confirm the running version until that succeeds, or ctx ends: then it
// returns what is missing.
func (m *Machine) confirmUntil(ctx context.Context, pause time.Duration) (lacks string, err error) {
	said := ""
	for {
		done, err := m.isConfirmed()
		if err != nil || done {
			return "", errors.Join(err, m.judgeIf(done))
		}
		if lacks, err = m.attempt(ctx); err != nil {
			return "", err
		}
		m.mu.Lock()
		m.notYet = lacks
		m.mu.Unlock()
		if lacks == "" {
			return "", m.recordConfirmed()
		}
		if lacks == unasked {
			if back, err := m.retreats(); err != nil || !back {
				return "", err
			}
		}
		if lacks != said && ctx.Err() == nil {
			m.Log.Info("waiting for the confirmation of this version", "lacks", lacks)
			said = lacks
		}
		if why := m.hopeless(ctx); why != "" {
			return why, nil
		}
		select {
		case <-ctx.Done():
			return said, nil
		case <-time.After(pause):
		}
	}
}

// hopeless returns why waiting is pointless: the mail program keeps exiting. It returns "" if that
// is not the case or has no consequence.
func (m *Machine) hopeless(ctx context.Context) string {
	if !m.givesUp {
		return ""
	}
	restarts := 0
	err := run(ctx, func(line string) { restarts, _ = strconv.Atoi(line) },
		m.Systemctl, "show", "--property=NRestarts", "--value", "anymx-edge.service")
	if err != nil || restarts < mostRestarts {
		return "" // the deadline applies in any case
	}
	return fmt.Sprintf("anymx-edge was started %d times and ended each time", restarts+1)
}

// judgeIf calls judge if done is true.
func (m *Machine) judgeIf(done bool) error {
	if !done {
		return nil
	}
	return m.judge()
}

// giveUp reboots a machine whose version was not confirmed, if there is one to go back to.
func (m *Machine) giveUp(ctx context.Context, lacks string) error {
	err := fmt.Errorf("%w: %s", ErrUnconfirmed, lacks)
	back, errBack := m.retreats()
	if errBack != nil || !back {
		return errors.Join(fmt.Errorf("%w; there is no version to go back to, so the machine stays up", err), errBack)
	}
	m.Log.Error("version not confirmed: rebooting; after its last boot attempt the loader boots the other version", "lacks", lacks)
	ctx, cancel := context.WithTimeout(ctx, downLimit)
	defer cancel()
	return errors.Join(fmt.Errorf("%w; the machine is rebooted", err), m.systemctl(ctx, "reboot", "--force"))
}

// retreats reports whether the machine goes back if this version is not confirmed.
func (m *Machine) retreats() (bool, error) {
	t, err := m.table()
	if err != nil {
		return false, err
	}
	last, err1 := m.records.last()
	confirmed, err2 := m.records.confirmed()
	return mayRetreat(t, last, confirmed), errors.Join(err1, err2)
}

// isConfirmed reports whether the running version is confirmed.
func (m *Machine) isConfirmed() (bool, error) {
	t, err := m.table()
	if err != nil {
		return false, err
	}
	confirmed, err := m.records.confirmed()
	return confirmed.has(t.Version, t.RootHash), err
}

// recordConfirmed records that the running version is confirmed, and resets its boot counter.
func (m *Machine) recordConfirmed() error {
	t, err := m.table()
	if err != nil {
		return err
	}
	unlock, err := m.records.lock()
	if err != nil {
		return err
	}
	err = m.records.addConfirmed(confirmedVersion{t.Version, t.RootHash, time.Now()})
	unlock()
	if err != nil {
		return fmt.Errorf("recording the confirmation: %w", err)
	}
	m.Log.Info("boot confirmed", "version", t.Version)
	return m.judge()
}

// unasked is what a node without a config lacks: without mail, there is nothing to test.
const unasked = "the node has no config"

// attempt tests the running version once. It returns what is missing; "" for nothing.
func (m *Machine) attempt(ctx context.Context) (lacks string, err error) {
	sockets, err := control.SocketsOf(m.Config, true)
	if errors.Is(err, fs.ErrNotExist) {
		if r, err := provision.Last(m.System.Root); err == nil && len(r.Problems) > 0 {
			return "the node has no valid config: " + configProblem(&r), nil
		}
		return unasked, nil
	}
	if err != nil {
		return err.Error(), nil
	}
	ctx, cancel := context.WithTimeout(ctx, selfTestLimit)
	defer cancel()
	edge := control.NewClient(sockets.Node)
	defer edge.Close()
	if _, err := edge.SelfTest(ctx); err != nil {
		return err.Error(), nil
	}
	if sockets.Speaker == "" {
		return "", nil
	}
	t, err := m.table()
	if err != nil {
		return "", err
	}
	last, err := m.records.last()
	if err != nil {
		return "", err
	}
	speaker := control.NewSpeakerClient(sockets.Speaker)
	defer speaker.Close()
	s, err := speaker.Status(ctx)
	if err != nil {
		return err.Error(), nil
	}
	return peersLack(last, t.Version, &s), nil
}

// confirmLate continues after Confirm's deadline, for a node that got its config or router late.
func (m *Machine) confirmLate(ctx context.Context) {
	if _, err := m.table(); err != nil {
		return // reported at the start
	}
	select {
	case <-ctx.Done():
		return
	case <-time.After(max(0, m.Deadline-m.sinceBoot())):
	}
	for {
		lacks, err := m.confirmUntil(ctx, latePause)
		if err != nil {
			m.Log.Error("confirming this version failed", "err", err)
		}
		if err == nil && lacks == "" {
			if done, err := m.isConfirmed(); err == nil && done {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(latePause):
		}
	}
}
