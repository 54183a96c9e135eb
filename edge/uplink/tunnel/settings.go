package tunnel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// The limits of a device's settings.
const (
	smallest = 576   // bytes: what each host must accept (RFC 791 3.1)
	largest  = 65455 // bytes: 65535 less the headers of the largest outer packet
	longest  = 65535 * time.Second
)

// Settings is what a tunnel should be. What is not in it is removed: a peer that is not named, an
// allowed network that is not listed.
type Settings struct {
	// Addresses are this node's in the tunnel. Package plumb puts them on the device; here they
	// show whether IPv6 is used inside.
	Addresses []netip.Prefix
	// ListenPort is the UDP port that peers send to, 0 to 65535; 0: any free one, or the device's
	// current one.
	ListenPort int
	// PrivateKey is this node's. Never zero.
	PrivateKey Key
	// MTU is the largest packet inside, in bytes, 576 to 65455, and at least 1280 with IPv6. 0:
	// derived from the routes to the peers.
	MTU int
	// Peers are the remote ends.
	Peers []Peer
}

// Peer is one remote end.
type Peer struct {
	PublicKey PublicKey
	// Preshared is a second, symmetric key; zero: none.
	Preshared Key
	// Endpoint is the peer's host:port, an IP address or a host name. "": the peer speaks first,
	// and its endpoint is learnt.
	Endpoint string
	// AllowedIPs are the networks behind the peer: what is sent to it and what is accepted from it.
	AllowedIPs []netip.Prefix
	// Keepalive is how often an otherwise silent tunnel sends a packet, in whole seconds, at most
	// 65535 of them. 0: never; then a peer to which nothing is sent is not up, although nothing is
	// wrong.
	Keepalive time.Duration
}

// check reports every setting that a device would refuse.
func (s Settings) check() error {
	var wrong []error
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }

	if s.PrivateKey.IsZero() {
		bad("the private key is missing")
	}
	if s.ListenPort < 0 || s.ListenPort > 65535 {
		bad("listen port %d is not within 0 to 65535", s.ListenPort)
	}
	if s.MTU != 0 && (s.MTU < s.floor() || s.MTU > largest) {
		bad("an MTU of %d is not within %d to %d", s.MTU, s.floor(), largest)
	}
	owner := map[netip.Prefix]PublicKey{}
	seen := map[PublicKey]bool{}
	for _, p := range s.Peers {
		switch {
		case p.PublicKey == PublicKey{}:
			bad("a peer has no public key")
		case seen[p.PublicKey]:
			bad("peer %s is listed twice", p.PublicKey)
		case p.PublicKey == s.PrivateKey.PublicKey():
			bad("peer %s is this node itself", p.PublicKey)
		}
		seen[p.PublicKey] = true
		if p.Keepalive < 0 || p.Keepalive > longest || p.Keepalive%time.Second != 0 {
			bad("peer %s: keepalive %s is not a whole number of seconds up to 65535", p.PublicKey, p.Keepalive)
		}
		if p.Endpoint != "" {
			if _, err := parseEndpoint(p.Endpoint); err != nil {
				bad("peer %s: %w", p.PublicKey, err)
			}
		}
		for _, network := range p.AllowedIPs {
			if !network.IsValid() || network.Addr().Is4In6() {
				bad("peer %s: %v is not a network", p.PublicKey, network)
				continue
			}
			if other, taken := owner[network.Masked()]; taken && other != p.PublicKey {
				bad("%s is behind two peers, %s and %s", network.Masked(), other, p.PublicKey)
			}
			owner[network.Masked()] = p.PublicKey
		}
	}
	return errors.Join(wrong...)
}

// inside6 reports whether IPv6 is used inside the tunnel.
func (s Settings) inside6() bool {
	six := func(p netip.Prefix) bool { return p.Addr().Is6() }
	return slices.ContainsFunc(s.Addresses, six) ||
		slices.ContainsFunc(s.Peers, func(p Peer) bool { return slices.ContainsFunc(p.AllowedIPs, six) })
}

// hostPort is where a peer is configured to be: an address or a name.
type hostPort struct {
	name string     // "": use addr
	addr netip.Addr // zero: resolve name
	port uint16
}

// parseEndpoint reads host:port.
func parseEndpoint(text string) (hostPort, error) {
	host, service, err := net.SplitHostPort(text)
	if err != nil {
		return hostPort{}, fmt.Errorf("endpoint %q is not host:port", text)
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil || port == 0 {
		return hostPort{}, fmt.Errorf("endpoint %q: the port is not within 1 to 65535", text)
	}
	addr, err := netip.ParseAddr(host)
	switch {
	case err != nil && host == "":
		return hostPort{}, fmt.Errorf("endpoint %q has no host", text)
	case err != nil:
		return hostPort{name: host, port: uint16(port)}, nil
	case addr.Zone() != "":
		return hostPort{}, fmt.Errorf("endpoint %q: a link-local address with a zone is not supported", text)
	}
	return hostPort{addr: addr.Unmap(), port: uint16(port)}, nil
}
