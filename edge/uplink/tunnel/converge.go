package tunnel

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// step makes the device what is wanted, and makes it anew if it was taken away.
// The mutex is held.
func (t *Tunnel) step(now time.Time) error {
	if t.closed {
		return net.ErrClosed
	}
	err := t.space.do(func() error { return t.converge(now) })
	if errors.Is(err, errGone) {
		t.log.Warn("tunnel's device is gone, making it anew", "interface", t.name)
		if err = t.reopen(); err == nil {
			err = t.space.do(func() error { return t.converge(now) })
		}
	}
	if err != nil && (t.wrong == nil || t.wrong.Error() != err.Error()) {
		t.log.Error("tunnel is not as it should be", "interface", t.name, "err", err)
	} else if err == nil && t.wrong != nil {
		t.log.Info("tunnel is as it should be again", "interface", t.name)
	}
	t.wrong = err
	return err
}

// reopen lets go of what is left of a device, and opens it again.
func (t *Tunnel) reopen() error {
	if t.device != nil {
		if err := t.device.close(); err != nil {
			t.log.Debug("close what is left of the tunnel", "interface", t.name, "err", err)
		}
		t.device = nil
	}
	return t.space.do(t.open)
}

// converge compares the device with what is wanted and tells it what differs.
func (t *Tunnel) converge(now time.Time) error {
	if t.device == nil {
		return errGone
	}
	if t.want == nil {
		return nil
	}
	have, err := t.device.have()
	if err != nil {
		return err
	}
	c := plan(have, *t.want, t.endpoints(now, have))
	if !empty(c) {
		if err := t.device.configure(c); err != nil {
			return fmt.Errorf("configure: %w", err)
		}
		t.log.Info("tunnel is configured", "interface", t.name, "changed", changes(c))
		if have, err = t.device.have(); err != nil {
			return err
		}
	}
	if err := t.resize(have); err != nil {
		return err
	}
	if err := t.device.started(); err != nil {
		return err
	}
	t.tellChanges(now, have)
	return nil
}

// endpoints are those that the device is to be told.
func (t *Tunnel) endpoints(now time.Time, have *wgtypes.Device) map[PublicKey]netip.AddrPort {
	at := map[PublicKey]netip.AddrPort{}
	for _, h := range have.Peers {
		at[PublicKey(h.PublicKey)] = endpointOf(h)
	}
	last := handshakes(have)
	told := map[PublicKey]netip.AddrPort{}
	for _, p := range t.want.Peers {
		if e, ok := t.known[p.PublicKey].tell(now, at[p.PublicKey], last[p.PublicKey], p.Keepalive); ok {
			told[p.PublicKey] = e
		}
	}
	return told
}

// resize derives the MTU from the routes to the peers, gives it to the device,
// and sees that the device is up.
func (t *Tunnel) resize(have *wgtypes.Device) error {
	link, err := t.links.find(t.name)
	if err != nil {
		return err
	}
	if link == nil {
		return errGone
	}
	var paths []path
	for _, h := range have.Peers {
		far := t.known[PublicKey(h.PublicKey)]
		endpoint := endpointOf(h)
		if far == nil || !endpoint.IsValid() {
			continue
		}
		var p path
		if p, far.route = t.links.path(endpoint.Addr(), link.Attrs().Index); far.route == nil {
			paths = append(paths, p)
		}
	}
	mtu, why := t.want.mtu(paths, t.mtu)
	if link.Attrs().MTU != mtu {
		if err := t.links.LinkSetMTU(link, mtu); err != nil {
			return fmt.Errorf("MTU %d: %w", mtu, err)
		}
		t.log.Info("tunnel's MTU is set", "interface", t.name, "mtu", mtu, "before", link.Attrs().MTU, "why", why)
	}
	t.mtu, t.mtuWhy = mtu, why
	t.device.resized(mtu)
	if link.Attrs().Flags&net.FlagUp == 0 {
		if err := t.links.LinkSetUp(link); err != nil {
			return fmt.Errorf("set %s up: %w", t.name, err)
		}
	}
	return nil
}

// tellChanges logs each peer that came or went since the last step.
func (t *Tunnel) tellChanges(now time.Time, have *wgtypes.Device) {
	last := handshakes(have)
	maps.DeleteFunc(t.up, func(key PublicKey, _ bool) bool { _, there := last[key]; return !there })
	for key, handshake := range last {
		f := t.known[key]
		if f == nil {
			continue // not of the settings, and about to go
		}
		is := f.shaken.fresh(now, handshake)
		if was := t.up[key]; is == was {
			continue
		}
		t.up[key] = is
		if is {
			t.log.Info("tunnel's peer is up", "interface", t.name, "peer", key)
		} else {
			t.log.Warn("tunnel's peer is down", "interface", t.name, "peer", key, "last_handshake", handshake)
		}
	}
}
