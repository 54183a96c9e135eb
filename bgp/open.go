package bgp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"
)

const (
	version        = 4
	unicast        = packet.SAFI_UNICAST
	extendedLength = 255 // in place of a length and of a type (RFC 9072 2)
)

// open is what a peer says of itself in its OPEN, as far as it matters here.
type open struct {
	version  uint8
	asn      uint32
	hold     time.Duration
	routerID netip.Addr
	families []Family // IPv4 and IPv6 unicast, where it has them
	wide     bool     // it knows ASNs of 32 bits (RFC 6793)

	multiprotocol bool // it has named families, those that we don't know among them
}

// terms are what both sides of a session agree on.
type terms struct {
	routerID netip.Addr // the peer's
	hold     time.Duration
	families []Family
	wide     bool
}

// openMessage is the OPEN to a peer: the families that it is offered, and that
// we take requests to be told again (RFC 2918).
func openMessage(asn uint32, routerID netip.Addr, p Peer) ([]byte, error) {
	var capabilities []packet.ParameterCapabilityInterface
	for _, f := range p.Families {
		capabilities = append(capabilities, packet.NewCapMultiProtocol(packet.AfiSafiToRouteFamily(uint16(f), unicast)))
	}
	capabilities = append(capabilities, packet.NewCapRouteRefresh(), packet.NewCapFourOctetASNumber(asn))
	message := packet.NewBGPOpenMessage(shortASN(asn), uint16(p.HoldTime/time.Second), routerID.String(),
		[]packet.OptionParameterInterface{packet.NewOptionParameterCapability(capabilities)})
	b, err := message.Serialize()
	if err != nil {
		return nil, fmt.Errorf("encoding the OPEN: %w", err)
	}
	return b, nil
}

// agree holds a peer's OPEN against what is known of it. The Notification tells
// the peer what it has got wrong.
func agree(asn uint32, routerID netip.Addr, p Peer, o open) (terms, *Notification) {
	switch {
	case o.asn != p.ASN:
		return terms{}, openError(packet.BGP_ERROR_SUB_BAD_PEER_AS)
	case o.routerID.IsUnspecified() || p.ASN == asn && o.routerID == routerID: // RFC 6286 2.2
		return terms{}, openError(packet.BGP_ERROR_SUB_BAD_BGP_IDENTIFIER)
	case o.hold < shortestHold:
		// 0 would mean a session without keepalives. A router that never finds
		// out that the node is gone must not be announced to.
		return terms{}, openError(packet.BGP_ERROR_SUB_UNACCEPTABLE_HOLD_TIME)
	}
	t := terms{routerID: o.routerID, hold: min(o.hold, p.HoldTime), wide: o.wide}
	for _, f := range p.Families {
		if slices.Contains(o.families, f) {
			t.families = append(t.families, f)
		}
	}
	if len(t.families) == 0 {
		// The data is the capability that is missing (RFC 5492 5).
		return terms{}, openError(packet.BGP_ERROR_SUB_UNSUPPORTED_CAPABILITY,
			byte(packet.BGP_CAP_MULTIPROTOCOL), 4, 0, byte(p.Families[0]), 0, unicast)
	}
	return t, nil
}

// parseOpen reads the body of an OPEN (RFC 4271 4.2).
func parseOpen(body []byte) (open, *Notification) {
	if len(body) < 10 {
		return open{}, headerError(packet.BGP_ERROR_SUB_BAD_MESSAGE_LENGTH, 0, byte(headerSize+len(body)))
	}
	o := open{
		version:  body[0],
		asn:      uint32(binary.BigEndian.Uint16(body[1:])),
		hold:     time.Duration(binary.BigEndian.Uint16(body[3:])) * time.Second,
		routerID: netip.AddrFrom4([4]byte(body[5:9])),
	}
	if o.version != version {
		return open{}, openError(packet.BGP_ERROR_SUB_UNSUPPORTED_VERSION_NUMBER, 0, version)
	}
	// Parameters have a length of one octet, unless 255 stands where their
	// overall length and their first type would be: then of two (RFC 9072 2).
	parameters, size := body[10:], int(body[9])
	wide := size == extendedLength && len(parameters) >= 3 && parameters[0] == extendedLength
	if wide {
		size, parameters = int(binary.BigEndian.Uint16(parameters[1:])), parameters[3:]
	}
	if size != len(parameters) {
		return open{}, openError(0)
	}
	for len(parameters) > 0 {
		kind, value, rest, ok := parameter(parameters, wide)
		if !ok {
			return open{}, openError(0)
		}
		if kind != packet.BGP_OPT_CAPABILITY {
			return open{}, openError(packet.BGP_ERROR_SUB_UNSUPPORTED_OPTIONAL_PARAMETER)
		}
		if !o.takeAll(value) {
			return open{}, openError(0)
		}
		parameters = rest
	}
	if !o.multiprotocol {
		o.families = []Family{IPv4} // all that BGP-4 has by itself
	}
	return o, nil
}

// takeAll notes a list of capabilities (RFC 5492 4). It is false where the list
// is cut short.
func (o *open) takeAll(list []byte) bool {
	for len(list) > 0 {
		code, value, rest, ok := parameter(list, false)
		if !ok || !o.take(packet.BGPCapabilityCode(code), value) {
			return false
		}
		list = rest
	}
	return true
}

// parameter cuts the first type, length and value from b. With wide the length
// takes two octets.
func parameter(b []byte, wide bool) (kind byte, value, rest []byte, ok bool) {
	head := 2
	if wide {
		head = 3
	}
	if len(b) < head {
		return 0, nil, nil, false
	}
	size := int(b[1])
	if wide {
		size = int(binary.BigEndian.Uint16(b[1:]))
	}
	if len(b) < head+size {
		return 0, nil, nil, false
	}
	return b[0], b[head : head+size], b[head+size:], true
}

// take notes a capability. It is false where one that matters has not the
// length that it must have; others are none of our business (RFC 5492 3).
func (o *open) take(code packet.BGPCapabilityCode, value []byte) bool {
	switch code {
	case packet.BGP_CAP_MULTIPROTOCOL: // RFC 4760 8
		if len(value) != 4 {
			return false
		}
		o.multiprotocol = true
		f := binary.BigEndian.Uint16(value)
		if (f == uint16(IPv4) || f == uint16(IPv6)) && value[3] == unicast && !slices.Contains(o.families, Family(f)) {
			o.families = append(o.families, Family(f))
		}
	case packet.BGP_CAP_FOUR_OCTET_AS_NUMBER: // RFC 6793 3
		if len(value) != 4 {
			return false
		}
		o.asn, o.wide = binary.BigEndian.Uint32(value), true
	}
	return true
}

// parseRefresh reads the body of a ROUTE-REFRESH: the family to be told again,
// 0 where it is one that is never told.
func parseRefresh(body []byte) Family {
	if len(body) != 4 || body[2] != 0 || body[3] != unicast { // RFC 2918 3, RFC 7313 3.2
		return 0
	}
	switch f := binary.BigEndian.Uint16(body); f {
	case uint16(IPv4), uint16(IPv6):
		return Family(f)
	}
	return 0
}

// parseNotification reads the body of a NOTIFICATION, which has at least its
// two codes.
func parseNotification(body []byte) *Notification {
	return &Notification{Code: body[0], Subcode: body[1], Data: slices.Clone(body[2:]), Received: true}
}
