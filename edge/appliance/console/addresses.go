package console

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"

	"anymx/edge/operate/words"
)

// Device is a network interface with its addresses.
type Device struct {
	Name      string
	Up        bool
	Carrier   bool // a link to the other end
	Loopback  bool
	MTU       int
	MAC       string         // "": none
	Addresses []netip.Prefix // link-local ones last
}

// Devices returns the machine's interfaces from the kernel, in the order of their numbers.
func Devices() ([]Device, error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("interfaces: %w", err)
	}
	var devices []Device
	for _, i := range list {
		d := Device{
			Name: i.Name, Up: i.Flags&net.FlagUp != 0, Carrier: i.Flags&net.FlagRunning != 0,
			Loopback: i.Flags&net.FlagLoopback != 0, MTU: i.MTU, MAC: i.HardwareAddr.String(),
		}
		addresses, _ := i.Addrs() // the interface may have been removed meanwhile
		for _, a := range addresses {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				d.Addresses = append(d.Addresses, p)
			}
		}
		slices.SortStableFunc(d.Addresses, func(a, b netip.Prefix) int {
			return cmp.Compare(distance(a.Addr()), distance(b.Addr()))
		})
		devices = append(devices, d)
	}
	return devices, nil
}

// distance sorts addresses by how far away they can be reached.
func distance(a netip.Addr) int {
	switch {
	case a.IsLoopback():
		return 3
	case a.IsLinkLocalUnicast():
		return 2
	case a.Is6():
		return 1
	}
	return 0
}

// Routes returns at most max lines of text about the kernel's main table.
func Routes(max int) ([]string, error) {
	names := map[int]string{}
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("interfaces: %w", err)
	}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	var lines []string
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteList(nil, family)
		if err != nil {
			return nil, fmt.Errorf("routes: %w", err)
		}
		for i := range routes {
			lines = append(lines, routeText(&routes[i], names, family))
		}
	}
	if len(lines) > max {
		lines = append(lines[:max], fmt.Sprintf("and %d more", len(lines)-max))
	}
	return lines, nil
}

// routeText formats a route, such as "default via 198.51.100.1 dev eth0 metric 100".
func routeText(r *netlink.Route, names map[int]string, family int) string {
	text := "default"
	if r.Dst != nil && !(r.Dst.IP.IsUnspecified() && isZero(r.Dst.Mask)) {
		text = r.Dst.String()
	}
	switch r.Type {
	case 6, 7, 8: // RTN_BLACKHOLE, RTN_UNREACHABLE, RTN_PROHIBIT
		text = [...]string{"blackhole ", "unreachable ", "prohibit "}[r.Type-6] + text
	}
	hop := func(via net.IP, index int) {
		if via != nil {
			text += " via " + via.String()
		}
		if name := names[index]; name != "" {
			text += " dev " + name
		}
	}
	hop(r.Gw, r.LinkIndex)
	for _, n := range r.MultiPath {
		hop(n.Gw, n.LinkIndex)
	}
	if r.Priority > 0 && !(family == netlink.FAMILY_V6 && r.Priority == 1024) { // IPv6's default
		text += fmt.Sprintf(" metric %d", r.Priority)
	}
	return text
}

func isZero(mask net.IPMask) bool {
	ones, _ := mask.Size()
	return ones == 0
}

// WriteNetwork writes interfaces with their addresses, and routes, as text.
func WriteNetwork(w io.Writer, devices []Device, routes []string) error {
	var b bytes.Buffer
	for _, d := range devices {
		state := "up"
		switch {
		case !d.Up:
			state = "DOWN"
		case !d.Carrier:
			state = "up, NO CARRIER"
		}
		fmt.Fprintf(&b, "%s  %s, MTU %d", words.Clean(d.Name), state, d.MTU)
		if d.MAC != "" {
			fmt.Fprintf(&b, ", %s", d.MAC)
		}
		b.WriteString("\n")
		for _, a := range d.Addresses {
			fmt.Fprintf(&b, "    %s\n", a)
		}
	}
	fmt.Fprintf(&b, "\nRoutes (main table)\n")
	if len(routes) == 0 {
		b.WriteString("    none\n")
	}
	for _, r := range routes {
		fmt.Fprintf(&b, "    %s\n", words.Clean(r))
	}
	_, err := b.WriteTo(w)
	return err
}
