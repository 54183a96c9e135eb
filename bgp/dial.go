package bgp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	dialTimeout = 10 * time.Second
	// networkControl is the traffic class of routing protocols, CS6
	// (RFC 4594 3.2), as it stands in the IP header.
	networkControl = 0xc0
	// ipv6MinHopCount is what x/sys has no name for (linux/in6.h).
	ipv6MinHopCount = 73
)

// dial connects to a peer of a speaker in the autonomous system asn, with the
// socket options that the peer asks for set before the first packet leaves.
func dial(ctx context.Context, asn uint32, p Peer) (net.Conn, error) {
	from, err := awaitSource(ctx, p)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{
		LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)),
		Timeout:   dialTimeout,
		KeepAlive: -1, // BGP has keepalives of its own
		ControlContext: func(_ context.Context, _, _ string, raw syscall.RawConn) error {
			var failed error
			if err := raw.Control(func(fd uintptr) { failed = equip(int(fd), asn, p) }); err != nil {
				return err
			}
			return failed
		},
	}
	d.SetMultipathTCP(false) // TCP MD5 and MPTCP exclude each other
	return d.DialContext(ctx, "tcp", netip.AddrPortFrom(p.Address, p.Port).String())
}

// equip sets a socket's options: TCP MD5, the traffic class, the TTL, and the
// lowest TTL to accept.
func equip(fd int, asn uint32, p Peer) error {
	if p.Password != "" {
		key := md5Key(p.Address, p.Password)
		if err := unix.SetsockoptTCPMD5Sig(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG, key); err != nil {
			return fmt.Errorf("TCP MD5: %w", os.NewSyscallError("setsockopt", err))
		}
	}
	level, class, ttl, least := unix.IPPROTO_IP, unix.IP_TOS, unix.IP_TTL, unix.IP_MINTTL
	if p.Address.Is6() {
		level, class, ttl, least = unix.IPPROTO_IPV6, unix.IPV6_TCLASS, unix.IPV6_UNICAST_HOPS, ipv6MinHopCount
	}
	if err := unix.SetsockoptInt(fd, level, class, networkControl); err != nil {
		return fmt.Errorf("traffic class: %w", os.NewSyscallError("setsockopt", err))
	}
	send, accept := hops(asn, p)
	if send > 0 {
		if err := unix.SetsockoptInt(fd, level, ttl, send); err != nil {
			return fmt.Errorf("TTL %d: %w", send, os.NewSyscallError("setsockopt", err))
		}
	}
	if accept > 0 {
		if err := unix.SetsockoptInt(fd, level, least, accept); err != nil {
			return fmt.Errorf("TTL security: %w", os.NewSyscallError("setsockopt", err))
		}
	}
	return nil
}

// hops is the TTL to send with and the least one to accept. 0 leaves it to the
// kernel.
func hops(asn uint32, p Peer) (send, accept int) {
	switch {
	case p.TTLSecurity: // RFC 5082 3
		return 255, 256 - int(p.Multihop)
	case p.ASN != asn:
		return int(p.Multihop), 0
	}
	return 0, 0
}

// md5Key is the kernel's form of a TCP MD5 password for one address.
func md5Key(address netip.Addr, password Password) *unix.TCPMD5Sig {
	key := &unix.TCPMD5Sig{Keylen: uint16(len(password))}
	copy(key.Key[:], password)
	if address.Is4() {
		key.Addr.Family = unix.AF_INET
		copy(key.Addr.Data[2:], address.AsSlice()) // behind the port of sockaddr_in
	} else {
		key.Addr.Family = unix.AF_INET6
		copy(key.Addr.Data[6:], address.AsSlice()) // behind port and flow of sockaddr_in6
	}
	return key
}
