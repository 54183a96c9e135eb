package bgp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

const (
	defaultPort         = 179
	defaultHoldTime     = 9 * time.Second
	defaultConnectRetry = 5 * time.Second

	shortestHold = 3 * time.Second     // RFC 4271 4.2
	longestHold  = 65535 * time.Second // 16 bits of seconds

	// maxPrepend and maxCommunities keep the attributes of a path well below
	// the 4,096 octets of a message.
	maxPrepend     = 32
	maxCommunities = 64
	maxPassword    = 80 // TCP_MD5SIG_MAXKEYLEN
)

// Family is an address family; what is exchanged is always its unicast routes.
// The numbers are those of RFC 4760.
type Family uint16

// The two families.
const (
	IPv4 Family = 1
	IPv6 Family = 2
)

func (f Family) String() string {
	switch f {
	case IPv4:
		return "ipv4"
	case IPv6:
		return "ipv6"
	}
	return fmt.Sprintf("family %d", uint16(f))
}

// MarshalText is the family's name.
func (f Family) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

func familyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// Peer is a router to announce to. Its Address is its name: a list of peers
// has each address once. Anything but Export needs a new session when it
// changes.
type Peer struct {
	// Address is the router's address. No default; link-local ones are refused.
	Address netip.Addr
	// Port is the router's TCP port. 0 means 179.
	Port uint16
	// ASN is the router's autonomous system. The speaker's own makes this an
	// iBGP session. No default.
	ASN uint32
	// LocalAddress is the address to dial from. The zero Addr leaves the choice
	// to the kernel. It is also the next hop, unless Export names one.
	LocalAddress netip.Addr
	// Families are offered to the router; it is told the routes of those that
	// it wants too. Nil means the family of Address.
	Families []Family
	// HoldTime is how long the router believes in a silent node, in whole
	// seconds from 3s to 65535s; the smaller one of both sides counts. 0 means
	// 9s. It bounds how long a node that lost its power draws traffic.
	HoldTime time.Duration
	// ConnectRetry is the longest pause before the router is dialled again; a
	// random quarter is taken off. 0 means 5s.
	ConnectRetry time.Duration
	// Password turns TCP MD5 on. Empty: off.
	Password Password
	// TTLSecurity demands packets that came from at most Multihop hops away
	// (GTSM, RFC 5082), and sends with TTL 255. Both sides must agree on it.
	TTLSecurity bool
	// Multihop is how many hops away an eBGP router may be. 0 means 1: it is
	// directly connected. An iBGP router may be any number of hops away.
	Multihop uint8
	// Export is what this router is told beyond the routes themselves. A change
	// is announced within the session.
	Export Export
}

// Export is what is added to each route on its way to one peer.
type Export struct {
	// NextHop4 and NextHop6 are the next hops of IPv4 and IPv6 routes. The zero
	// Addr means the session's own local address, which must then be of that
	// family.
	NextHop4, NextHop6 netip.Addr
	// MED is the MULTI_EXIT_DISC (RFC 4271 5.1.4), less is better. Nil sends
	// none.
	MED *uint32
	// Prepend is how many times the own ASN stands in the AS path beyond the
	// one time that it must, to make the path less attractive; at most 32. An
	// iBGP peer takes none.
	Prepend uint8
	// Communities and LargeCommunities are put on each route, beside those of
	// the route; at most 64 of each.
	Communities      []Community
	LargeCommunities []LargeCommunity
}

// Route is a prefix to announce, the same to all peers.
type Route struct {
	// Prefix has no host bits set. A list of routes has each once.
	Prefix netip.Prefix
	// Communities and LargeCommunities are put on the route towards each peer;
	// at most 64 of each. With GracefulShutdown among them, iBGP peers get the
	// route with a LOCAL_PREF of 0 (RFC 8326).
	Communities      []Community
	LargeCommunities []LargeCommunity
}

// normal is the peer with its defaults filled in, and no memory shared with
// the caller's.
func (p Peer) normal() Peer {
	p.Address = p.Address.Unmap()
	p.LocalAddress = p.LocalAddress.Unmap()
	if p.Port == 0 {
		p.Port = defaultPort
	}
	if p.HoldTime == 0 {
		p.HoldTime = defaultHoldTime
	}
	if p.ConnectRetry == 0 {
		p.ConnectRetry = defaultConnectRetry
	}
	if p.Families == nil && p.Address.IsValid() {
		p.Families = []Family{familyOf(p.Address)}
	}
	p.Families = slices.Clone(p.Families)
	slices.Sort(p.Families)
	if p.Multihop == 0 {
		p.Multihop = 1
	}
	p.Export = p.Export.normal()
	return p
}

func (e Export) normal() Export {
	e.NextHop4 = e.NextHop4.Unmap()
	if e.MED != nil {
		med := *e.MED
		e.MED = &med
	}
	e.Communities = union(e.Communities, nil)
	e.LargeCommunities = unionLarge(e.LargeCommunities, nil)
	return e
}

