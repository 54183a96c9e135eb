package tunnel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// alive is how old a handshake may be. Both sides refuse its keys after this time, so a peer with
// traffic has made newer ones.
const alive = device.RejectAfterTime

// Status is a tunnel at one moment.
type Status struct {
	Interface string
	// Implementation is "kernel" or "userspace"; Why is how it was chosen.
	Implementation string
	Why            string
	PublicKey      PublicKey // this node's own; zero before the first Apply
	ListenPort     int       // UDP; 0: none is open
	MTU            int       // bytes; MTUWhy is the reason for it
	MTUWhy         string
	Peers          []PeerStatus // in the order of the settings
	// Up means that each peer with an endpoint or a keepalive is up. It is false without such a
	// peer.
	Up bool
	// Problem is what is wrong with the tunnel and all peers; "": nothing.
	Problem string
}

// PeerStatus is one remote end at one moment.
type PeerStatus struct {
	PublicKey     PublicKey
	Endpoint      netip.AddrPort // zero: not known yet
	AllowedIPs    []netip.Prefix
	LastHandshake time.Time // zero: none since the device was made
	Received      int64     // bytes, with WireGuard's own, since the device was made
	Sent          int64     // bytes
	// Up means that the last handshake is at most three minutes old.
	Up bool
	// Problem is what is wrong; "": nothing.
	Problem string
}

// report combines a status from the device's state, the settings, what is known of each peer, and
// what is wrong with the whole.
func report(now time.Time, have *wgtypes.Device, want Settings, known map[PublicKey]*peerEndpoint, wrong error) Status {
	s := Status{ListenPort: have.ListenPort, Peers: make([]PeerStatus, 0, len(want.Peers))}
	if have.PrivateKey != (wgtypes.Key{}) {
		s.PublicKey = PublicKey(have.PublicKey)
	}
	var problems []string
	if wrong != nil {
		problems = append(problems, oneLine(wrong))
	}
	spoken, down := 0, 0
	for _, p := range want.Peers {
		peer := PeerStatus{PublicKey: p.PublicKey, AllowedIPs: p.AllowedIPs}
		if i := slices.IndexFunc(have.Peers, func(h wgtypes.Peer) bool { return PublicKey(h.PublicKey) == p.PublicKey }); i >= 0 {
			h := have.Peers[i]
			peer.Endpoint, peer.LastHandshake = endpointOf(h), h.LastHandshakeTime
			peer.Received, peer.Sent = h.ReceiveBytes, h.TransmitBytes
			shaken := &handshake{}
			if f := known[p.PublicKey]; f != nil {
				shaken = &f.shaken
			}
			peer.Up = shaken.fresh(now, h.LastHandshakeTime)
			peer.LastHandshake = shaken.shown(now)
		}
		peer.Problem = complaint(now, p, peer, known[p.PublicKey])
		if p.Endpoint != "" || p.Keepalive > 0 {
			spoken++
			if !peer.Up {
				down++
			}
		}
		if peer.Problem != "" {
			problems = append(problems, fmt.Sprintf("peer %s: %s", p.PublicKey, peer.Problem))
		}
		s.Peers = append(s.Peers, peer)
	}
	s.Up = spoken > 0 && down == 0
	s.Problem = strings.Join(problems, "; ")
	return s
}

// complaint describes what is wrong with a peer and what to check.
func complaint(now time.Time, want Peer, have PeerStatus, known *peerEndpoint) (problem string) {
	var said []string
	defer func() {
		if known != nil && known.clock != "" && strings.Contains(problem, "no handshake") {
			problem += "; the clock may be the cause: " + known.clock
		}
	}()
	if known != nil {
		if err := errors.Join(known.err, known.route); err != nil {
			said = append(said, oneLine(err))
		}
	}
	switch {
	case have.Up || want.Endpoint == "" && want.Keepalive == 0:
	case !have.Endpoint.IsValid() && want.Endpoint == "":
		said = append(said, "its endpoint is unknown: it has not sent anything yet")
	case !have.Endpoint.IsValid():
	case have.LastHandshake.IsZero() && have.Received == 0:
		said = append(said, fmt.Sprintf("no handshake: no valid packet from %s (wrong key, wrong endpoint, a firewall, or this node's clock was ahead earlier: the peer refuses handshakes until that time)", have.Endpoint))
	case have.LastHandshake.IsZero():
		said = append(said, fmt.Sprintf("no handshake: %s answers, but not with this peer's keys (wrong key or preshared key)", have.Endpoint))
	case want.Keepalive > 0:
		said = append(said, fmt.Sprintf("no handshake for %s", now.Sub(have.LastHandshake).Round(time.Second)))
	}
	return strings.Join(said, "; ")
}

// oneLine formats an error that may join several.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
