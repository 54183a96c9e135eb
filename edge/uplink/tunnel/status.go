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

// alive is how old a handshake may be. The keys that it made are refused by
// both sides after this time, so a peer that is spoken to has made others.
const alive = device.RejectAfterTime

// Status is a tunnel at one moment.
type Status struct {
	Interface string
	// Implementation is "kernel" or "userspace"; Why is how it was chosen.
	Implementation string
	Why            string
	PublicKey      PublicKey // this node's own; zero before the first Apply
	ListenPort     int       // UDP; 0: none is open
	MTU            int       // octets; MTUWhy is where it comes from
	MTUWhy         string
	Peers          []PeerStatus // in the order of the settings
	// Up says that each peer that is spoken to, which is one with an endpoint
	// or a keepalive, is up. False without such a peer that is up.
	Up bool
	// Problem is what is wrong, of the tunnel and of all peers; "": nothing.
	Problem string
}

// PeerStatus is one far end at one moment.
type PeerStatus struct {
	PublicKey     PublicKey
	Endpoint      netip.AddrPort // zero: not known yet
	AllowedIPs    []netip.Prefix
	LastHandshake time.Time // zero: none since the device was made
	Received      int64     // octets, with WireGuard's own, since the device was made
	Sent          int64     // octets
	// Up says that the last handshake is at most three minutes old.
	Up bool
	// Problem is what is wrong; "": nothing.
	Problem string
}

// report puts a status together: what the device says, what was asked for, what
// is known of each peer, and what is wrong with the whole.
func report(now time.Time, have *wgtypes.Device, want Settings, known map[PublicKey]*far, wrong error) Status {
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
		far := PeerStatus{PublicKey: p.PublicKey, AllowedIPs: p.AllowedIPs}
		if i := slices.IndexFunc(have.Peers, func(h wgtypes.Peer) bool { return PublicKey(h.PublicKey) == p.PublicKey }); i >= 0 {
			h := have.Peers[i]
			far.Endpoint, far.LastHandshake = endpointOf(h), h.LastHandshakeTime
			far.Received, far.Sent = h.ReceiveBytes, h.TransmitBytes
			shaken := &handshake{}
			if f := known[p.PublicKey]; f != nil {
				shaken = &f.shaken
			}
			far.Up = shaken.fresh(now, h.LastHandshakeTime)
			far.LastHandshake = shaken.shown(now)
		}
		far.Problem = complaint(now, p, far, known[p.PublicKey])
		if p.Endpoint != "" || p.Keepalive > 0 {
			spoken++
			if !far.Up {
				down++
			}
		}
		if far.Problem != "" {
			problems = append(problems, fmt.Sprintf("peer %s: %s", p.PublicKey, far.Problem))
		}
		s.Peers = append(s.Peers, far)
	}
	s.Up = spoken > 0 && down == 0
	s.Problem = strings.Join(problems, "; ")
	return s
}

// complaint says what is wrong with a peer, in the words of who has to mend it.
func complaint(now time.Time, want Peer, have PeerStatus, known *far) (problem string) {
	var said []string
	defer func() {
		if known != nil && known.clock != "" && strings.Contains(problem, "no handshake") {
			problem += "; the clock may be why: " + known.clock
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
		said = append(said, "its endpoint is not known: it has not spoken yet")
	case !have.Endpoint.IsValid():
	case have.LastHandshake.IsZero() && have.Received == 0:
		said = append(said, fmt.Sprintf("no handshake: nothing that can be believed came from %s (wrong key, wrong endpoint, a firewall, or a clock of this node that was ahead once: the peer refuses handshakes until that time)", have.Endpoint))
	case have.LastHandshake.IsZero():
		said = append(said, fmt.Sprintf("no handshake: %s answers, but not as this peer does (wrong key or preshared key)", have.Endpoint))
	case want.Keepalive > 0:
		said = append(said, fmt.Sprintf("no handshake for %s", now.Sub(have.LastHandshake).Round(time.Second)))
	}
	return strings.Join(said, "; ")
}

// oneLine is an error that may join several.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
