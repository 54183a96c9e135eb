package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"anymx/edge/appliance/bundle"
	"anymx/edge/appliance/slot"
	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/refusal"
)

// update runs an update. body is the bundle, unless want names a URL. A bundle that is not accepted is
// a refusal.Invalid, and the machine was not changed.
func (m *Machine) update(o *operation, want api.UpdateRequest, body io.Reader) error {
	err := m.runUpdate(o, want, body)
	var why *refusal.Error
	switch {
	case err == nil && want.DryRun:
	case err == nil:
		m.results.staged.Add(1)
	case errors.As(err, &why):
		m.results.refused.Add(1)
	default:
		m.results.failed.Add(1)
	}
	return err
}

func (m *Machine) runUpdate(o *operation, want api.UpdateRequest, body io.Reader) error {
	t, err := m.updatable()
	if err != nil {
		return refusal.Invalid.Wrap(err)
	}
	defer func() {
		if err := m.clean(); err != nil {
			m.Log.Error("removing the staged files failed", "err", err)
		}
	}()
	manifest, err := m.receive(o, t, want, body)
	if err != nil {
		return err
	}
	if want.DryRun {
		o.reportDone(api.MachineReceive, "version %s could be installed; nothing was changed", manifest.Version)
		return nil
	}
	if err := o.detach(); err != nil {
		return err
	}
	if err := m.install(o, t, manifest); err != nil {
		return err
	}
	lower := slot.Compare(manifest.Version, t.Version) < 0
	if want.StageOnly {
		if lower {
			if err := m.lower(o, manifest.Version); err != nil {
				return err
			}
		}
		o.reportDone(api.MachineEntries, "version %s is written and boots at the next reboot: anymx reboot", manifest.Version)
		return nil
	}
	m.drain(o, api.PowerRequest{Reason: "update to version " + manifest.Version})
	if lower {
		if err := m.lower(o, manifest.Version); err != nil {
			return err
		}
	}
	return m.goDown(o, "reboot", "version %s is next", manifest.Version)
}

// updatable returns the machine's table, if it can be updated at all.
func (m *Machine) updatable() (*slot.Table, error) {
	t, err := m.table()
	switch {
	case err != nil:
		return nil, fmt.Errorf("this machine can't be updated: %w", err)
	case t.Other() == nil || t.Other().Root.Size == 0 || t.Other().Verity.Size == 0:
		return nil, fmt.Errorf("this machine can't be updated: %s has no second slot", t.Disk)
	case t.Running().Entry == nil:
		return nil, fmt.Errorf("this machine can't be updated: the running version %s has no boot entry to come back to", t.Version)
	}
	return t, nil
}

// acceptable returns why the version of a manifest can't be installed.
func (m *Machine) acceptable(t *slot.Table, f *bundle.Manifest, want api.UpdateRequest) error {
	other := t.Other()
	root, verity := f.File(bundle.Root), f.File(bundle.Verity)
	switch order := slot.Compare(f.Version, t.Version); {
	case f.Version == t.Version:
		return refusal.Invalid.Errorf("version %s is already running", f.Version)
	case order == 0:
		return refusal.Invalid.Errorf("version %s and the running version %s are equal for the boot loader", f.Version, t.Version)
	case order < 0 && !want.AllowOlder:
		return refusal.Invalid.Errorf("version %s is older than the running version %s: use --allow-older to install it anyway", f.Version, t.Version)
	case root.Full() > other.Root.Size || verity.Full() > other.Verity.Size:
		return refusal.Invalid.Errorf("version %s is too large for this disk's slots: its root has %s and its hash tree %s; the limits are %s and %s",
			f.Version, size(root.Full()), size(verity.Full()), size(other.Root.Size), size(other.Verity.Size))
	}
	return nil
}

