package tunnel

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// errNoKernel means that the kernel has no WireGuard devices.
var errNoKernel = errors.New("this kernel has no WireGuard")

// kernelDevice is the kernel's WireGuard. All state is the kernel's: sessions outlive this process.
// Its UDP sockets belong to the namespace that the device was made in, wherever the device is moved
// later.
type kernelDevice struct {
	name   string
	links  links
	client *wgctrl.Client
}

// openKernel takes over a kernel device, or makes it. errNoKernel: the kernel has none.
func openKernel(l links, name string, there bool) (*kernelDevice, error) {
	if !there {
		if err := makeKernel(l, name); err != nil {
			return nil, err
		}
	}
	client, err := wgctrl.New()
	if err != nil {
		return nil, fmt.Errorf("WireGuard netlink: %w", err)
	}
	d := &kernelDevice{name, l, client}
	have, err := d.have()
	if err == nil && there {
		err = d.claim(have)
	}
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

// makeKernel makes the device and marks it as ours. The kernel loads its module by itself.
func makeKernel(l links, name string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	link := &netlink.Wireguard{LinkAttrs: attrs}
	err := l.LinkAdd(link)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return errNoKernel
	case err != nil:
		return fmt.Errorf("create WireGuard device %s: %w", name, err)
	}
	made, err := l.find(name)
	if err == nil && made == nil {
		err = errGone
	}
	if err == nil {
		err = l.LinkSetAlias(made, ours)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("mark WireGuard device %s: %w", name, err), l.LinkDel(link))
	}
	return nil
}

// claim marks a device that has neither an alias nor a config: one made here by a process that
// ended before marking it.
func (d *kernelDevice) claim(have *wgtypes.Device) error {
	link, err := d.find()
	if err != nil {
		return err
	}
	if !unclaimed(link.Attrs().Alias, have) {
		return nil
	}
	if err := d.links.LinkSetAlias(link, ours); err != nil {
		return fmt.Errorf("mark WireGuard device %s: %w", d.name, err)
	}
	return nil
}

// unclaimed reports whether a device is in its initial state.
func unclaimed(alias string, have *wgtypes.Device) bool {
	return alias == "" && have.PrivateKey == (wgtypes.Key{}) && len(have.Peers) == 0
}

// find returns the kernel's device; errGone: it does not exist. Without this check the client would
// look for a program that serves a device of the name, and give it the private key.
func (d *kernelDevice) find() (netlink.Link, error) {
	link, err := d.links.find(d.name)
	if err == nil && kind(link) != kindWireGuard {
		err = errGone
	}
	return link, err
}

// have returns the device's current state. errGone: it was removed.
func (d *kernelDevice) have() (*wgtypes.Device, error) {
	if _, err := d.find(); err != nil {
		return nil, err
	}
	have, err := d.client.Device(d.name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errGone
	case err != nil:
		return nil, fmt.Errorf("read WireGuard device %s: %w", d.name, err)
	case have.Type != wgtypes.LinuxKernel:
		return nil, errGone // removed a moment ago
	}
	return have, nil
}

func (d *kernelDevice) configure(c wgtypes.Config) error {
	if _, err := d.find(); err != nil {
		return err
	}
	err := d.client.ConfigureDevice(d.name, c)
	if errors.Is(err, fs.ErrNotExist) {
		return errGone
	}
	return err
}

// resized does nothing: the kernel's device is the one that was resized.
func (d *kernelDevice) resized(int) {}

// started does nothing: the device runs whenever it is up.
func (d *kernelDevice) started() error { return nil }

func (d *kernelDevice) close() error { return d.client.Close() }
