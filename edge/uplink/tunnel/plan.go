package tunnel

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// plan is the configuration change that makes a device what is wanted: only the differences, so
// that a plan for a correct device is empty, and sessions with peers that stay survive a change.
// endpoints are those to set; an endpoint that is not in it is left as learnt from the peer.
func plan(have *wgtypes.Device, want Settings, endpoints map[PublicKey]netip.AddrPort) wgtypes.Config {
	var c wgtypes.Config
	if key := want.PrivateKey.clamped().wg(); have.PrivateKey != key {
		c.PrivateKey = &key
	}
	if want.ListenPort != 0 && have.ListenPort != want.ListenPort {
		c.ListenPort = &want.ListenPort
	}

	there := make(map[PublicKey]wgtypes.Peer, len(have.Peers))
	for _, h := range have.Peers {
		there[PublicKey(h.PublicKey)] = h
	}
	for _, w := range want.Peers {
		h, exists := there[w.PublicKey]
		delete(there, w.PublicKey)
		if p, differs := planPeer(h, exists, w, endpoints[w.PublicKey]); differs {
			c.Peers = append(c.Peers, p)
		}
	}
	// Removals come first: a network may move from a removed peer to one that stays.
	var gone []wgtypes.PeerConfig
	for key := range there {
		gone = append(gone, wgtypes.PeerConfig{PublicKey: wgtypes.Key(key), Remove: true, UpdateOnly: true})
	}
	slices.SortFunc(gone, func(a, b wgtypes.PeerConfig) int { return slices.Compare(a.PublicKey[:], b.PublicKey[:]) })
	c.Peers = append(gone, c.Peers...)
	return c
}

// planPeer is plan for one peer.
func planPeer(have wgtypes.Peer, exists bool, want Peer, endpoint netip.AddrPort) (wgtypes.PeerConfig, bool) {
	p := wgtypes.PeerConfig{PublicKey: wgtypes.Key(want.PublicKey), UpdateOnly: exists}
	differs := !exists
	if have.PresharedKey != want.Preshared.wg() {
		key := want.Preshared.wg()
		p.PresharedKey, differs = &key, true
	}
	if have.PersistentKeepaliveInterval != want.Keepalive {
		keepalive := want.Keepalive
		p.PersistentKeepaliveInterval, differs = &keepalive, true
	}
	if endpoint.IsValid() && endpoint != endpointOf(have) {
		p.Endpoint, differs = net.UDPAddrFromAddrPort(endpoint), true
	}
	if networks := networks(want.AllowedIPs); !slices.Equal(networks, networksOf(have)) {
		p.ReplaceAllowedIPs, differs = true, true
		for _, n := range networks {
			p.AllowedIPs = append(p.AllowedIPs, net.IPNet{IP: n.Addr().AsSlice(), Mask: net.CIDRMask(n.Bits(), n.Addr().BitLen())})
		}
	}
	return p, differs
}

// empty reports whether a plan changes nothing.
func empty(c wgtypes.Config) bool {
	return c.PrivateKey == nil && c.ListenPort == nil && len(c.Peers) == 0
}

// changes names what a plan does, for the log; it contains no secret.
func changes(c wgtypes.Config) string {
	var said []string
	if c.PrivateKey != nil {
		said = append(said, "private key")
	}
	if c.ListenPort != nil {
		said = append(said, "listen port")
	}
	for _, p := range c.Peers {
		verb := "peer "
		switch {
		case p.Remove:
			verb = "removed peer "
		case !p.UpdateOnly:
			verb = "new peer "
		}
		said = append(said, verb+p.PublicKey.String())
	}
	return strings.Join(said, ", ")
}

// networks normalizes allowed networks as a device does: without host bits, unique, sorted.
func networks(of []netip.Prefix) []netip.Prefix {
	masked := make([]netip.Prefix, len(of))
	for i, n := range of {
		masked[i] = n.Masked()
	}
	slices.SortFunc(masked, netip.Prefix.Compare)
	return slices.Compact(masked)
}

// networksOf returns the allowed networks of a device's peer.
func networksOf(p wgtypes.Peer) []netip.Prefix {
	found := make([]netip.Prefix, 0, len(p.AllowedIPs))
	for _, n := range p.AllowedIPs {
		addr, ok := netip.AddrFromSlice(n.IP)
		bits, _ := n.Mask.Size()
		if ok {
			found = append(found, netip.PrefixFrom(addr.Unmap(), bits))
		}
	}
	return networks(found)
}

// endpointOf returns where a device sends packets for a peer; zero: unknown.
func endpointOf(p wgtypes.Peer) netip.AddrPort {
	if p.Endpoint == nil {
		return netip.AddrPort{}
	}
	e := p.Endpoint.AddrPort()
	return netip.AddrPortFrom(e.Addr().Unmap(), e.Port())
}

// handshakes returns the last ones of all peers.
func handshakes(have *wgtypes.Device) map[PublicKey]time.Time {
	last := make(map[PublicKey]time.Time, len(have.Peers))
	for _, p := range have.Peers {
		last[PublicKey(p.PublicKey)] = p.LastHandshakeTime
	}
	return last
}