// install writes a staged version to the other slot, and makes it the next one. One that is already
// there is only read back.
func (m *Machine) install(o *operation, t *slot.Table, f *bundle.Manifest) error {
	unlock, err := m.records.lock()
	if err != nil {
		return err
	}
	defer unlock()
	last := m.witness(o.ctx, t, f)
	if err := m.records.setLast(last); err != nil {
		return fmt.Errorf("record of the update: %w", err)
	}
	if err := m.arm(t, t.Running()); err != nil {
		return fmt.Errorf("resetting the running version's boot counter: %w", err)
	}
	if other := t.Other(); other.Version == f.Version && other.Entry != nil && m.readBack(o, t, f) == nil {
		o.reportText(api.MachineEntries, "version %s is already in the other slot, complete: its boot counter is reset", f.Version)
		if err := m.arm(t, other); err != nil {
			return err
		}
	} else if err := m.write(o, t, f); err != nil {
		return err
	}
	last.Outcome = outcomeStaged
	if err := m.records.setLast(last); err != nil {
		return fmt.Errorf("record of the update: %w", err)
	}
	return nil
}

// write writes the other slot and reads it back.
func (m *Machine) write(o *operation, t *slot.Table, f *bundle.Manifest) error {
	other := t.Other()
	gone := t.Stray // entries of versions in no slot can't boot
	if other.Entry != nil {
		gone = append(append(gone, *other.Entry), other.Spare...)
	}
	o.reportText(api.MachineWrite, "clearing the other slot")
	if err := slot.Remove(t.ESP, gone...); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(o.ctx, m.WriteLimit)
	defer cancel()
	// One version stays, the running one: the transfers protect it
	if err := m.sysupdate(ctx, o, "--instances-max=1", "vacuum"); err != nil {
		return err
	}
	if err := m.sysupdate(ctx, o, "update", f.Version); err != nil {
		return err
	}
	err := m.written(o, f)
	if err == nil {
		return nil
	}
	// The content is not what was signed: the loader must not find it
	if now, errTable := m.table(); errTable == nil && now.Other().Entry != nil {
		err = errors.Join(err, slot.Remove(now.ESP, append(now.Other().Spare, *now.Other().Entry)...))
	}
	return err
}

// written checks that a version is correctly in the other slot.
func (m *Machine) written(o *operation, f *bundle.Manifest) error {
	t, err := m.table()
	if err != nil {
		return err
	}
	other := t.Other()
	switch {
	case other.Version != f.Version || !other.Whole():
		return fmt.Errorf("systemd-sysupdate has ended, but the other slot is %s, with version %q instead of %s", other.State(), other.Version, f.Version)
	case other.Entry.Left != slot.Attempts:
		return fmt.Errorf("the new boot entry %s does not have %d boot attempts", other.Entry.File, slot.Attempts)
	}
	return m.readBack(o, t, f)
}

// lower sorts the running version's entry after the one of an older version, which the loader would
// not prefer otherwise.
func (m *Machine) lower(o *operation, version string) error {
	unlock, err := m.records.lock()
	if err != nil {
		return err
	}
	defer unlock()
	t, err := m.table()
	if err != nil {
		return err
	}
	if !t.Other().Bootable() || t.Other().Version != version {
		return fmt.Errorf("version %s is no longer in the other slot", version)
	}
	run := t.Running()
	if _, err := slot.Rename(t.ESP, *run.Entry, run.Entry.Lowered(), run.Spare...); err != nil {
		return err
	}
	o.reportText(api.MachineEntries, "version %s is sorted before the newer %s", version, t.Version)
	return nil
}

// witness creates the record of an update, with the requirements for the new version.
func (m *Machine) witness(ctx context.Context, t *slot.Table, f *bundle.Manifest) *record {
	last := &record{Version: f.Version, RootHash: f.RootHash, From: t.Version, Staged: time.Now(), Peers: []netip.Addr{}, Outcome: outcomeWriting}
	sockets, err := control.SocketsOf(m.Config, false)
	if err != nil {
		m.Log.Warn("the state before the update is unknown", "err", err)
		return last
	}
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	edge := control.NewClient(sockets.Node)
	defer edge.Close()
	if _, err := edge.Status(ctx); err == nil {
		last.Edge = true
	} else {
		m.Log.Warn("anymx-edge does not respond; the new version is not required to carry mail", "err", err)
	}
	if sockets.Speaker == "" {
		return last
	}
	speaker := control.NewSpeakerClient(sockets.Speaker)
	defer speaker.Close()
	s, err := speaker.Status(ctx)
	if err != nil {
		m.Log.Warn("anymx-bgp does not respond; the new version is not required to have its sessions", "err", err)
		return last
	}
	for _, p := range s.Peers {
		if p.State == "Established" {
			last.Peers = append(last.Peers, p.Address)
		}
	}
	return last
}
