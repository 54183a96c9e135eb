package xdp

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Names of links, in Pins and in hooks, consist of the program and the interface.
const (
	shieldOn = "shield-"
	admitOn  = "admit-"
)

// hookName returns the name of a link: a BPF file system allows no dots, and an interface's name
// contains no colon.
func hookName(program string, device netlink.Link) string {
	return program + strings.ReplaceAll(device.Attrs().Name, ".", ":")
}

// hook is the desired state of a link.
type hook struct {
	name    string // of the link
	of      string // the interface in the options that it belongs to
	device  netlink.Link
	program *ebpf.Program
	xdp     bool
}

// Attach makes the programs run on the interfaces of the options and on no others. Links that exist
// already get the programs of this process, each in one step and without missing a packet. With
// Off, it detaches everything. The error names each interface where attaching failed, which is also
// in Status; the others are attached. It can be called again to retry.
func (s *Shield) Attach() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.problems)
	devices, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("interfaces: %w", err)
	}
	hooks, faults := s.wanted(devices)
	want := map[string]bool{}
	for _, h := range hooks {
		if h.xdp && s.problems[h.of] != "" {
			continue // cookies that nobody admits would be worse than no shield
		}
		want[h.name] = true
		if err := s.attach(h); err != nil {
			err = fmt.Errorf("interface %s: %w", h.device.Attrs().Name, err)
			s.problems[h.of] = err.Error()
			faults = append(faults, err)
		}
	}
	return errors.Join(append(faults, s.detachBut(want))...)
}

// wanted returns the desired links: admit comes first, so that no cookie returns to an interface
// where nobody admits it.
func (s *Shield) wanted(devices []netlink.Link) (hooks []hook, faults []error) {
	if s.options.Mode == Off {
		return nil, nil
	}
	var last []hook
	for _, name := range s.options.Interfaces {
		device := named(devices, name)
		if device == nil {
			err := fmt.Errorf("interface %s: there is no such interface", name)
			s.problems[name] = err.Error()
			faults = append(faults, err)
			continue
		}
		if s.admit != nil {
			for _, d := range append(above(devices, device), device) {
				hooks = append(hooks, hook{hookName(admitOn, d), name, d, s.admit, false})
			}
		}
		last = append(last, hook{hookName(shieldOn, device), name, device, s.shield, true})
	}
	return append(hooks, last...), faults
}

func named(devices []netlink.Link, name string) netlink.Link {
	for _, d := range devices {
		if d.Attrs().Name == name {
			return d
		}
	}
	return nil
}

// above lists the VLAN devices over d: only there is a frame with two tags IP.
func above(devices []netlink.Link, d netlink.Link) (upper []netlink.Link) {
	for _, u := range devices {
		if u.Type() == "vlan" && u.Attrs().ParentIndex == d.Attrs().Index {
			upper = append(append(upper, u), above(devices, u)...)
		}
	}
	return upper
}

// attach establishes h, by updating the existing link if possible.
func (s *Shield) attach(h hook) error {
	l := s.hooks[h.name]
	if l == nil && s.options.Pins != "" {
		pinned, err := link.LoadPinnedLink(s.pin(h.name), nil)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("pin of %s: %w", h.name, err)
		}
		l = pinned
	}
	if l != nil {
		if s.fits(l, h) && l.Update(h.program) == nil {
			s.hooks[h.name] = l
			return nil
		}
		if err := s.detach(h.name, l); err != nil {
			return err
		}
	}
	l, err := s.link(h)
	if err != nil {
		return err
	}
	if s.options.Pins != "" {
		if err := l.Pin(s.pin(h.name)); err != nil {
			l.Close()
			return fmt.Errorf("pin of %s: %w", h.name, err)
		}
	}
	s.hooks[h.name] = l
	return nil
}

// fits reports whether l is attached as h wants, in the requested mode: an interface may have been
// recreated under the same name.
func (s *Shield) fits(l link.Link, h hook) bool {
	info, err := l.Info()
	if err != nil {
		return false
	}
	index := uint32(h.device.Attrs().Index)
	if !h.xdp {
		at := info.TCX()
		return at != nil && at.Ifindex == index
	}
	at := info.XDP()
	have := modeOf(h.device)
	return at != nil && at.Ifindex == index && (s.options.Mode == Auto && have != Off || have == s.options.Mode)
}

