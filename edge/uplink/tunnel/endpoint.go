package tunnel

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// How often a host name is looked up while it has no address, or while the
// peer at its address does not answer.
const (
	lookupFirst = 5 * time.Second
	lookupLast  = time.Minute
	// chance is how long an address has to prove itself before the next one of
	// the same name is tried: three tries of WireGuard's five seconds.
	chance = 15 * time.Second
)

// far is what is known of the place where a peer is said to be. Pure: time and
// answers come in.
type far struct {
	text    string       // the endpoint of the settings
	place   place        // text, taken apart; zero if text is ""
	answers []netip.Addr // what the name stands for, or the address itself
	told    netip.Addr   // which of them the device has; zero: none yet
	since   time.Time    // when it was told
	asked   time.Time    // when the name was last looked up; zero: never
	pause   time.Duration
	changed bool  // the settings put this in the place of another one
	err     error // of the last look-up
	route   error // of the route to the peer
	shaken  handshake
	clock   string // what is wrong with the wall clock; "": nothing is known to be
}

// newFar begins with an endpoint of checked settings.
func newFar(text string) *far {
	f := &far{text: text}
	if text == "" {
		return f
	}
	f.place, _ = parseEndpoint(text) // checked
	if f.place.name == "" {
		f.answers = []netip.Addr{f.place.addr}
	}
	return f
}

// due says whether the name is to be looked up.
func (f *far) due(now, handshake time.Time) bool {
	if fresh := f.shaken.fresh(now, handshake); f.place.name == "" || len(f.answers) > 0 && fresh {
		return false
	}
	return f.asked.IsZero() || now.Sub(f.asked) >= f.pause
}

// answer takes what a look-up brought. A failure keeps the addresses that were
// known: they may still be right.
func (f *far) answer(now time.Time, addrs []netip.Addr, err error) {
	f.asked = now
	f.pause = min(max(lookupFirst, 2*f.pause), lookupLast)
	if err == nil && len(addrs) == 0 {
		err = fmt.Errorf("%s has no address", f.place.name)
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

// tell says which endpoint the device is to be told, if any. have is the one
// that it has, which may be one that the peer spoke from: WireGuard follows its
// peers, and what works is not touched.
func (f *far) tell(now time.Time, have netip.AddrPort, handshake time.Time, keepalive time.Duration) (netip.AddrPort, bool) {
	fresh := f.shaken.fresh(now, handshake)
	if fresh {
		f.pause = 0
	}
	if len(f.answers) == 0 {
		return netip.AddrPort{}, false
	}
	works := have.IsValid() && fresh && !f.changed
	next := f.told
	switch {
	case !f.told.IsValid() && works: // taken over from who ran before
		f.told, f.since = have.Addr(), now
		return netip.AddrPort{}, false
	case !f.told.IsValid():
		next = f.answers[0]
	case !have.IsValid(): // a device that was made anew
	case works:
		return netip.AddrPort{}, false
	case !slices.Contains(f.answers, f.told): // the name moved
		next = f.answers[0]
	case keepalive > 0 && now.Sub(f.since) >= chance:
		next = f.answers[(slices.Index(f.answers, f.told)+1)%len(f.answers)]
	default:
		return netip.AddrPort{}, false
	}
	f.told, f.since, f.changed = next, now, false
	endpoint := netip.AddrPortFrom(next, f.place.port)
	return endpoint, endpoint != have
}
