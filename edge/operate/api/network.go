package api

import (
	"net/netip"
	"time"
)

// NetworkStatus is anymx-net at one moment: GET /v1/status of its socket.
type NetworkStatus struct {
	Version string    `json:"version"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started,omitzero"`

	// Items are the addresses, rules and routes that the config asks for.
	Items []NetworkItem `json:"items"`
	// Repaired counts what others had changed or taken away and was put back.
	Repaired int64 `json:"repaired"`
	// Compared is when config and kernel were last compared.
	Compared time.Time `json:"compared,omitzero"`
	// Problem is what could not be done; "" if all is as it should be.
	Problem string `json:"problem,omitempty"`

	Tunnel *TunnelStatus `json:"tunnel,omitempty"` // nil: none is configured
	Shield *ShieldStatus `json:"shield,omitempty"` // nil: none is configured
	// Degraded is what the program goes without.
	Degraded []Degradation `json:"degraded,omitempty"`
	Config   *ConfigStatus `json:"config,omitempty"`
	Clock    *ClockStatus  `json:"clock,omitempty"`
}

// NetworkItem is one address, rule or route.
type NetworkItem struct {
	Kind    string `json:"kind"`    // "address", "rule", "route"
	What    string `json:"what"`    // as `ip` would write it: "192.0.2.25/32 dev lo"
	Purpose string `json:"purpose"` // "service", "source", "tunnel"
	Present bool   `json:"present"`
	Problem string `json:"problem,omitempty"`
}

// TunnelStatus is the WireGuard tunnel to core.
type TunnelStatus struct {
	Interface string `json:"interface"`
	// Implementation is "kernel" or "userspace" (wireguard-go over TUN); Why is
	// how it was chosen.
	Implementation string       `json:"implementation"`
	Reason         string       `json:"reason,omitempty"`
	PublicKey      string       `json:"public_key"` // the node's own, for the far end's config
	ListenPort     int          `json:"listen_port"`
	MTU            int          `json:"mtu"`
	Peers          []TunnelPeer `json:"peers"`
	// Up says that every peer which is spoken to has shaken hands within three minutes.
	Up      bool   `json:"up"`
	Problem string `json:"problem,omitempty"`
}

// TunnelPeer is one peer of the tunnel.
type TunnelPeer struct {
	PublicKey     string         `json:"public_key"`
	Endpoint      string         `json:"endpoint,omitempty"` // "": not known yet
	AllowedIPs    []netip.Prefix `json:"allowed_ips"`
	LastHandshake time.Time      `json:"last_handshake,omitzero"`
	Received      int64          `json:"received"` // octets
	Sent          int64          `json:"sent"`     // octets
	Up            bool           `json:"up"`
}
