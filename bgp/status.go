package bgp

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"
)

// State is how far a session has come (RFC 4271 8.2.2). Active is missing: the
// speaker never waits to be dialled.
type State uint8

// The states, in the order that a session goes through them.
const (
	Idle        State = iota // waits before it dials again
	Connect                  // dials
	OpenSent                 // has introduced itself
	OpenConfirm              // has agreed to what the peer said of itself
	Established              // routes are told
)

func (s State) String() string {
	switch s {
	case Idle:
		return "Idle"
	case Connect:
		return "Connect"
	case OpenSent:
		return "OpenSent"
	case OpenConfirm:
		return "OpenConfirm"
	case Established:
		return "Established"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// MarshalText is the state's name.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Status is a speaker at one moment. It shares no memory with the speaker.
type Status struct {
	ASN      uint32
	RouterID netip.Addr
	Routes   []Route      // what SetRoutes asked for, in the order of prefixes
	Peers    []PeerStatus // in the order of addresses
}

// PeerStatus is one session at one moment.
type PeerStatus struct {
	Address netip.Addr
	ASN     uint32
	State   State
	// Since is when the state was entered.
	Since time.Time
	// Uptime is how long the session is Established. 0 in all other states.
	Uptime time.Duration
	// LocalAddress, RouterID, HoldTime and Families are where the session
	// starts, who the peer is and what both agreed on; zero unless Established.
	LocalAddress netip.Addr
	RouterID     netip.Addr
	HoldTime     time.Duration
	Families     []Family
	// Sent is what this session has told the peer and not taken back
	// (Adj-RIB-Out), in the order of prefixes. Empty unless Established.
	Sent []Path
	// Confirmed says that Sent is all that was asked for, and that the peer's
	// TCP has acknowledged it. False unless Established.
	Confirmed bool
	// LastError is why the last session or attempt ended, nil if none did: a
	// *Notification, or an error of the network. LastErrorAt is when.
	LastError   error
	LastErrorAt time.Time
	// LastNotification is the last one sent or received, nil if there was none:
	// what is to be known may be followed by many refused connections.
	// LastNotificationAt is when.
	LastNotification   *Notification
	LastNotificationAt time.Time
	// Counters only grow, until the peer is removed or gets another session.
	Counters Counters
}

// Counters count what a peer's sessions have done.
type Counters struct {
	Dials    uint64 // connections tried
	Sessions uint64 // of these, that became Established
	// PathsAnnounced and PathsWithdrawn are prefixes in UPDATEs that were sent.
	PathsAnnounced, PathsWithdrawn uint64
	Sent, Received                 MessageCounters
}

// NotificationCodes is how many codes of a NOTIFICATION are counted apart: those
// of RFC 4271 and RFC 7313 are 1 to 7.
const NotificationCodes = 8

// MessageCounters count messages in one direction. What is received in UPDATEs
// is ignored.
type MessageCounters struct {
	Opens, Updates, Notifications, Keepalives, Refreshes uint64
	Bytes                                                uint64 // all messages with their headers
	// ByCode are the Notifications by their code (RFC 4271 4.5); 0 stands for
	// codes that are unknown.
	ByCode [NotificationCodes]uint64
}

// traffic is what is counted while others read it.
type traffic struct {
	dials, sessions, announced, withdrawn atomic.Uint64
	in, out                               direction
}

// direction counts messages by their type.
type direction struct {
	messages [packet.BGP_MSG_ROUTE_REFRESH + 1]atomic.Uint64
	bytes    atomic.Uint64
	codes    [NotificationCodes]atomic.Uint64 // of NOTIFICATIONs
}

// count counts a message by its type and its body.
func (d *direction) count(kind byte, body []byte, size int) {
	d.messages[kind].Add(1)
	d.bytes.Add(uint64(size))
	if kind == packet.BGP_MSG_NOTIFICATION && len(body) > 0 {
		code := int(body[0])
		if code >= NotificationCodes {
			code = 0
		}
		d.codes[code].Add(1)
	}
}

func (d *direction) counters() MessageCounters {
	c := MessageCounters{
		Opens:         d.messages[packet.BGP_MSG_OPEN].Load(),
		Updates:       d.messages[packet.BGP_MSG_UPDATE].Load(),
		Notifications: d.messages[packet.BGP_MSG_NOTIFICATION].Load(),
		Keepalives:    d.messages[packet.BGP_MSG_KEEPALIVE].Load(),
		Refreshes:     d.messages[packet.BGP_MSG_ROUTE_REFRESH].Load(),
		Bytes:         d.bytes.Load(),
	}
	for code := range d.codes {
		c.ByCode[code] = d.codes[code].Load()
	}
	return c
}

func (t *traffic) counters() Counters {
	return Counters{
		Dials:          t.dials.Load(),
		Sessions:       t.sessions.Load(),
		PathsAnnounced: t.announced.Load(),
		PathsWithdrawn: t.withdrawn.Load(),
		Sent:           t.out.counters(),
		Received:       t.in.counters(),
	}
}
