// Package tunnel is the WireGuard tunnel to core: a device, its keys and peers,
// and the size of its packets. Addresses on the device and routes into it are
// put there by who plumbs the node.
//
// What happens to a packet to core: the kernel routes it into the device, which
// is the kernel's own WireGuard or a TUN that wireguard-go reads in this
// process; it is encrypted for the one peer whose allowed networks hold its
// destination, and leaves by UDP to where that peer was last heard, or is said
// to be. A packet for which there is no such peer, or no session with it, goes
// nowhere. What comes back is believed only from an address that the peer is
// allowed to have.
//
// What happens to settings:
//
//  1. Open finds the device or makes it. One that is there is taken over as it
//     is, with its sessions if it is the kernel's, whoever made it. One that was
//     made here under another name goes: a kernel's would keep the UDP port.
//  2. Apply compares what the device has with what is wanted, and tells it what
//     differs: a session with a peer that stays is not touched.
//  3. Run does the same again and again: when routes or devices change, because
//     the MTU hangs on them; when a host name is due to be looked up; and every
//     few seconds, so that what others changed is put back.
//  4. Close lets go. The device stays, with addresses and routes: the kernel's
//     goes on working, and a TUN drops what is sent into it until somebody
//     serves it again: TCP sends it once more. Remove takes it away.
//
// The MTU inside is the smallest that any route to a peer allows less what
// WireGuard puts around. Local TCP sockets derive their segment size from it.
//
// wireguard-go allocates 64 KiB for each packet that it holds, and sets no
// bound of its own but the lengths of its queues: 128 reads of the TUN for each
// peer that has no session, the oldest of which are dropped. A tunnel that is
// down holds what its senders retransmit, and no more.
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

// Options is what a tunnel keeps for its life.
type Options struct {
	// Interface is the name of the device, 1 to 15 octets.
	Interface string
	// Implementation is Auto, Kernel or Userspace; "" is Auto.
	Implementation string
	// Log takes the tunnel's lines, and wireguard-go's at level debug. Nil: none.
	Log *slog.Logger
	// Lookup resolves the host name of an endpoint. Nil: Go's own resolver,
	// whose sockets are made in the process's network namespace, not the
	// tunnel's.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	// Clock says what is wrong with the wall clock; "": nothing is known to be. A
	// peer refuses handshakes that are dated before one that it has seen, so
	// Status names it where none comes. Nil: nothing is.
	Clock func() string
}

// wireguard is a device: the kernel's or wireguard-go's. Its calls are made
// under the tunnel's mutex, in its network namespace.
type wireguard interface {
	// have is the device as it is. errGone: it was taken away.
	have() (*wgtypes.Device, error)
	configure(wgtypes.Config) error
	// started makes sure that the device sends and receives. It has a key.
	started() error
	// resized says that the device takes packets of this size now.
	resized(mtu int)
	// close lets go of the device.
	close() error
}

// Tunnel is one device. Its methods may be called from any goroutine, whatever
// network namespace that is in: the tunnel stays in the one that it was opened
// in. It prints as its name, since it holds keys.
type Tunnel struct {
	name   string
	asked  string
	log    *slog.Logger
	lookup func(context.Context, string) ([]netip.Addr, error)
	clock  func() string
	space  *namespace
	links  links
	poke   chan struct{} // something may have changed

	mutex  sync.Mutex // held for calls to the kernel, never for a look-up
	chosen choice
	device wireguard // nil: gone or closed
	closed bool
	want   *Settings // nil: no Apply yet
	known  map[PublicKey]*far
	up     map[PublicKey]bool // at the last step, for the log
	mtu    int                // of the device; 0: not derived yet
	mtuWhy string
	wrong  error // of the last step
}

// Open finds the device or makes it, in the network namespace of the calling
// thread. It errs if the device cannot be made, is of another kind, or is held
// by another program; an Implementation of Kernel errs where the kernel has no
// WireGuard. Close it.
func Open(o Options) (*Tunnel, error) {
	t := &Tunnel{
		name: o.Interface, asked: o.Implementation, log: o.Log, lookup: o.Lookup, clock: o.Clock,
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
		return nil, fmt.Errorf("tunnel: the name of a device is 1 to %d octets, %q has %d", unix.IFNAMSIZ-1, t.name, n)
	}
	if err := t.begin(); err != nil {
		return nil, fmt.Errorf("tunnel %s: %w", t.name, err)
	}
	return t, nil
}

// begin takes hold of namespace, kernel and device.
func (t *Tunnel) begin() (err error) {
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
		t.mtu = link.Attrs().MTU // stays until a way to a peer is known
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
	t.log.Info("tunnel is open", "interface", t.name, "implementation", c.implementation, "why", c.why, "made", link == nil)
	return nil
}

// sweep takes away devices of ours that have another name: the config had it, or
// somebody renamed one.
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
			return fmt.Errorf("take away %s, which the tunnel was before: %w", name, err)
		}
		t.log.Info("took away the device that the tunnel was before", "interface", t.name, "before", name)
	}
	return nil
}

// Apply makes the tunnel what the settings say: device, keys, peers, MTU, and
// the device up. It changes what differs and nothing else. A host name that
// does not resolve, or a peer that has no route, is no error but stands in
// Status; the other peers work. The settings stay wanted when Apply errs, and
// Run tries again.
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

// adopt takes the settings as what is wanted. What is known of an endpoint is
// kept if the endpoint stays.
func (t *Tunnel) adopt(s Settings) {
	s.Addresses, s.Peers = slices.Clone(s.Addresses), slices.Clone(s.Peers)
	known := make(map[PublicKey]*far, len(s.Peers))
	for i, p := range s.Peers {
		s.Peers[i].AllowedIPs = slices.Clone(p.AllowedIPs)
		before := t.known[p.PublicKey]
		if before != nil && before.text == p.Endpoint {
			known[p.PublicKey] = before
		} else {
			known[p.PublicKey] = newFar(p.Endpoint)
			if before != nil {
				known[p.PublicKey].changed, known[p.PublicKey].shaken = true, before.shaken
			}
		}
	}
	t.want, t.known = &s, known
}

// Status asks the device and says how the tunnel is.
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

// Close lets go of the device, which stays as it is. Run must have ended. Close
// twice is once.
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

// Remove takes away each device that this package made, in the network namespace
// of the calling thread, with addresses and routes, and returns their names. It
// errs if the device of the given name was made by another, and stays; "" is no
// device.
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
		errs = append(errs, fmt.Errorf("tunnel %s: the device (%s) was not made by anymx, it stays", name, kind(link)))
	}
	return removed, errors.Join(errs...)
}

// Format prints the name of the device for every verb.
func (t *Tunnel) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.name) }
