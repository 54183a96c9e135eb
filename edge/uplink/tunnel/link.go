package tunnel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ours is the alias of a device that this package made. Remove removes no other.
const ours = "anymx tunnel"

// errGone means that the device was removed.
var errGone = errors.New("the device was removed")

// links is the kernel's table of devices and routes, queried over one socket of the tunnel's
// namespace.
type links struct{ *netlink.Handle }

func openLinks() (links, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return links{}, fmt.Errorf("rtnetlink: %w", err)
	}
	return links{h}, nil
}

// find returns the device of this name; nil: there is none.
func (l links) find(name string) (netlink.Link, error) {
	link, err := l.LinkByName(name)
	var absent netlink.LinkNotFoundError
	switch {
	case errors.As(err, &absent):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("device %s: %w", name, err)
	}
	return link, nil
}

// made returns the devices that this package made.
func (l links) made() ([]netlink.Link, error) {
	all, err := l.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	return slices.DeleteFunc(all, func(link netlink.Link) bool { return !isOurs(link) }), nil
}

// isOurs reports whether this package made a device.
func isOurs(link netlink.Link) bool {
	return (kind(link) == kindWireGuard || kind(link) == kindTUN) && link.Attrs().Alias == ours
}

// path returns the path to a peer from a device.
func (l links) path(to netip.Addr, device int) (path, error) {
	routes, err := l.RouteGet(to.AsSlice())
	if err == nil && len(routes) == 0 {
		err = unix.ENETUNREACH
	}
	if err != nil {
		return path{}, fmt.Errorf("no route to %s: %w", to, err)
	}
	route := routes[0]
	if route.LinkIndex == device {
		return path{}, fmt.Errorf("the route to %s goes through the tunnel itself", to)
	}
	// A route has its own MTU if it was configured with one, or if the kernel discovered a smaller
	// path MTU (RFC 1191, RFC 8201).
	if route.MTU != 0 {
		return path{to, route.MTU}, nil
	}
	link, err := l.LinkByIndex(route.LinkIndex)
	if err != nil {
		return path{}, fmt.Errorf("the device of the route to %s: %w", to, err)
	}
	return path{to, link.Attrs().MTU}, nil
}

// kind is a device's kind, as far as it matters to a tunnel.
func kind(link netlink.Link) string {
	if link == nil {
		return ""
	}
	if tuntap, ok := link.(*netlink.Tuntap); ok {
		if tuntap.Mode == netlink.TUNTAP_MODE_TUN {
			return kindTUN
		}
		return "tap"
	}
	return link.Type()
}
