package tunnel

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"
)

const clone = "/dev/net/tun"

// genNone is the kernel's IN6_ADDR_GEN_MODE_NONE: the device gets no automatic link-local address.
const genNone = 1

// tunDevice is a TUN as wireguard-go needs it, without its monitoring: whether the device is up and
// its MTU are reported by the tunnel, which listens in the right network namespace, and opens the
// sockets there.
type tunDevice struct {
	tun.Device
	mtu    atomic.Int64
	mutex  sync.Mutex
	events chan tun.Event // closed by Close; nil after
	stream chan tun.Event // the same, for reading
}

// openTUN attaches to the TUN of this name, or makes it: persistent, so that it stays, with index,
// addresses and routes, when the process that serves it ends, and the next one attaches to it.
func openTUN(l links, name string) (*tunDevice, error) {
	fd, err := unix.Open(clone, unix.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENODEV):
		return nil, fmt.Errorf("%s: %w (without the kernel's WireGuard its TUN driver is required)", clone, err)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", clone, err)
	}
	mtu, err := attach(l, fd, name)
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	// From here on the device owns the descriptor.
	inner, _, err := tun.CreateUnmonitoredTUNFromFD(fd)
	if err != nil {
		return nil, fmt.Errorf("TUN %s: %w", name, err)
	}
	events := make(chan tun.Event, 1)
	d := &tunDevice{Device: inner, events: events, stream: events}
	d.mtu.Store(int64(mtu))
	return d, nil
}

// attach binds the descriptor to the device and returns its MTU.
func attach(l links, fd int, name string) (int, error) {
	before, err := l.find(name)
	if err != nil {
		return 0, err
	}
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return 0, fmt.Errorf("device name %q: %w", name, err)
	}
	// No header of our own; but the kernel's, by which it hands over segments that are not cut yet
	// and checksums that are not computed yet.
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	switch {
	case errors.Is(err, unix.EBUSY):
		return 0, fmt.Errorf("TUN %s is in use by another program: %w", name, err)
	case errors.Is(err, unix.EPERM):
		return 0, fmt.Errorf("TUN %s: %w (requires CAP_NET_ADMIN, or ownership of the device)", name, err)
	case err != nil:
		return 0, fmt.Errorf("TUN %s: %w", name, err)
	}

	link, err := l.find(name)
	if err == nil && link == nil {
		err = errGone
	}
	if err != nil {
		return 0, fmt.Errorf("TUN %s: %w", name, err)
	}
	if before == nil {
		if err := mark(l, link, fd); err != nil {
			return 0, fmt.Errorf("TUN %s: %w", name, err)
		}
	}
	return link.Attrs().MTU, nil
}

// mark makes a new TUN ours, and persistent last: until then it vanishes with this process, so none
// is left over unmarked.
func mark(l links, link netlink.Link, fd int) error {
	if err := l.LinkSetAlias(link, ours); err != nil {
		return fmt.Errorf("alias: %w", err)
	}
	// The remote end would drop packets from a link-local address, as its allowed networks contain
	// none. Without IPv6 in the kernel there is nothing to set.
	err := l.LinkSetIP6AddrGenMode(link, genNone)
	if err != nil && !errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("no link-local address: %w", err)
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1); err != nil {
		return fmt.Errorf("persist: %w", err)
	}
	return nil
}

// MTU is the last one that the tunnel reported.
func (d *tunDevice) MTU() (int, error) { return int(d.mtu.Load()), nil }

// resized reports a new MTU. One pending event is enough: its reader asks for the MTU of that
// moment.
func (d *tunDevice) resized(mtu int) {
	if d.mtu.Swap(int64(mtu)) == int64(mtu) {
		return
	}
	d.mutex.Lock()
	defer d.mutex.Unlock()
	select {
	case d.events <- tun.EventMTUUpdate: // blocks for ever once closed: nil
	default:
	}
}

func (d *tunDevice) Events() <-chan tun.Event { return d.stream }

// Close releases the device, which stays.
func (d *tunDevice) Close() error {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if d.events == nil {
		return nil
	}
	close(d.events)
	d.events = nil
	return d.Device.Close()
}