// check finds what is wrong with a normal peer of a speaker in the autonomous
// system asn.
func (p Peer) check(asn uint32) (errs []error) {
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if !hostAddress(p.Address) {
		wrong("%s cannot be a router's address", p.Address)
	}
	if err := checkASN(p.ASN); err != nil {
		wrong("%w", err)
	}
	if p.LocalAddress.IsValid() && (!hostAddress(p.LocalAddress) || p.LocalAddress.Is4() != p.Address.Is4()) {
		wrong("cannot dial it from %s", p.LocalAddress)
	}
	if p.HoldTime < shortestHold || p.HoldTime > longestHold || p.HoldTime%time.Second != 0 {
		wrong("hold time %s: must be whole seconds, from %s to %s", p.HoldTime, shortestHold, longestHold)
	}
	if p.ConnectRetry < 0 {
		wrong("connect retry %s: must not be negative", p.ConnectRetry)
	}
	if len(p.Password) > maxPassword {
		wrong("the password has %d octets, TCP MD5 takes %d", len(p.Password), maxPassword)
	}
	if len(p.Families) == 0 {
		wrong("no address family")
	}
	for i, f := range p.Families {
		if f != IPv4 && f != IPv6 || i > 0 && f == p.Families[i-1] {
			wrong("%s is unknown or stands twice", f)
		}
	}
	if p.ASN == asn && p.Export.Prepend > 0 {
		wrong("prepending makes an iBGP router take the path for a loop")
	}
	return append(errs, p.Export.check(p)...)
}

func (e Export) check(p Peer) (errs []error) {
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if e.NextHop4.IsValid() && (!hostAddress(e.NextHop4) || !e.NextHop4.Is4()) {
		wrong("%s cannot be an IPv4 next hop", e.NextHop4)
	}
	if e.NextHop6.IsValid() && (!hostAddress(e.NextHop6) || !e.NextHop6.Is6() || e.NextHop6.Is4In6()) {
		wrong("%s cannot be an IPv6 next hop", e.NextHop6)
	}
	if slices.Contains(p.Families, IPv4) && !e.NextHop4.IsValid() && p.Address.Is6() {
		wrong("IPv4 routes over an IPv6 session need an IPv4 next hop")
	}
	if slices.Contains(p.Families, IPv6) && !e.NextHop6.IsValid() && p.Address.Is4() {
		wrong("IPv6 routes over an IPv4 session need an IPv6 next hop")
	}
	if e.Prepend > maxPrepend {
		wrong("prepending %d times: at most %d", e.Prepend, maxPrepend)
	}
	if err := checkCommunities(e.Communities, e.LargeCommunities); err != nil {
		errs = append(errs, err)
	}
	return errs
}

// Check says what SetPeers and SetRoutes of a speaker in the autonomous system
// asn would refuse, all of it in one error, for a caller that has to change both
// or none.
func Check(asn uint32, peers []Peer, routes []Route) error {
	_, bad := normalPeers(asn, peers)
	_, worse := normalRoutes(routes)
	return errors.Join(bad, worse)
}

// normalPeers checks a whole list and puts it in the order of addresses. It
// names everything that is wrong.
func normalPeers(asn uint32, peers []Peer) ([]Peer, error) {
	var errs []error
	list := make([]Peer, 0, len(peers))
	seen := map[netip.Addr]bool{}
	for _, p := range peers {
		p = p.normal()
		for _, err := range p.check(asn) {
			errs = append(errs, fmt.Errorf("peer %s: %w", p.Address, err))
		}
		if seen[p.Address] {
			errs = append(errs, fmt.Errorf("peer %s stands twice", p.Address))
		}
		seen[p.Address] = true
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b Peer) int { return a.Address.Compare(b.Address) })
	return list, errors.Join(errs...)
}

// normalRoutes checks a whole list and puts it in the order of prefixes. It
// names everything that is wrong.
func normalRoutes(routes []Route) ([]Route, error) {
	var errs []error
	list := make([]Route, 0, len(routes))
	seen := map[netip.Prefix]bool{}
	for _, r := range routes {
		switch {
		case !r.Prefix.IsValid() || r.Prefix.Addr().Is4In6() || r.Prefix.Addr().IsMulticast():
			errs = append(errs, fmt.Errorf("route %s: not a unicast prefix", r.Prefix))
		case r.Prefix != r.Prefix.Masked():
			errs = append(errs, fmt.Errorf("route %s: has host bits set, is %s meant?", r.Prefix, r.Prefix.Masked()))
		case seen[r.Prefix]:
			errs = append(errs, fmt.Errorf("route %s stands twice", r.Prefix))
		}
		seen[r.Prefix] = true
		r.Communities = union(r.Communities, nil)
		r.LargeCommunities = unionLarge(r.LargeCommunities, nil)
		if err := checkCommunities(r.Communities, r.LargeCommunities); err != nil {
			errs = append(errs, fmt.Errorf("route %s: %w", r.Prefix, err))
		}
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b Route) int { return a.Prefix.Compare(b.Prefix) })
	return list, errors.Join(errs...)
}

func checkCommunities(communities []Community, large []LargeCommunity) error {
	if len(communities) > maxCommunities || len(large) > maxCommunities {
		return fmt.Errorf("%d communities and %d large ones: at most %d of each", len(communities), len(large), maxCommunities)
	}
	return nil
}

// checkASN finds what cannot be the number of an autonomous system: 0
// (RFC 7607), AS_TRANS (RFC 6793), the last of 16 and of 32 bits (RFC 7300).
func checkASN(asn uint32) error {
	switch asn {
	case 0, asTrans, 1<<16 - 1, 1<<32 - 1:
		return fmt.Errorf("%d cannot be the number of an autonomous system", asn)
	}
	return nil
}

// hostAddress says whether a can be that of a host beyond its own link.
func hostAddress(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLinkLocalUnicast()
}
