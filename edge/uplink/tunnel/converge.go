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

// step makes the device what is wanted, and recreates it if it was removed. The mutex is held.
func (t *Tunnel) step(now time.Time) error {
	if t.closed {
		return net.ErrClosed
	}
	err := t.space.do(func() error { return t.converge(now) })
	if errors.Is(err, errGone) {
		t.log.Warn("tunnel device was removed, recreating it", "interface", t.name)
		if err = t.reopen(); err == nil {
			err = t.space.do(func() error { return t.converge(now) })
		}
	}
	if err != nil && (t.wrong == nil || t.wrong.Error() != err.Error()) {
		t.log.Error("tunnel setup failed, retrying", "interface", t.name, "err", err)
	} else if err == nil && t.wrong != nil {
		t.log.Info("tunnel setup works again", "interface", t.name)
	}
	t.wrong = err
	return err
}

// reopen releases what is left of a device, and opens it again.
func (t *Tunnel) reopen() error {
	if t.device != nil {
		if err := t.device.close(); err != nil {
			t.log.Debug("closing the remains of the tunnel failed", "interface", t.name, "err", err)
		}
		t.device = nil
	}
	return t.space.do(t.open)
}

// converge compares the device with what is wanted and configures the difference.
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
		t.log.Info("tunnel configured", "interface", t.name, "changed", changes(c))
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
	t.logChanges(now, have)
	return nil
}

// endpoints returns those that the device needs to be configured with.
func (t *Tunnel) endpoints(now time.Time, have *wgtypes.Device) map[PublicKey]netip.AddrPort {
	at := map[PublicKey]netip.AddrPort{}
	for _, h := range have.Peers {
		at[PublicKey(h.PublicKey)] = endpointOf(h)
	}
	last := handshakes(have)
	changed := map[PublicKey]netip.AddrPort{}
	for _, p := range t.want.Peers {
		if e, ok := t.known[p.PublicKey].nextEndpoint(now, at[p.PublicKey], last[p.PublicKey], p.Keepalive); ok {
			changed[p.PublicKey] = e
		}
	}
	return changed
}

// resize derives the MTU from the routes to the peers, sets it on the device, and makes sure that
// the device is up.
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
		known := t.known[PublicKey(h.PublicKey)]
		endpoint := endpointOf(h)
		if known == nil || !endpoint.IsValid() {
			continue
		}
		var p path
		if p, known.route = t.links.path(endpoint.Addr(), link.Attrs().Index); known.route == nil {
			paths = append(paths, p)
		}
	}
	mtu, why := t.want.mtu(paths, t.mtu)
	if link.Attrs().MTU != mtu {
		if err := t.links.LinkSetMTU(link, mtu); err != nil {
			return fmt.Errorf("MTU %d: %w", mtu, err)
		}
		t.log.Info("tunnel MTU changed", "interface", t.name, "mtu", mtu, "before", link.Attrs().MTU, "why", why)
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

// logChanges logs each peer that came up or went down since the last step.
func (t *Tunnel) logChanges(now time.Time, have *wgtypes.Device) {
	last := handshakes(have)
	maps.DeleteFunc(t.up, func(key PublicKey, _ bool) bool { _, there := last[key]; return !there })
	for key, handshake := range last {
		f := t.known[key]
		if f == nil {
			continue // not in the settings, and about to be removed
		}
		is := f.shaken.fresh(now, handshake)
		if was := t.up[key]; is == was {
			continue
		}
		t.up[key] = is
		if is {
			t.log.Info("tunnel peer is up", "interface", t.name, "peer", key)
		} else {
			t.log.Warn("tunnel peer is down", "interface", t.name, "peer", key, "last_handshake", handshake)
		}
	}
}
