package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"anymx/tests/vm"
	"anymx/tests/vm/rack"
)

// power controls the machine: it boots it, boots it again after a power cut, or resumes it from a
// saved state.
type power struct {
	flags options
	s     *screen
	place place
	rack  *rack.Rack
}

// bootLimit is how long a boot may take with software emulation on a busy machine.
const bootLimit = 6 * time.Minute

// options returns the machine's options and recreates its directory.
func (p *power) options() (rack.Options, error) {
	o := rack.Options{
		Image: p.flags.image, Dir: p.flags.file("machine"), Config: p.place.files(), NIC: p.place.nic,
		Machine: vm.Options{Memory: p.flags.memory, CPUs: p.flags.cpus, Watchdog: true, Enter: p.place.enter, QEMU: p.flags.qemu},
	}
	return o, errors.Join(p.off(), os.RemoveAll(o.Dir), os.Mkdir(o.Dir, 0o700))
}

// boot boots the image.
func (p *power) boot(ctx context.Context) error {
	o, err := p.options()
	if err != nil {
		return err
	}
	if p.rack, err = rack.New(o); err != nil {
		return err
	}
	return p.rack.On(ctx)
}

// resume resumes a saved machine.
func (p *power) resume(ctx context.Context, saved vm.Saved) error {
	o, err := p.options()
	if err != nil {
		return err
	}
	p.rack, err = rack.Resume(ctx, saved, o)
	return err
}

// off cuts the power.
func (p *power) off() (err error) {
	if p.rack != nil {
		err = p.rack.Close()
		p.rack = nil
	}
	return err
}

// watch reports the progress of the boot until mail can reach the machine. A router notices late
// that a machine is gone: after a power cut, only changes since then count.
func (p *power) watch(ctx context.Context, out io.Writer, afterCut bool) error {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	noticed := !afterCut
	s := *p.s
	s.out = out
	told := map[string]bool{}
	tell := func(at time.Duration, what string) {
		if !told[what] {
			told[what] = true
			s.at(at, "%s", what)
		}
	}
	for {
		for _, r := range p.rack.Machine.Boot() {
			tell(r.At, phases[r.Name])
		}
		steps, all := p.place.reached(ctx)
		if !noticed {
			if noticed = len(steps) == 0; noticed {
				tell(time.Since(p.rack.Machine.On), "nobody sends mail to it any more")
			}
			steps, all = nil, false
		}
		for _, step := range steps {
			tell(time.Since(p.rack.Machine.On), step)
		}
		if all {
			return nil
		}
		select {
		case <-p.rack.Machine.Done():
			return fmt.Errorf("the machine is off; its console ends:\n%s", p.rack.Machine.Console.Tail(100))
		case <-ctx.Done():
			if context.Cause(ctx) == context.Canceled {
				return ctx.Err()
			}
			return fmt.Errorf("mail can't reach the machine after %s; its console ends:\n%s", bootLimit, p.rack.Machine.Console.Tail(100))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// phases describe the progress of a boot.
var phases = map[string]string{
	vm.Firmware: "the UEFI firmware runs",
	vm.Kernel:   "the kernel starts",
	vm.Initrd:   "systemd runs in the initrd, which checks the root",
	vm.Root:     "systemd runs in the root",
}

// key identifies the image and the config of a machine.
func (p *power) key() (string, error) {
	sum := sha256.New()
	file, err := os.Open(p.flags.image)
	if err != nil {
		return "", err
	}
	defer file.Close()
	if _, err := io.Copy(sum, file); err != nil {
		return "", err
	}
	files := p.place.files()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(sum, "%d %s %d %s", len(name), name, len(files[name]), files[name])
	}
	return fmt.Sprintf("%x", sum.Sum(nil)[:8]), nil
}

// start starts the machine: from the state saved by an earlier start, or by booting it and then
// saving its state.
func (p *power) start(ctx context.Context) error {
	key, err := p.key()
	if err != nil {
		return err
	}
	dir := p.flags.file("saved-" + key)
	saved, err := vm.OpenSaved(dir)
	if err == nil && !p.flags.fresh {
		p.s.title("The machine goes on from where it was saved after an earlier boot (-fresh boots it instead):")
		if err = p.resume(ctx, saved); err == nil {
			return p.watch(ctx, p.s.out, false)
		}
		if !errors.Is(err, vm.ErrUnlike) {
			return err
		}
		p.s.line("It can't: the machine would be another one, or QEMU is.")
	}
	if err := p.forget(); err != nil {
		return err
	}
	p.s.title("The machine boots:")
	if err := p.boot(ctx); err != nil {
		return err
	}
	if err := p.watch(ctx, p.s.out, false); err != nil {
		return err
	}
	p.s.line("")
	p.s.line("Saving it, so that the next start takes seconds.")
	if err := p.place.part(ctx); err != nil {
		return err
	}
	if saved, err = p.rack.Save(ctx, dir); err != nil {
		return err
	}
	if err := p.resume(ctx, saved); err != nil {
		return err
	}
	if err := p.place.meet(ctx); err != nil {
		return err
	}
	return p.watch(ctx, p.s.out, false)
}

// forget removes saved states of other images and configs.
func (p *power) forget() error {
	all, err := filepath.Glob(p.flags.file("saved-*"))
	for _, name := range all {
		err = errors.Join(err, os.RemoveAll(name))
	}
	return err
}

// cut cuts the power and turns the machine on again.
func (p *power) cut(ctx context.Context, out io.Writer) error {
	before := p.rack.Disk.Counts()
	cut, err := p.rack.Cut(uint64(time.Now().UnixNano()))
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "The power is cut. %d writes of the disk were not flushed: %d survived, %d are torn, %d lost. (%d flushes before.)\nIt boots again:\n",
		cut.Writes, cut.Kept, cut.Torn, cut.Lost, before.Flushes)
	if err := p.rack.On(ctx); err != nil {
		return err
	}
	return p.watch(ctx, out, true)
}
