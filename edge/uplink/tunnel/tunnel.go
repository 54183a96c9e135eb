// Package tunnel is the WireGuard tunnel to core: a device, its keys and peers, and its MTU.
// Package plumb adds the addresses on the device and the routes into it.
//
// What happens to a packet to core: the kernel routes it into the device, which is the kernel's own
// WireGuard or a TUN that wireguard-go reads in this process; it is encrypted for the one peer
// whose allowed networks contain its destination, and leaves by UDP to where that peer was last
// heard, or to its configured endpoint. A packet without such a peer, or without a session with it,
// is dropped. What comes back is accepted only from an address that the peer is allowed to have.
//
// What happens to settings:
//
//  1. Open finds the device or makes it. An existing one is taken over as it
//     is, with its sessions if it is the kernel's, whoever made it. One that was
//     made here under another name is removed: a kernel's would occupy the UDP port.
//  2. Apply compares what the device has with what is wanted, and configures
//     the difference: a session with a peer that stays is not touched.
//  3. Run repeats that: when routes or devices change, because the MTU depends
//     on them; when a host name is due to be looked up; and every few seconds,
//     to undo foreign changes.
//  4. Close releases the device, which stays, with addresses and routes: the
//     kernel's goes on working, and a TUN drops what is sent into it until a
//     process serves it again: TCP retransmits. Remove removes it.
//
// The inner MTU is the smallest that any route to a peer allows less what WireGuard adds. Local TCP
// sockets derive their segment size from it.
//
// wireguard-go allocates 64 KiB for each packet that it holds, and sets no bound of its own but the
// lengths of its queues: 128 reads of the TUN for each peer that has no session, the oldest of
// which are dropped. A tunnel that is down holds only what its senders retransmit.
package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// Options are a tunnel's settings that never change.
type Options struct {
	// Interface is the name of the device, 1 to 15 bytes.
	Interface string
	// Implementation is Auto, Kernel or Userspace; "" is Auto.
	Implementation string
	// Log takes the tunnel's lines, and wireguard-go's at level debug. Nil: none.
	Log *slog.Logger
	// Lookup resolves the host name of an endpoint. Nil: Go's own resolver,
	// whose sockets are made in the process's network namespace, not the
	// tunnel's.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	// Clock says what is wrong with the wall clock; "": nothing known. A peer refuses handshakes
	// that are dated before one that it has seen, so Status names the clock where no handshake
	// succeeds. Nil: never anything.
	Clock func() string
}

// wireguard is a device: the kernel's or wireguard-go's. It is called with the tunnel's mutex held,
// in the tunnel's network namespace.
type wireguard interface {
	// have returns the device's current state. errGone: it was removed.
	have() (*wgtypes.Device, error)
	configure(wgtypes.Config) error
	// started makes sure that the device sends and receives. It has a key.
	started() error
	// resized reports the device's new MTU.
	resized(mtu int)
	// close releases the device.
	close() error
}

// Tunnel is one device. Its methods may be called from any goroutine, in any network namespace: the
// tunnel stays in the one that it was opened in. It prints as its name, since it holds keys.
type Tunnel struct {
	name   string
	asked  string
	log    *slog.Logger
	lookup func(context.Context, string) ([]netip.Addr, error)
	clock  func() string
	space  *namespace
	links  links
	poke   chan struct{} // something may have changed

	mutex  sync.Mutex // held for calls to the kernel, never for a lookup
	chosen choice
	device wireguard // nil: removed or closed
	closed bool
	want   *Settings // nil: no Apply yet
	known  map[PublicKey]*peerEndpoint
	up     map[PublicKey]bool // at the last step, for the log
	mtu    int                // of the device; 0: not derived yet
	mtuWhy string
	wrong  error // of the last step
}

