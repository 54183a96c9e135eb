package bgp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

const (
	// A new IPv6 address is used once duplicate address detection is through, which
	// takes a second or two (RFC 4862 5.4).
	sourceTimeout = 5 * time.Second
	sourceEvery   = 100 * time.Millisecond
)

// awaitSource waits until the kernel has an address to dial an IPv6 peer from. As
// long as that of the peer's network is tentative, the kernel takes the link's own
// one, or ::1 where that is tentative too. No router answers such packets, and the
// dial would hang until its timeout.
func awaitSource(ctx context.Context, p Peer) error {
	if !p.Address.Is6() || p.Address.IsLinkLocalUnicast() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, sourceTimeout)
	defer cancel()
	tick := time.NewTicker(sourceEvery)
	defer tick.Stop()
	for {
		problem := source(p)
		if problem == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return problem
		case <-tick.C:
		}
	}
}

// source is nil if the peer can be dialled from an address of its scope. What else
// is wrong is the dial's to tell.
func source(p Peer) error {
	var d net.Dialer
	if p.LocalAddress.IsValid() {
		d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.LocalAddress, 0))
	}
	conn, err := d.Dial("udp", netip.AddrPortFrom(p.Address, p.Port).String()) // no packet leaves
	switch {
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("no address to dial %s from, or it is still being checked for duplicates: %w", p.Address, err)
	case err != nil:
		return nil
	}
	defer conn.Close()
	from := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
	if from.IsLinkLocalUnicast() || from.IsLoopback() && !p.Address.IsLoopback() {
		return fmt.Errorf("no address to dial %s from but %s, which is for its link or host alone", p.Address, from.WithZone(""))
	}
	return nil
}
