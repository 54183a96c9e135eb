package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"anymx/edge/appliance/bundle"
	"anymx/edge/appliance/slot"
	"anymx/edge/operate/api"
	"anymx/edge/refusal"
)

// reserve is the space that stays free where something is written, in bytes.
const reserve = 32 << 20

// receive reads a bundle, verifies it, and stages its files, unless it is only checked.
func (m *Machine) receive(o *operation, t *slot.Table, want api.UpdateRequest, body io.Reader) (*bundle.Manifest, error) {
	keys, err := bundle.ReadKeys(m.Keys)
	if err != nil {
		return nil, refusal.Invalid.Wrap(err)
	}
	source := body
	if want.URL != "" {
		o.reportText(api.MachineReceive, "fetching %s", shown(want.URL))
		f, err := m.fetch(o.ctx, want.URL)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		source = f
	}
	source = &cancelReader{o.ctx, source}
	b, err := bundle.Open(source, keys)
	if err != nil {
		return nil, m.broken(o, err)
	}
	f := b.Manifest
	o.reportText(api.MachineReceive, "version %s, built %s, signed by %s", f.Version, f.Built.Format("2006-01-02"), b.Key)
	if err := m.acceptable(t, f, want); err != nil {
		return nil, err
	}
	if err := m.room(t, f); err != nil {
		return nil, err
	}
	if !want.DryRun {
		if err := m.clean(); err != nil {
			return nil, fmt.Errorf("staging: %w", err)
		}
		if err := os.Mkdir(m.staged(), 0o700); err != nil {
			return nil, fmt.Errorf("staging: %w", err)
		}
	}
	if err := m.stage(o, b, want.DryRun); err != nil {
		return nil, m.broken(o, err)
	}
	o.reportText(api.MachineReceive, "version %s is complete", f.Version)
	return f, nil
}

// broken returns err as the sender of a bundle should see it.
func (m *Machine) broken(o *operation, err error) error {
	var path *os.PathError
	switch {
	case o.ctx.Err() != nil && m.ctx.Err() != nil:
		return errors.New("anymx-machine is stopping; nothing was changed")
	case o.ctx.Err() != nil:
		return errGone
	case errors.As(err, &path): // of this machine's own disk
		return err
	}
	return refusal.Invalid.Wrap(err)
}

// stage writes the files of a bundle to disk, or only reads them.
func (m *Machine) stage(o *operation, b *bundle.Reader, only bool) error {
	total, done := b.Manifest.Size(), int64(0)
	for {
		f, body, err := b.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		counted := &countingReader{r: body, count: func(n int64) {
			done += n
			o.report(api.MachineProgress{Step: api.MachineReceive, Done: done, Total: total})
		}}
		if only {
			_, err = io.Copy(io.Discard, counted)
		} else {
			err = writeFile(filepath.Join(m.staged(), stagedName(b.Manifest, f)), counted, f)
		}
		if err != nil {
			return err
		}
	}
}

// stagedName returns the name of a file for systemd-sysupdate's transfers, which read the UUID of a
// partition from it.
func stagedName(m *bundle.Manifest, f bundle.File) string {
	root, verity, _ := slot.PartitionsOf(m.RootHash) // the manifest was validated
	id := map[bundle.Role]slot.UUID{bundle.Root: root, bundle.Verity: verity}[f.Role]
	if id == "" {
		return f.Name
	}
	return strings.Replace(f.Name, "anymx_"+m.Version, "anymx_"+m.Version+"_"+string(id), 1)
}

// writeFile writes a file with its zeros as a hole.
func writeFile(name string, body io.Reader, f bundle.File) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{file}, body, make([]byte, 1<<20))
	if err == nil {
		err = file.Truncate(f.Full())
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// room checks the space that a version needs on /var and in the ESP.
func (m *Machine) room(t *slot.Table, f *bundle.Manifest) error {
	free, err := freeSpace(m.State)
	if err != nil {
		return err
	}
	if need := f.Size() + reserve; free < need {
		return refusal.Invalid.Errorf("not enough space in %s: the update temporarily needs %s, %s are free", m.State, size(need), size(free))
	}
	if free, err = freeSpace(t.ESP); err != nil {
		return err
	}
	if e := t.Other().Entry; e != nil { // it will be removed first
		if info, err := os.Stat(t.Path(*e)); err == nil {
			free += info.Size()
		}
	}
	if need := f.File(bundle.Kernel).Size + 1<<20; free < need {
		return refusal.Invalid.Errorf("not enough space in the ESP: the kernel needs %s, %s are free", size(need), size(free))
	}
	return nil
}

func freeSpace(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(s.Bavail) * s.Bsize, nil
}

// size formats a number of bytes for people.
func size(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d KiB", (n+1023)>>10)
	}
	return fmt.Sprintf("%d MiB", (n+1<<20-1)>>20)
}

// countingReader counts what is read.
type countingReader struct {
	r     io.Reader
	count func(int64)
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if n > 0 {
		c.count(int64(n))
	}
	return n, err
}

// cancelReader stops reading once ctx has ended.
type cancelReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancelReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
