package tunnel

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// How often a host name is looked up while it has no address, or while the peer at its address does
// not answer.
const (
	lookupFirst = 5 * time.Second
	lookupLast  = time.Minute
	// chance is how long an address is used without a handshake before the next one of the same
	// name is: three of WireGuard's attempts, five seconds each.
	chance = 15 * time.Second
)

// peerEndpoint is what is known of a peer's address. Pure: time and answers are passed in.
type peerEndpoint struct {
	text    string       // the endpoint from the settings
	host    hostPort     // text, parsed; zero if text is ""
	answers []netip.Addr // the addresses of the name, or the address itself
	current netip.Addr   // the one that the device is configured with; zero: none yet
	since   time.Time    // when it was configured
	asked   time.Time    // when the name was last looked up; zero: never
	pause   time.Duration
	changed bool  // the settings replaced another endpoint with this one
	err     error // of the last lookup
	route   error // of the route to the peer
	shaken  handshake
	clock   string // what is wrong with the wall clock; "": nothing known
}

// newPeerEndpoint starts with an endpoint of checked settings.
func newPeerEndpoint(text string) *peerEndpoint {
	f := &peerEndpoint{text: text}
	if text == "" {
		return f
	}
	f.host, _ = parseEndpoint(text) // checked
	if f.host.name == "" {
		f.answers = []netip.Addr{f.host.addr}
	}
	return f
}

// due reports whether the name should be looked up.
func (f *peerEndpoint) due(now, handshake time.Time) bool {
	if fresh := f.shaken.fresh(now, handshake); f.host.name == "" || len(f.answers) > 0 && fresh {
		return false
	}
	return f.asked.IsZero() || now.Sub(f.asked) >= f.pause
}

// answer records the result of a lookup. After a failure the known addresses stay: they may still
// be right.
func (f *peerEndpoint) answer(now time.Time, addrs []netip.Addr, err error) {
	f.asked = now
	f.pause = min(max(lookupFirst, 2*f.pause), lookupLast)
	if err == nil && len(addrs) == 0 {
		err = fmt.Errorf("%s has no address", f.host.name)
	}
	f.err = err
	if err != nil {
		return
	}
	f.answers = f.answers[:0:0]
	for _, addr := range addrs {
		if addr = addr.Unmap(); addr.Zone() == "" && !slices.Contains(f.answers, addr) {
			f.answers = append(f.answers, addr)
		}
	}
}

// nextEndpoint returns the endpoint to configure on the device, if any. have is its current one,
// which may be one that the peer spoke from: WireGuard follows its peers, and a working endpoint is
// not changed.
func (f *peerEndpoint) nextEndpoint(now time.Time, have netip.AddrPort, handshake time.Time, keepalive time.Duration) (netip.AddrPort, bool) {
	fresh := f.shaken.fresh(now, handshake)
	if fresh {
		f.pause = 0
	}
	if len(f.answers) == 0 {
		return netip.AddrPort{}, false
	}
	works := have.IsValid() && fresh && !f.changed
	next := f.current
	switch {
	case !f.current.IsValid() && works: // taken over from the previous process
		f.current, f.since = have.Addr(), now
		return netip.AddrPort{}, false
	case !f.current.IsValid():
		next = f.answers[0]
	case !have.IsValid(): // a recreated device
	case works:
		return netip.AddrPort{}, false
	case !slices.Contains(f.answers, f.current): // the name's addresses changed
		next = f.answers[0]
	case keepalive > 0 && now.Sub(f.since) >= chance:
		next = f.answers[(slices.Index(f.answers, f.current)+1)%len(f.answers)]
	default:
		return netip.AddrPort{}, false
	}
	f.current, f.since, f.changed = next, now, false
	endpoint := netip.AddrPortFrom(next, f.host.port)
	return endpoint, endpoint != have
}
