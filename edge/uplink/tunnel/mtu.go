package tunnel

import (
	"fmt"
	"net/netip"
)

// What WireGuard adds to a packet, in bytes: the outer IP header, UDP's 8, and its own header and
// authenticator of 32.
const (
	around4 = 20 + 8 + 32
	around6 = 40 + 8 + 32
)

// unknown is the MTU while no route to a peer is known: what fits an Ethernet for either outer
// family.
const unknown = 1500 - around6

// floor6 is the least MTU of a link that carries IPv6 (RFC 8200 5). Below it the kernel disables
// IPv6 on the device, and removes its addresses and routes; a packet that then does not fit the
// path is fragmented outside, which is slow but arrives.
const floor6 = 1280

// path is the path to one peer.
type path struct {
	to  netip.Addr
	mtu int // bytes, of the route or its device
}

// inner is the largest packet that fits the path once it is wrapped.
func (p path) inner() int {
	if p.to.Is4() {
		return p.mtu - around4
	}
	return p.mtu - around6
}

// floor is the least MTU that the settings allow.
func (s Settings) floor() int {
	if s.inside6() {
		return floor6
	}
	return smallest
}

// mtu derives the MTU of the device from the paths to its peers, and returns the reason for it. All
// peers share one device, so the narrowest path decides. last is what was derived before, which
// stays while no path is known, if these settings allow it; 0: nothing.
func (s Settings) mtu(paths []path, last int) (int, string) {
	if s.MTU != 0 {
		return s.MTU, "set"
	}
	if len(paths) == 0 {
		if last != 0 {
			return min(max(last, s.floor()), largest), "unchanged: no route to a peer is known"
		}
		return unknown, "default: no route to a peer is known"
	}
	narrow := paths[0]
	for _, p := range paths[1:] {
		if p.inner() < narrow.inner() {
			narrow = p
		}
	}
	mtu, why := narrow.inner(), fmt.Sprintf("the route to %s has an MTU of %d", narrow.to, narrow.mtu)
	switch floor := s.floor(); {
	case mtu < floor:
		return floor, fmt.Sprintf("%s, but the inner minimum is %d", why, floor)
	case mtu > largest:
		return largest, fmt.Sprintf("%s, and the inner maximum is %d", why, largest)
	}
	return mtu, why
}
