package bgp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// A machine that boots has its addresses within a few seconds: a new IPv6 one is
	// used once duplicate address detection is through (RFC 4862 5.4).
	sourceTimeout = 5 * time.Second
	sourceEvery   = 100 * time.Millisecond
)

// awaitSource waits until there is an address to dial a peer from, and returns it:
// the peer's LocalAddress, or the one that the kernel chooses. As long as that of the
// peer's network is checked for duplicates, the kernel would take whatever is there:
// a service address, the link's own one, ::1. No router answers those, and the dial
// would hang until its timeout. So the dial has to be from this address and no other.
func awaitSource(ctx context.Context, p Peer) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, sourceTimeout)
	defer cancel()
	tick := time.NewTicker(sourceEvery)
	defer tick.Stop()
	for {
		from, err := source(p)
		if err == nil {
			return from, nil
		}
		select {
		case <-ctx.Done():
			return netip.Addr{}, err
		case <-tick.C:
		}
	}
}

// source is the address to dial a peer from. No packet leaves.
func source(p Peer) (netip.Addr, error) {
	var d net.Dialer
	if p.LocalAddress.IsValid() {
		d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.LocalAddress, 0))
	}
	conn, err := d.Dial("udp", netip.AddrPortFrom(p.Address, p.Port).String())
	if err != nil {
		return netip.Addr{}, fmt.Errorf("no address to dial from: %w", err)
	}
	defer conn.Close()
	from := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	if from == p.LocalAddress {
		return from, nil
	}
	if from.IsLoopback() && !p.Address.IsLoopback() || from.IsLinkLocalUnicast() && !p.Address.IsLinkLocalUnicast() {
		return netip.Addr{}, fmt.Errorf("no address to dial %s from but %s, which is for its link or host alone", p.Address, from.WithZone(""))
	}
	if deprecated(from) {
		return netip.Addr{}, fmt.Errorf("no address to dial %s from but %s, which is deprecated, as service addresses are", p.Address, from)
	}
	return from, nil
}

// deprecated says whether a is an address of this host that nothing new should come
// from (RFC 4862 5.5.4). Where the kernel does not tell, it is taken for a good one.
func deprecated(a netip.Addr) bool {
	if !a.Is6() {
		return false
	}
	list, _ := netlink.AddrList(nil, netlink.FAMILY_V6)
	return slices.ContainsFunc(list, func(have netlink.Addr) bool {
		ip, ok := netip.AddrFromSlice(have.IP)
		return ok && ip == a.WithZone("") && have.Flags&unix.IFA_F_DEPRECATED != 0
	})
}
