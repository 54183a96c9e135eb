package api

import (
	"net/netip"
	"time"
)

// NetworkStatus is the current state of anymx-net: GET /v1/status of its socket.
type NetworkStatus struct {
	Version string    `json:"version"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started,omitzero"`

	// Items are the addresses, rules and routes that the config asks for.
	Items []NetworkItem `json:"items"`
	// Repaired counts items that others had changed or removed and that were restored.
	Repaired int64 `json:"repaired"`
	// Compared is when config and kernel were last compared.
	Compared time.Time `json:"compared,omitzero"`
	// Problem is what could not be done; "" if everything is in place.
	Problem string `json:"problem,omitempty"`

	Tunnel *TunnelStatus `json:"tunnel,omitempty"` // nil: not configured
	Shield *ShieldStatus `json:"shield,omitempty"` // nil: not configured
	// Degraded lists what the program runs without.
	Degraded []Degradation `json:"degraded,omitempty"`
	Config   *ConfigStatus `json:"config,omitempty"`
	Clock    *ClockStatus  `json:"clock,omitempty"`
}

// NetworkItem is one address, rule or route.
type NetworkItem struct {
	Kind    string `json:"kind"`    // "address", "rule", "route"
	What    string `json:"what"`    // in the notation of `ip`: "192.0.2.25/32 dev lo"
	Purpose string `json:"purpose"` // "service", "source", "tunnel"
	Present bool   `json:"present"`
	Problem string `json:"problem,omitempty"`
}

// TunnelStatus is the WireGuard tunnel to core.
type TunnelStatus struct {
	Interface string `json:"interface"`
	// Implementation is "kernel" or "userspace" (wireguard-go over TUN); Reason tells how it was
	// chosen.
	Implementation string       `json:"implementation"`
	Reason         string       `json:"reason,omitempty"`
	PublicKey      string       `json:"public_key"` // the node's own, for the peer's config
	ListenPort     int          `json:"listen_port"`
	MTU            int          `json:"mtu"`
	Peers          []TunnelPeer `json:"peers"`
	// Up says that every peer we send to has completed a handshake within three minutes.
	Up      bool   `json:"up"`
	Problem string `json:"problem,omitempty"`
}

// TunnelPeer is one peer of the tunnel.
type TunnelPeer struct {
	PublicKey     string         `json:"public_key"`
	Endpoint      string         `json:"endpoint,omitempty"` // "": not known yet
	AllowedIPs    []netip.Prefix `json:"allowed_ips"`
	LastHandshake time.Time      `json:"last_handshake,omitzero"`
	Received      int64          `json:"received"` // bytes
	Sent          int64          `json:"sent"`     // bytes
	Up            bool           `json:"up"`
}
