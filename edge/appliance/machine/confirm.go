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
	proofLimit    = 45 * time.Second // of one message through all of the node
	leastPatience = 30 * time.Second // of a proof that begins late
	latePause     = time.Minute      // between two attempts that nobody waits for
	mostRestarts  = 5                // of the mail program, until nothing more is expected of it
)

// ErrNotProven is wrapped by the error of Prove for a version that did not prove
// itself in time.
var ErrNotProven = errors.New("this version is not proven")

// Prove waits until the running version has proven that it carries mail, and
// remembers it. What it waits for is logged. A version that was proven before, and
// a node that has no config, are not asked.
//
// When the time is over (Options.Deadline after the boot) and there is a version to
// go back to, the machine is rebooted; the error says so.
func Prove(ctx context.Context, o Options) error {
	m, err := newMachine(ctx, o)
	if err != nil {
		return err
	}
	patience, cancel := context.WithTimeout(ctx, max(m.Deadline-m.sinceBoot(), min(leastPatience, m.Deadline)))
	defer cancel()
	m.givesUp = true
	lacks, err := m.proveUntil(patience, m.Retry)
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

// proveUntil tries to prove the running version until that has worked, or ctx
// ends: then it says what it lacks.
func (m *Machine) proveUntil(ctx context.Context, pause time.Duration) (lacks string, err error) {
	said := ""
	for {
		done, err := m.isProven()
		if err != nil || done {
			return "", errors.Join(err, m.settleIf(done))
		}
		if lacks, err = m.attempt(ctx); err != nil {
			return "", err
		}
		m.mu.Lock()
		m.notYet = lacks
		m.mu.Unlock()
		if lacks == "" {
			return "", m.remember()
		}
		if lacks == unasked {
			if back, err := m.retreats(); err != nil || !back {
				return "", err
			}
		}
		if lacks != said && ctx.Err() == nil {
			m.Log.Info("waiting for the proof of this version", "lacks", lacks)
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

// hopeless says why there is nothing to wait for: the mail program ends again and
// again. "" if there is, or if nobody would give up.
func (m *Machine) hopeless(ctx context.Context) string {
	if !m.givesUp {
		return ""
	}
	restarts := 0
	err := run(ctx, func(line string) { restarts, _ = strconv.Atoi(line) },
		m.Systemctl, "show", "--property=NRestarts", "--value", "anymx-edge.service")
	if err != nil || restarts < mostRestarts {
		return "" // the deadline is there in any case
	}
	return fmt.Sprintf("anymx-edge was started %d times, and ended each time", restarts+1)
}

// settleIf is settle, if done.
func (m *Machine) settleIf(done bool) error {
	if !done {
		return nil
	}
	return m.settle()
}

// giveUp reboots a machine whose version did not prove itself, if there is one to go
// back to.
func (m *Machine) giveUp(ctx context.Context, lacks string) error {
	err := fmt.Errorf("%w: %s", ErrNotProven, lacks)
	back, errBack := m.retreats()
	if errBack != nil || !back {
		return errors.Join(fmt.Errorf("%w. There is no other version to go back to, so the machine stays up", err), errBack)
	}
	m.Log.Error("this version did not prove itself: the machine is rebooted, and after its last try the other version comes back", "lacks", lacks)
	ctx, cancel := context.WithTimeout(ctx, downLimit)
	defer cancel()
	return errors.Join(fmt.Errorf("%w. The machine is rebooted", err), m.systemctl(ctx, "reboot", "--force"))
}

// retreats says whether the machine goes back if this version does not prove itself.
func (m *Machine) retreats() (bool, error) {
	t, err := m.table()
	if err != nil {
		return false, err
	}
	last, err1 := m.records.last()
	proven, err2 := m.records.proven()
	return mayRetreat(t, last, proven), errors.Join(err1, err2)
}

// isProven says whether the running version was proven.
func (m *Machine) isProven() (bool, error) {
	t, err := m.table()
	if err != nil {
		return false, err
	}
	proven, err := m.records.proven()
	return proven.has(t.Version, t.RootHash), err
}

// remember writes down that the running version is proven, and arms it again.
func (m *Machine) remember() error {
	t, err := m.table()
	if err != nil {
		return err
	}
	unlock, err := m.records.lock()
	if err != nil {
		return err
	}
	err = m.records.addProven(provenVersion{t.Version, t.RootHash, time.Now()})
	unlock()
	if err != nil {
		return fmt.Errorf("the proof can't be written down: %w", err)
	}
	m.Log.Info("this version is proven", "version", t.Version)
	return m.settle()
}

// unasked is what a node lacks that has no config: there is no mail to prove
// anything with.
const unasked = "the node has no config"

// attempt tries once to prove the running version. It says what is missing; "":
// nothing is.
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
	ctx, cancel := context.WithTimeout(ctx, proofLimit)
	defer cancel()
	edge := control.NewClient(sockets.Node)
	defer edge.Close()
	if _, err := edge.Prove(ctx); err != nil {
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

// proveLate goes on trying after the time of Prove is over, for a node whose
// config, or router, came late.
func (m *Machine) proveLate(ctx context.Context) {
	if _, err := m.table(); err != nil {
		return // it was said at the start
	}
	select {
	case <-ctx.Done():
		return
	case <-time.After(max(0, m.Deadline-m.sinceBoot())):
	}
	for {
		lacks, err := m.proveUntil(ctx, latePause)
		if err != nil {
			m.Log.Error("this version can't be proven", "err", err)
		}
		if err == nil && lacks == "" {
			if done, err := m.isProven(); err == nil && done {
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
