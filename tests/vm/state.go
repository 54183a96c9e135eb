package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Saved is a saved state of a running machine: files that never change, from which any number of
// machines can resume.
type Saved struct {
	Dir string
	// Likeness describes what a machine must be like to resume from it.
	Likeness string
}

// Files in the directory of a Saved.
const (
	savedMemory = "memory"
	savedDisk   = "disk.raw"
	savedVars   = "vars.fd"
	savedLabel  = "saved.json"
)

// Disk returns the path of the saved disk, a raw image.
func (s Saved) Disk() string { return filepath.Join(s.Dir, savedDisk) }

// Save stops a machine, writes its memory and its disk into a new directory, and ends it. After the
// machine has ended, copyDisk writes its disk to a new file: use CopyTo of Disk or of lossy.Disk.
// Nil: it has none.
//
// When the guest resumes, its network connections are dead and its clock is late.
func (m *Machine) Save(ctx context.Context, dir string, copyDisk func(name string) error) (Saved, error) {
	s := Saved{Dir: dir, Likeness: m.options.likeness(m.monitor.version)}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return s, err
	}
	memory := filepath.Join(dir, savedMemory)
	if strings.ContainsAny(memory, "'\n") {
		return s, fmt.Errorf("saving to %q: no such name can be given to QEMU", memory)
	}
	if err := m.monitor.do(ctx, "stop", nil, nil); err != nil {
		return s, err
	}
	if err := m.monitor.do(ctx, "migrate-set-parameters", map[string]any{"max-bandwidth": int64(8) << 30}, nil); err != nil {
		return s, err
	}
	if err := m.monitor.do(ctx, "migrate", map[string]any{"uri": "exec:cat >'" + memory + "'"}, nil); err != nil {
		return s, err
	}
	if err := m.migrated(ctx); err != nil {
		return s, fmt.Errorf("saving the machine: %w", err)
	}
	if err := m.Quit(ctx); err != nil {
		return s, err
	}
	if m.options.Direct == nil {
		if err := copyFile(m.Vars(), filepath.Join(dir, savedVars)); err != nil {
			return s, err
		}
	}
	if copyDisk != nil {
		if err := copyDisk(s.Disk()); err != nil {
			return s, fmt.Errorf("saving the disk: %w", err)
		}
	}
	text, err := json.Marshal(s)
	if err != nil {
		return s, err
	}
	return s, os.WriteFile(filepath.Join(dir, savedLabel), text, 0o600) // last: marks it complete
}

// OpenSaved opens what Save wrote. The error wraps os.ErrNotExist if there is no saved state or an
// incomplete one.
func OpenSaved(dir string) (Saved, error) {
	var s Saved
	text, err := os.ReadFile(filepath.Join(dir, savedLabel))
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("%s: %w", dir, err)
	}
	s.Dir = dir // it may have been moved
	return s, nil
}

// ErrUnlike is wrapped if a machine differs too much from a saved one to resume it: another QEMU,
// another processor, other devices.
var ErrUnlike = errors.New("not like the machine that was saved")

// Resume starts a machine from a saved state. Its disk must have the content of s.Disk: create it
// with Overlay or lossy.New for each Resume. All other options must be the same.
func Resume(ctx context.Context, s Saved, o Options) (*Machine, error) {
	if o.Accel == "" {
		o.Accel = Accelerator(ctx).Accel
	}
	o.Vars = filepath.Join(s.Dir, savedVars)
	memory := filepath.Join(s.Dir, savedMemory)
	m, err := start(ctx, o, "defer")
	if err != nil {
		return nil, err
	}
	if have := m.options.likeness(m.monitor.version); have != s.Likeness {
		m.Kill()
		return nil, fmt.Errorf("%w: it is %s, the saved one was %s", ErrUnlike, have, s.Likeness)
	}
	err = m.monitor.do(ctx, "migrate-incoming", map[string]any{"uri": "exec:cat '" + memory + "'"}, nil)
	if err == nil {
		err = m.migrated(ctx)
	}
	if err == nil {
		err = m.monitor.do(ctx, "cont", nil, nil)
	}
	if err != nil {
		m.Kill()
		return nil, fmt.Errorf("going on from %s: %w%s", s.Dir, err, m.complaint())
	}
	return m, nil
}

// migrated waits until the memory has been written or read.
func (m *Machine) migrated(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var now struct {
			Status string
			Error  string `json:"error-desc"`
		}
		if err := m.monitor.do(ctx, "query-migrate", nil, &now); err != nil {
			return err
		}
		switch now.Status {
		case "completed":
			return nil
		case "failed", "cancelled":
			return fmt.Errorf("QEMU has given up: %s", now.Error)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("memory is still %s: %w", now.Status, ctx.Err())
		}
	}
}