// link attaches h's program.
func (s *Shield) link(h hook) (link.Link, error) {
	index := h.device.Attrs().Index
	if !h.xdp {
		l, err := link.AttachTCX(link.TCXOptions{Interface: index, Program: h.program, Attach: ebpf.AttachTCXIngress, Anchor: link.Head()})
		if err != nil {
			return nil, fmt.Errorf("TC ingress: %w", err)
		}
		return l, nil
	}
	var faults []error
	for _, way := range []struct {
		mode Mode
		flag link.XDPAttachFlags
	}{{Native, link.XDPDriverMode}, {Generic, link.XDPGenericMode}} {
		if s.options.Mode != Auto && s.options.Mode != way.mode {
			continue
		}
		l, err := link.AttachXDP(link.XDPOptions{Interface: index, Program: h.program, Flags: way.flag})
		if err == nil {
			if len(faults) > 0 {
				s.options.Log.Warn("shield is not in the driver", "interface", h.device.Attrs().Name, "err", errors.Join(faults...))
			}
			return l, nil
		}
		faults = append(faults, fmt.Errorf("%s XDP: %w", way.mode, err))
	}
	return nil, errors.Join(faults...)
}

// modeOf returns how XDP runs on a device, whichever program it is.
func modeOf(device netlink.Link) Mode {
	x := device.Attrs().Xdp
	switch {
	case x == nil || !x.Attached:
		return Off
	case x.AttachMode == nl.XDP_ATTACHED_SKB:
		return Generic
	}
	return Native
}

func (s *Shield) pin(name string) string {
	return filepath.Join(s.options.Pins, name)
}

// detach removes a link for good, even if others hold it. Closing it would only detach it after
// they close it too.
func (s *Shield) detach(name string, l link.Link) error {
	delete(s.hooks, name)
	var faults []error
	if s.options.Pins != "" {
		if err := os.Remove(s.pin(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			faults = append(faults, fmt.Errorf("pin: %w", err))
		}
	}
	if err := l.Detach(); err != nil && !errors.Is(err, unix.ENOLINK) { // its interface is gone
		faults = append(faults, err)
	}
	return errors.Join(append(faults, l.Close())...)
}

// detachBut removes every link, pinned or held, that is not wanted, and maps of other layouts,
// which are now unused.
func (s *Shield) detachBut(want map[string]bool) error {
	var faults []error
	for name, l := range s.hooks {
		if !want[name] {
			faults = append(faults, s.detach(name, l))
		}
	}
	if s.options.Pins == "" {
		return errors.Join(faults...)
	}
	entries, err := os.ReadDir(s.options.Pins)
	if err != nil {
		return errors.Join(append(faults, fmt.Errorf("pins: %w", err))...)
	}
	for _, e := range entries {
		name := e.Name()
		isLink := strings.HasPrefix(name, shieldOn) || strings.HasPrefix(name, admitOn)
		switch {
		case isLink && !want[name]:
			faults = append(faults, unhook(s.pin(name)))
		case strings.HasPrefix(name, "maps-") && name != "maps-"+layout:
			faults = append(faults, os.RemoveAll(s.pin(name)))
		}
	}
	return errors.Join(faults...)
}

// unhook removes a link that is only known by its pin.
func unhook(pin string) error {
	l, err := link.LoadPinnedLink(pin, nil)
	if err != nil {
		return fmt.Errorf("pin: %w", err)
	}
	defer l.Close()
	if err := l.Detach(); err != nil && !errors.Is(err, unix.ENOLINK) {
		return fmt.Errorf("pin %s: %w", pin, err)
	}
	return os.Remove(pin)
}

// Remove removes what is pinned in a directory: programs of an earlier process are detached, and
// counters, lists and keys are deleted. It succeeds if the directory doesn't exist.
func Remove(pins string) error {
	for _, part := range []struct {
		prefix string
		remove func(string) error
	}{{shieldOn, unhook}, {admitOn, unhook}, {"maps-", os.RemoveAll}} { // cookies must end before their admission
		found, err := filepath.Glob(filepath.Join(pins, part.prefix+"*"))
		if err != nil {
			return fmt.Errorf("pins: %w", err)
		}
		for _, name := range found {
			if err := part.remove(name); err != nil {
				return fmt.Errorf("pins: %w", err)
			}
		}
	}
	err := os.Remove(pins)
	// An empty directory that we may not remove, as on the appliance, stays.
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("pins: %w", err)
	}
	return nil
}
