package bgp

import (
	"fmt"
	"net/netip"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"
)

const (
	headerSize  = packet.BGP_HEADER_LENGTH
	messageSize = packet.BGP_MAX_MESSAGE_LENGTH // RFC 4271 4

	// updateFrame is an UPDATE without withdrawn routes, attributes and
	// prefixes: the header and two lengths.
	updateFrame = headerSize + 2 + 2
	// reachFrame and unreachFrame are the attributes of RFC 4760 without
	// prefixes: attribute header, AFI, SAFI, and for the first the next hop.
	reachFrame   = 4 + 3 + 1 + 16 + 1
	unreachFrame = 4 + 3
)

// updates are the UPDATE messages that carry out the plan, withdrawals first:
// what must go must not wait. Paths that differ in nothing but the prefix share
// messages. A peer that knows only ASNs of 16 bits is not wide.
func updates(plan pathPlan, wide bool) ([][]byte, error) {
	var messages [][]byte
	add := func(u *packet.BGPMessage) error {
		b, err := u.Serialize()
		if err != nil {
			return fmt.Errorf("encoding an UPDATE: %w", err)
		}
		messages = append(messages, b)
		return nil
	}
	for _, family := range []Family{IPv4, IPv6} {
		for _, prefixes := range batches(ofFamily(family, plan.withdraw), messageSize-updateFrame-unreachFrame) {
			if err := add(withdrawal(family, prefixes)); err != nil {
				return nil, err
			}
		}
	}
	for _, group := range groups(plan.announce) {
		family := familyOf(group.path.Prefix.Addr())
		attributes := attributesOf(group.path, wide)
		size := updateFrame
		if family == IPv6 {
			size += reachFrame
		}
		for _, a := range attributes {
			b, err := a.Serialize()
			if err != nil {
				return nil, fmt.Errorf("encoding the attributes of %s: %w", group.path.Prefix, err)
			}
			size += len(b)
		}
		for _, prefixes := range batches(group.prefixes, messageSize-size) {
			if err := add(announcement(group.path, attributes, prefixes)); err != nil {
				return nil, err
			}
		}
	}
	return messages, nil
}

func withdrawal(family Family, prefixes []netip.Prefix) *packet.BGPMessage {
	if family == IPv4 {
		return packet.NewBGPUpdateMessage(nlri4(prefixes), nil, nil)
	}
	gone := packet.NewPathAttributeMpUnreachNLRI(nlri6(prefixes))
	return packet.NewBGPUpdateMessage(nil, []packet.PathAttributeInterface{gone}, nil)
}

func announcement(p Path, attributes []packet.PathAttributeInterface, prefixes []netip.Prefix) *packet.BGPMessage {
	if p.Prefix.Addr().Is4() {
		return packet.NewBGPUpdateMessage(nil, attributes, nlri4(prefixes))
	}
	// MP_REACH_NLRI comes first (RFC 7606 5.1).
	all := []packet.PathAttributeInterface{packet.NewPathAttributeMpReachNLRI(p.NextHop.String(), nlri6(prefixes))}
	return packet.NewBGPUpdateMessage(nil, append(all, attributes...), nil)
}

// attributesOf are the attributes of a path in the order of their types, but
// for the next hop of an IPv6 path, which goes with the prefixes (RFC 4760 3).
func attributesOf(p Path, wide bool) []packet.PathAttributeInterface {
	list := []packet.PathAttributeInterface{packet.NewPathAttributeOrigin(packet.BGP_ORIGIN_ATTR_TYPE_IGP)}
	asPath, as4Path := asPathOf(p.ASPath, wide)
	list = append(list, asPath)
	if p.Prefix.Addr().Is4() {
		list = append(list, packet.NewPathAttributeNextHop(p.NextHop.String()))
	}
	if p.MED != nil {
		list = append(list, packet.NewPathAttributeMultiExitDisc(*p.MED))
	}
	if p.LocalPref != nil {
		list = append(list, packet.NewPathAttributeLocalPref(*p.LocalPref))
	}
	if len(p.Communities) > 0 {
		communities := make([]uint32, len(p.Communities))
		for i, c := range p.Communities {
			communities[i] = uint32(c)
		}
		list = append(list, packet.NewPathAttributeCommunities(communities))
	}
	if as4Path != nil {
		list = append(list, as4Path)
	}
	if len(p.LargeCommunities) > 0 {
		large := make([]*packet.LargeCommunity, len(p.LargeCommunities))
		for i, c := range p.LargeCommunities {
			large[i] = &packet.LargeCommunity{ASN: c.Global, LocalData1: c.Local1, LocalData2: c.Local2}
		}
		list = append(list, packet.NewPathAttributeLargeCommunities(large))
	}
	return list
}

