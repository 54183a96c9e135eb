package api

import (
	"net/netip"
	"time"
)

// Routes is how a speaker announces the node's prefixes to its peers.
type Routes string

// The ways to announce, in the order in which a drain goes through them.
const (
	Announced Routes = "announced" // as usual
	Graceful  Routes = "graceful"  // with GRACEFUL_SHUTDOWN: peers prefer any other path (RFC 8326)
	Withdrawn Routes = "withdrawn" // not at all
)

// DesiredState is what the operator, or the node while it drains, wants of the speaker. It is an
// upper bound: routes are Announced only while the node is healthy too.
type DesiredState struct {
	Routes Routes `json:"routes"`
	Reason string `json:"reason,omitempty"` // for people
	// Keep writes the desired state to disk before the answer is sent: it holds until the next one,
	// even over restarts and reboots. Without it, it holds until the node was seen to go down and
	// is healthy again, which is how a restart of the mail program ends it. A command to announce
	// is always kept: it removes the stored state.
	Keep bool `json:"keep,omitempty"`
	// Given is when the command was given, which may be long before it arrives: a kept one is
	// refused as Superseded if a later one is already stored. Zero: now. A status has it in
	// DesiredAt.
	Given time.Time `json:"given,omitzero"`
}

// SpeakerStatus is the current state of the BGP speaker: GET /v1/status of its socket, and the
// answer to a DesiredState (POST /v1/desired).
type SpeakerStatus struct {
	Version  string     `json:"version"`
	PID      int        `json:"pid"`
	Started  time.Time  `json:"started,omitzero"`
	ASN      uint32     `json:"asn"`
	RouterID netip.Addr `json:"router_id"`

	Desired   DesiredState `json:"desired"`
	DesiredAt time.Time    `json:"desired_at,omitzero"` // zero: there never was a command
	// Routes is how they are announced now, Reason tells why, Since tells since when.
	Routes   Routes         `json:"routes"`
	Reason   string         `json:"reason"`
	Since    time.Time      `json:"since,omitzero"`
	Prefixes []netip.Prefix `json:"prefixes"` // announced, or ready to be

	Health SpeakerHealth `json:"health"`
	Peers  []SpeakerPeer `json:"peers"` // in the order of addresses
	// Degraded lists what the program runs without.
	Degraded []Degradation `json:"degraded,omitempty"`
	// Config tells which file is in force.
	Config *ConfigStatus `json:"config,omitempty"`
	Clock  *ClockStatus  `json:"clock,omitempty"`
}

// Confirmed counts the peers with an established session, and those of them that have acknowledged
// their current routes.
func (s *SpeakerStatus) Confirmed() (confirmed, established int) {
	for i := range s.Peers {
		if s.Peers[i].State == "Established" {
			established++
			if s.Peers[i].Confirmed {
				confirmed++
			}
		}
	}
	return confirmed, established
}

// Obeys reports whether the speaker has taken the command wanted.
func (s *SpeakerStatus) Obeys(wanted *DesiredState) bool {
	return s.Desired.Routes == wanted.Routes && (s.Desired.Keep || !wanted.Keep || wanted.Routes == Announced)
}

// SpeakerHealth is the node's health as the speaker sees it.
type SpeakerHealth struct {
	// Up is the verdict after rise and fall counts.
	Up     bool      `json:"up"`
	Since  time.Time `json:"since,omitzero"`
	Reason string    `json:"reason,omitempty"` // why it is not up, or what fails right now
	// Checks are those of the last round that decide, followed by those for information only.
	Checks []HealthCheck `json:"checks"`
}

// HealthCheck is one check of a round.
type HealthCheck struct {
	Name string `json:"name"` // "readyz", "smtp 192.0.2.25:25", "tunnel", "shield"
	OK   bool   `json:"ok"`
	// Information says that the check does not affect the verdict.
	Information bool      `json:"information,omitempty"`
	Reason      string    `json:"reason,omitempty"` // why it is not OK
	Took        Seconds   `json:"took_seconds"`
	At          time.Time `json:"at,omitzero"`
}

// SpeakerPeer is one router.
type SpeakerPeer struct {
	Address  netip.Addr `json:"address"`
	ASN      uint32     `json:"asn"`
	State    string     `json:"state"` // RFC 4271 8.2.2: "Idle", "Connect", "OpenSent", "OpenConfirm", "Established"
	Since    time.Time  `json:"since,omitzero"`
	HoldTime Seconds    `json:"hold_time_seconds,omitempty"`
	// Advertised is what was sent to the peer and is still in force.
	Advertised []AdvertisedRoute `json:"advertised"`
	// Confirmed says that the peer's TCP has acknowledged everything sent to it.
	Confirmed   bool      `json:"confirmed"`
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	// LastNotification is the last one sent or received.
	LastNotification   string    `json:"last_notification,omitempty"`
	LastNotificationAt time.Time `json:"last_notification_at,omitzero"`
}

// AdvertisedRoute is a route as sent to one peer.
type AdvertisedRoute struct {
	Prefix      netip.Prefix `json:"prefix"`
	NextHop     netip.Addr   `json:"next_hop"`
	ASPath      []uint32     `json:"as_path,omitempty"`
	MED         *uint32      `json:"med,omitempty"`
	LocalPref   *uint32      `json:"local_pref,omitempty"`
	Communities []string     `json:"communities,omitempty"` // including large ones
}
