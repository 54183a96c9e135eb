// Package rack puts a machine where it is wanted, with a disk that forgets when
// the power is cut.
//
// What happens to the data: New copies an image to a lossy disk of its own, and On
// boots from it, with the config bundle as a credential. Cut takes the power away and
// tears the disk; the next On boots from what is left, with the same UEFI variables.
// Save ends the machine and keeps memory and disk; Resume makes new racks from that,
// as often as wanted.
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

// DefaultSize is a disk's, in octets: room for two slots and for mail.
const DefaultSize = 6 << 30

// Options of New and Resume.
type Options struct {
	// Image is a raw image; Resume takes the saved disk instead. It never changes.
	Image string
	// Dir is where disk, UEFI variables and logs are. It must be there and be empty.
	Dir string
	// Size of the disk in octets; 0 means DefaultSize.
	Size int64
	// Config is the config bundle, by the names of its files, which the machine gets as
	// the credential anymx.tree. Nil: it gets none.
	Config map[string]string
	// NIC makes the network card for each start. Nil: there is none.
	NIC func() (vm.NIC, error)
	// Machine is the rest: Memory, CPUs, Sticks, Credentials, Watchdog, Enter,
	// Markers. Dir, Disk, NIC and Vars are the rack's.
	Machine vm.Options
}

// Beside has the machine take the place of PoP a in a lab that was made for it,
// with the lab's config and more TOML at its end.
func (o Options) Beside(l *lab.Lab, more string) Options {
	o.Config = l.Guest.Files(more)
	o.NIC = func() (vm.NIC, error) {
		tap, err := l.Guest.Open()
		return vm.NIC{Tap: tap, MAC: l.Guest.MAC}, err
	}
	o.Machine.Enter = l.Guest.Namespace.Do
	return o
}

// Rack is a machine with its disk. Its methods are for one goroutine.
type Rack struct {
	// Machine is the one that was started last; nil before.
	Machine *vm.Machine
	Disk    *lossy.Disk

	options Options
	server  *lossy.Server
	sockets string // a directory with a short name, as that of a socket must be
}

// New makes the disk. The power is off. Whoever makes a rack must Close it.
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

// machine is what the next start needs.
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

// Reconfigure changes what the machine gets with its next start.
func (r *Rack) Reconfigure(config map[string]string) { r.options.Config = config }

// Credentials changes which credentials it gets besides, with its next start.
func (r *Rack) Credentials(values map[string][]byte) { r.options.Machine.Credentials = values }

// Plug changes what is in the machine's USB sockets when it is started next.
func (r *Rack) Plug(sticks ...vm.Disk) { r.options.Machine.Sticks = sticks }

// On switches the power on. A machine that runs is an error.
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

// Cut cuts the power, and the disk loses what it must: see lossy.Disk.PowerCut.
func (r *Rack) Cut(seed uint64) (lossy.Cut, error) {
	if r.Machine != nil {
		r.Machine.Kill()
	}
	return r.server.PowerCut(seed)
}

// Save keeps the machine in a new directory, and ends it: Close remains to be done.
func (r *Rack) Save(ctx context.Context, dir string) (vm.Saved, error) {
	return r.Machine.Save(ctx, dir, r.Disk.CopyTo)
}

// Resume makes a rack whose machine goes on from where one was saved. o must be like
// that one's, but for Dir, Image and Config, which the machine has read already.
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

// Close cuts the power, and lets go of the disk. The files stay. It may be called
// again.
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