// Open finds the device or makes it, in the network namespace of the calling thread. It fails if
// the device can't be made, is of another kind, or is in use by another program; an Implementation
// of Kernel fails where the kernel has no WireGuard. Close it.
func Open(options Options) (*Tunnel, error) {
	t := &Tunnel{
		name: options.Interface, asked: options.Implementation, log: options.Log, lookup: options.Lookup, clock: options.Clock,
		poke: make(chan struct{}, 1), up: map[PublicKey]bool{},
	}
	if t.asked == "" {
		t.asked = Auto
	}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	if t.clock == nil {
		t.clock = func() string { return "" }
	}
	if t.lookup == nil {
		t.lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if n := len(t.name); n == 0 || n >= unix.IFNAMSIZ {
		return nil, fmt.Errorf("tunnel: a device name has 1 to %d bytes, %q has %d", unix.IFNAMSIZ-1, t.name, n)
	}
	if err := t.openAll(); err != nil {
		return nil, fmt.Errorf("tunnel %s: %w", t.name, err)
	}
	return t, nil
}

// openAll opens namespace, kernel handles and device.
func (t *Tunnel) openAll() (err error) {
	if t.space, err = here(); err != nil {
		return err
	}
	if t.links, err = openLinks(); err != nil {
		t.space.close()
		return err
	}
	if err := t.space.do(t.open); err != nil {
		t.links.Close()
		t.space.close()
		return err
	}
	return nil
}

// open chooses the implementation and opens the device.
func (t *Tunnel) open() error {
	link, err := t.links.find(t.name)
	if err != nil {
		return err
	}
	c, err := choose(t.name, t.asked, kind(link))
	if err != nil {
		return err
	}
	if err := t.sweep(); err != nil {
		return err
	}
	if t.mtu == 0 && link != nil && isOurs(link) {
		t.mtu = link.Attrs().MTU // valid until a path to a peer is known
	}
	if c.implementation == Kernel {
		d, err := openKernel(t.links, t.name, link != nil)
		if err == nil {
			t.device = d
		} else if !errors.Is(err, errNoKernel) {
			return err
		} else if c, err = c.withoutKernel(); err != nil {
			return err
		}
	}
	if c.implementation == Userspace {
		d, err := openUserspace(t.links, t.name, t.poked, t.log)
		if err != nil {
			return err
		}
		t.device = d
	}
	t.chosen = c
	t.log.Info("tunnel opened", "interface", t.name, "implementation", c.implementation, "why", c.why, "made", link == nil)
	return nil
}

// sweep removes devices of ours that have another name: the config had it, or somebody renamed one.
func (t *Tunnel) sweep() error {
	made, err := t.links.made()
	if err != nil {
		return err
	}
	for _, link := range made {
		name := link.Attrs().Name
		if name == t.name {
			continue
		}
		if err := t.links.LinkDel(link); err != nil {
			return fmt.Errorf("remove %s, the tunnel's former device: %w", name, err)
		}
		t.log.Info("removed the tunnel's former device", "interface", t.name, "before", name)
	}
	return nil
}

// Apply makes the tunnel what the settings say: device, keys, peers, MTU, and the device up. It
// changes only what differs. A host name that does not resolve, or a peer without a route, is not
// an error but a problem in Status; the other peers work. The settings stay wanted when Apply fails,
// and Run retries.
func (t *Tunnel) Apply(ctx context.Context, s Settings) error {
	if err := s.check(); err != nil {
		return fmt.Errorf("tunnel %s: %w", t.name, err)
	}
	t.mutex.Lock()
	t.adopt(s)
	err := t.step(time.Now())
	t.mutex.Unlock()

	if t.resolve(ctx) {
		t.mutex.Lock()
		err = t.step(time.Now())
		t.mutex.Unlock()
	}
	if err != nil {
		return fmt.Errorf("tunnel %s: %w", t.name, err)
	}
	return nil
}

// adopt makes the settings the wanted ones. What is known of an endpoint stays if the endpoint
// stays.
func (t *Tunnel) adopt(s Settings) {
	s.Addresses, s.Peers = slices.Clone(s.Addresses), slices.Clone(s.Peers)
	known := make(map[PublicKey]*peerEndpoint, len(s.Peers))
	for i, p := range s.Peers {
		s.Peers[i].AllowedIPs = slices.Clone(p.AllowedIPs)
		before := t.known[p.PublicKey]
		if before != nil && before.text == p.Endpoint {
			known[p.PublicKey] = before
		} else {
			known[p.PublicKey] = newPeerEndpoint(p.Endpoint)
			if before != nil {
				known[p.PublicKey].changed, known[p.PublicKey].shaken = true, before.shaken
			}
		}
	}
	t.want, t.known = &s, known
}

// Status reads the device and returns the state of the tunnel.
func (t *Tunnel) Status() Status {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	var want Settings
	if t.want != nil {
		want = *t.want
	}
	have, wrong := &wgtypes.Device{}, t.wrong
	if t.device == nil {
		wrong = errors.Join(wrong, errGone)
	} else if found, err := t.device.have(); err != nil {
		wrong = errors.Join(wrong, err)
	} else {
		have = found
	}
	clock := t.clock()
	for _, f := range t.known {
		f.clock = clock
	}
	s := report(time.Now(), have, want, t.known, wrong)
	s.Interface, s.Implementation, s.Why = t.name, t.chosen.implementation, t.chosen.why
	s.MTU, s.MTUWhy = t.mtu, t.mtuWhy
	return s
}

// Close releases the device, which stays as it is. Run must have ended. Further calls do nothing.
func (t *Tunnel) Close() error {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	var err error
	if t.device != nil {
		err = t.device.close()
		t.device = nil
	}
	t.links.Close()
	t.space.close()
	if err != nil {
		return fmt.Errorf("tunnel %s: %w", t.name, err)
	}
	return nil
}

// Remove removes each device that this package made, in the network namespace of the calling
// thread, with addresses and routes, and returns their names. It fails if the device of the given
// name was made by another program, which stays; "" means none.
func Remove(name string) ([]string, error) {
	l, err := openLinks()
	if err != nil {
		return nil, fmt.Errorf("tunnel: %w", err)
	}
	defer l.Close()
	made, err := l.made()
	if err != nil {
		return nil, fmt.Errorf("tunnel: %w", err)
	}
	var removed []string
	var errs []error
	for _, link := range made {
		if err := l.LinkDel(link); err != nil {
			errs = append(errs, fmt.Errorf("tunnel %s: remove: %w", link.Attrs().Name, err))
			continue
		}
		removed = append(removed, link.Attrs().Name)
	}
	if name == "" {
		return removed, errors.Join(errs...)
	}
	link, err := l.find(name)
	if err != nil {
		errs = append(errs, fmt.Errorf("tunnel %s: %w", name, err))
	} else if link != nil && !isOurs(link) {
		errs = append(errs, fmt.Errorf("tunnel %s: the device (%s) was not made by anymx and was not removed", name, kind(link)))
	}
	return removed, errors.Join(errs...)
}

// Format prints the name of the device for every verb.
func (t *Tunnel) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.name) }