// asPathOf is the AS_PATH. To a peer that is not wide a long ASN is told as
// AS_TRANS, with the truth in AS4_PATH beside it (RFC 6793 4.2.2).
func asPathOf(asns []uint32, wide bool) (packet.PathAttributeInterface, packet.PathAttributeInterface) {
	if len(asns) == 0 {
		return packet.NewPathAttributeAsPath(nil), nil
	}
	long := packet.NewAs4PathParam(packet.BGP_ASPATH_ATTR_TYPE_SEQ, asns)
	if wide {
		return packet.NewPathAttributeAsPath([]packet.AsPathParamInterface{long}), nil
	}
	var as4Path packet.PathAttributeInterface
	short := make([]uint16, len(asns))
	for i, asn := range asns {
		short[i] = shortASN(asn)
		if asn > 1<<16-1 {
			as4Path = packet.NewPathAttributeAs4Path([]*packet.As4PathParam{long})
		}
	}
	param := packet.NewAsPathParam(packet.BGP_ASPATH_ATTR_TYPE_SEQ, short)
	return packet.NewPathAttributeAsPath([]packet.AsPathParamInterface{param}), as4Path
}

// shortASN is the ASN as a field of 16 bits tells it (RFC 6793 4.2.2).
func shortASN(asn uint32) uint16 {
	if asn > 1<<16-1 {
		return asTrans
	}
	return uint16(asn)
}

// group are the prefixes of paths that are alike; path is the first of them.
type group struct {
	path     Path
	prefixes []netip.Prefix
}

// groups keeps the order of the paths. There are hardly ever more than two
// groups, so each path is compared with each of them.
func groups(announce []Path) []*group {
	var list []*group
next:
	for _, p := range announce {
		for _, g := range list {
			if g.path.alike(p) {
				g.prefixes = append(g.prefixes, p.Prefix)
				continue next
			}
		}
		list = append(list, &group{path: p, prefixes: []netip.Prefix{p.Prefix}})
	}
	return list
}

// batches cuts prefixes into runs that take at most room octets each.
func batches(prefixes []netip.Prefix, room int) [][]netip.Prefix {
	var list [][]netip.Prefix
	start, used := 0, 0
	for i, p := range prefixes {
		size := 1 + (p.Bits()+7)/8
		if used+size > room && i > start {
			list = append(list, prefixes[start:i])
			start, used = i, 0
		}
		used += size
	}
	if start < len(prefixes) {
		list = append(list, prefixes[start:])
	}
	return list
}

func ofFamily(family Family, prefixes []netip.Prefix) []netip.Prefix {
	var list []netip.Prefix
	for _, p := range prefixes {
		if familyOf(p.Addr()) == family {
			list = append(list, p)
		}
	}
	return list
}

func nlri4(prefixes []netip.Prefix) []*packet.IPAddrPrefix {
	list := make([]*packet.IPAddrPrefix, len(prefixes))
	for i, p := range prefixes {
		list[i] = packet.NewIPAddrPrefix(uint8(p.Bits()), p.Addr().String())
	}
	return list
}

func nlri6(prefixes []netip.Prefix) []packet.AddrPrefixInterface {
	list := make([]packet.AddrPrefixInterface, len(prefixes))
	for i, p := range prefixes {
		list[i] = packet.NewIPv6AddrPrefix(uint8(p.Bits()), p.Addr().String())
	}
	return list
}
