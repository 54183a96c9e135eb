// Package rack runs a machine in a chosen environment, with a disk that loses unflushed writes when
// the power is cut.
//
// What happens to the data: New copies an image to a lossy disk, and On boots from it, with the
// config bundle as a credential. Cut cuts the power and tears the disk; the next On boots from the
// result, with the same UEFI variables. Save ends the machine and stores memory and disk; Resume
// creates any number of racks from them. as often as wanted.
package rack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"

	"anymx/tests/lab"
	"anymx/tests/vm"
	"anymx/tests/vm/lossy"
)

// DefaultSize is a disk size in bytes, with room for two slots and mail.
const DefaultSize = 6 << 30

// Options are the options of New and Resume.
type Options struct {
	// Image is a raw image, which never changes. Resume uses the saved disk instead.
	Image string
	// Dir holds the disk, UEFI variables and logs. It must exist and be empty.
	Dir string
	// Size of the disk in bytes; 0 means DefaultSize.
	Size int64
	// Config is the config bundle, by file name, which the machine gets as the credential
	// anymx.tree. It may be nil.
	Config map[string]string
	// NIC returns the network card for each start. Nil: the machine has none.
	NIC func() (vm.NIC, error)
	// Machine has the other options: Memory, CPUs, Sticks, Credentials, Watchdog, Enter, Markers.
	// The rack sets Dir, Disk, NIC and Vars.
	Machine vm.Options
}

// Beside makes the machine replace PoP a in a lab created with Options.Guest, with the lab's config
// followed by more TOML.
func (o Options) Beside(l *lab.Lab, more string) Options {
	o.Config = l.Guest.Files(more)
	o.NIC = func() (vm.NIC, error) {
		tap, err := l.Guest.Open()
		return vm.NIC{Tap: tap, MAC: l.Guest.MAC}, err
	}
	o.Machine.Enter = l.Guest.Namespace.Do
	return o
}

// Rack is a machine with its disk. It is not safe for concurrent use.
type Rack struct {
	// Machine is the most recently started one; nil before the first start.
	Machine *vm.Machine
	Disk    *lossy.Disk

	options Options
	server  *lossy.Server
	sockets string // a directory with a short path, since socket paths are limited
}

// New creates the disk. The power is off. The caller must call Close.
func New(o Options) (_ *Rack, err error) {
	if o.Size == 0 {
		o.Size = DefaultSize
	}
	r := &Rack{options: o}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if r.sockets, err = os.MkdirTemp("", "anymx-vm"); err != nil {
		return nil, err
	}
	if r.Disk, err = lossy.New(o.Image, filepath.Join(o.Dir, "disk"), lossy.Options{Size: o.Size}); err != nil {
		return nil, fmt.Errorf("disk: %w", err)
	}
	r.server, err = lossy.Serve(r.Disk, filepath.Join(r.sockets, "disk"))
	return r, err
}

// machine returns the options for the next start.
func (r *Rack) machine() (o vm.Options, err error) {
	o = r.options.Machine
	o.Dir, o.Disk = r.options.Dir, vm.Disk{NBD: r.server.Socket()}
	if r.Machine != nil {
		o.Vars = r.Machine.Vars()
	}
	if r.options.Config != nil {
		tree, err := vm.Tree(r.options.Config)
		if err != nil {
			return o, err
		}
		o.Credentials = maps.Clone(o.Credentials)
		if o.Credentials == nil {
			o.Credentials = make(map[string][]byte)
		}
		o.Credentials["anymx.tree"] = tree
	}
	if r.options.NIC != nil {
		o.NIC, err = r.options.NIC()
	}
	return o, err
}

// Reconfigure sets the config bundle for the next start.
func (r *Rack) Reconfigure(config map[string]string) { r.options.Config = config }

// Credentials sets the additional credentials for the next start.
func (r *Rack) Credentials(values map[string][]byte) { r.options.Machine.Credentials = values }

// Plug sets the USB sticks for the next start.
func (r *Rack) Plug(sticks ...vm.Disk) { r.options.Machine.Sticks = sticks }

// On turns the power on. It fails if the machine is running.
func (r *Rack) On(ctx context.Context) error {
	if r.Machine != nil && r.Machine.Running() {
		return errors.New("the machine runs")
	}
	o, err := r.machine()
	if err != nil {
		return err
	}
	m, err := vm.Start(ctx, o)
	if err == nil {
		r.Machine = m
	}
	return err
}

// Cut cuts the power, and the disk loses writes: see lossy.Disk.PowerCut.
func (r *Rack) Cut(seed uint64) (lossy.Cut, error) {
	if r.Machine != nil {
		r.Machine.Kill()
	}
	return r.server.PowerCut(seed)
}

// Save saves the machine to a new directory and ends it. The caller must still call Close.
func (r *Rack) Save(ctx context.Context, dir string) (vm.Saved, error) {
	return r.Machine.Save(ctx, dir, r.Disk.CopyTo)
}

// Resume creates a rack whose machine resumes from a saved state. o must equal the options of the
// saved one, except Dir, Image and Config, which that machine has already read.
func Resume(ctx context.Context, saved vm.Saved, o Options) (*Rack, error) {
	o.Image, o.Size = saved.Disk(), 0
	info, err := os.Stat(o.Image)
	if err != nil {
		return nil, err
	}
	o.Size = info.Size()
	r, err := New(o)
	if err != nil {
		return nil, err
	}
	machine, err := r.machine()
	if err == nil {
		r.Machine, err = vm.Resume(ctx, saved, machine)
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Close cuts the power and releases the disk. The files stay. It may be called more than once.
func (r *Rack) Close() error {
	if r.Machine != nil {
		r.Machine.Kill()
	}
	var failed error
	if r.server != nil {
		failed = r.server.Close()
	}
	if r.Disk != nil {
		failed = errors.Join(failed, r.Disk.Close())
	}
	if r.sockets != "" {
		failed = errors.Join(failed, os.RemoveAll(r.sockets))
	}
	r.server, r.Disk, r.sockets = nil, nil, ""
	return failed
}
