package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Guest lets a virtual machine replace PoP a: namespace "a" is a bridge without addresses between
// its link to r1 and a tap device for the machine's network card. The machine has the addresses A4
// and A6, peers with r1, and reaches core, which stores its mail, at CoreOutside.
type Guest struct {
	Namespace *Namespace // QEMU runs in it and ends with the lab at the latest
	Host      string     // in its banner
	MAC       net.HardwareAddr
	// Tap counts at r1 what the guest sends to forged sources; nil in a user namespace.
	Tap *Tap

	lab      *Lab
	upstream *Namespace // of its router
}

// tapDevice is the name of the tap in namespace "a".
const tapDevice = "tap0"

func (l *Lab) newGuest(ctx context.Context) (*Guest, error) {
	g := &Guest{Namespace: l.spaces["a"], Host: "mx-a.example.net", MAC: net.HardwareAddr{0x52, 0x54, 0, 0x25, 0x25, 1},
		lab: l, upstream: l.spaces["r1"]}
	// A guest that resumes from a saved state still has its router's old link-layer address.
	if err := g.upstream.IP(ctx, "link", "set", "pop-a", "address", "52:54:00:25:25:fe"); err != nil {
		return nil, err
	}
	if err := g.Namespace.IP(ctx, "link", "add", "bridge", "type", "bridge", "stp_state", "0", "mcast_snooping", "0"); err != nil {
		return nil, err
	}
	if err := g.plug(); err != nil {
		return nil, err
	}
	for _, name := range []string{"bridge", "eth0", tapDevice} {
		if name != "bridge" {
			if err := g.Namespace.IP(ctx, "link", "set", name, "master", "bridge"); err != nil {
				return nil, err
			}
		}
		// Only the guest has an address here.
		if err := errors.Join(g.Namespace.Sysctl("ipv6/conf/"+name+"/disable_ipv6", "1"), g.Namespace.IP(ctx, "link", "set", name, "up")); err != nil {
			return nil, err
		}
	}
	// A guest that resumes from a saved state still expects its peer of that time, so core speaks
	// first.
	_, err := l.Core.Namespace.Output(ctx, "wg", "set", device(l.Name, "core"), "peer", l.keys.A.Public,
		"endpoint", A4+":51820", "persistent-keepalive", "2")
	if err := errors.Join(err, l.ClientA.wholeChecksums("eth0"), g.upstream.queue("pop-a")); err != nil {
		return nil, err
	}
	if g.Tap, err = g.upstream.tap("pop-a"); errors.Is(err, unix.EPERM) {
		err = nil // only the machine's root may use BPF
	}
	return g, err
}

// plug creates the tap device, which persists when nobody has it open.
func (g *Guest) plug() error {
	fd, err := g.Open()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1); err != nil {
		return fmt.Errorf("device %s: %w", tapDevice, err)
	}
	return nil
}

// Open opens the tap device for one machine and returns the descriptor that QEMU needs for its
// network card. Closing it frees the device.
func (g *Guest) Open() (fd int, err error) {
	err = g.Namespace.Do(func() error {
		fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("/dev/net/tun: %w", err)
		}
		var request struct {
			name  [unix.IFNAMSIZ]byte
			flags uint16
			_     [22]byte
		}
		copy(request.name[:], tapDevice)
		request.flags = unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNSETIFF, uintptr(unsafe.Pointer(&request))); errno != 0 {
			return errors.Join(fmt.Errorf("device %s: %w", tapDevice, errno), unix.Close(fd))
		}
		return nil
	})
	if err != nil {
		return -1, err
	}
	return fd, nil
}

// Flood floods the guest. See Lab.Flood.
func (g *Guest) Flood(ctx context.Context, o Flood) (*Flooding, error) {
	return o.start(ctx, g.upstream, g.MAC, "pop-a")
}

// Files returns the guest's config, as an operator would provide it: the content of each file of
// the bundle by its name. more is TOML that is appended to the config file.
func (g *Guest) Files(more string) map[string]string {
	peers := strings.ReplaceAll(siteA.peers, "%[1]q", `"credential:bgp.r1"`)
	return map[string]string{
		"anymx.toml":                fmt.Sprintf(guestConfig, siteA.role, "", "wg-core", siteA.tunnel, g.lab.keys.Core.Public, A4) + peers + more,
		"credentials/wg.key":        g.lab.keys.A.Private + "\n",
		"credentials/bgp.r1":        password + "\n",
		"network/10-uplink.network": fmt.Sprintf(guestNetwork, A4, A6, R1ToA4, R1ToA6),
	}
}

// Tree writes Files into an existing directory.
func (g *Guest) Tree(dir, more string) error {
	var failed error
	for name, text := range g.Files(more) {
		name = filepath.Join(dir, name)
		failed = errors.Join(failed, os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(text), 0o600))
	}
	return failed
}

// guestConfig adapts nodeConfig to the default paths and ports of an appliance.
var guestConfig = strings.NewReplacer(
	"state_dir = \"%[2]s/state\"\n", "", "control = \"%[2]s/run/edge.sock\"\n", "", "control = \"%[2]s/run/bgp.sock\"\n", "",
	"[net]\ncontrol = \"%[2]s/run/net.sock\"\n\n", "", "listen = [\"[::]:25\", \"[::]:8025\"]\n", "",
	"%[2]s/wg.key", "credential:wg.key",
).Replace(nodeConfig)

const guestNetwork = `[Match]
Type=ether
Kind=!*

[Network]
Address=%s/25
Address=%s/64
Gateway=%s
Gateway=%s
IPv6AcceptRA=no
`
