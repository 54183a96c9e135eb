package tunnel

import (
	"fmt"
	"net/netip"
)

// What WireGuard puts around a packet, in octets: the outer IP header, UDP's 8,
// and its own header and authenticator of 32.
const (
	around4 = 20 + 8 + 32
	around6 = 40 + 8 + 32
)

// unknown is the MTU while no route to a peer is known: what fits an Ethernet
// whatever the outer family.
const unknown = 1500 - around6

// floor6 is the least MTU of a link that carries IPv6 (RFC 8200 5). Below it the
// kernel takes IPv6 off the device, addresses and routes with it; a packet that
// then does not fit the way is fragmented outside, which is slow but arrives.
const floor6 = 1280

// path is the way to one peer.
type path struct {
	to  netip.Addr
	mtu int // octets, of the route or its device
}

// inner is the largest packet that fits the way once it is wrapped.
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

// mtu derives the MTU of the device from the ways to its peers, and says where
// it comes from. All peers share one device, so the narrowest way decides. last
// is what was derived before, which stays while no way is known, if these settings
// allow it; 0: nothing.
func (s Settings) mtu(paths []path, last int) (int, string) {
	if s.MTU != 0 {
		return s.MTU, "set"
	}
	if len(paths) == 0 {
		if last != 0 {
			return min(max(last, s.floor()), largest), "kept: no route to a peer is known"
		}
		return unknown, "assumed: no route to a peer is known"
	}
	narrow := paths[0]
	for _, p := range paths[1:] {
		if p.inner() < narrow.inner() {
			narrow = p
		}
	}
	mtu, why := narrow.inner(), fmt.Sprintf("the route to %s takes %d", narrow.to, narrow.mtu)
	switch floor := s.floor(); {
	case mtu < floor:
		return floor, fmt.Sprintf("%s, but %d is the least inside", why, floor)
	case mtu > largest:
		return largest, fmt.Sprintf("%s, and %d is the most inside", why, largest)
	}
	return mtu, why
}
