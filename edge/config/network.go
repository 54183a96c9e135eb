package config

import (
	"net/netip"
	"time"
)

// Tunnel is the WireGuard tunnel to core. While it is down mail waits; it never leaves another way.
type Tunnel struct {
	// Interface is the name of the device, at most 15 octets. Default wg-core.
	Interface string `toml:"interface" restart:"true"`
	// Address holds this node's addresses in the tunnel, each with the length of its network:
	// 10.77.0.2/24. No default.
	Address []netip.Prefix `toml:"address"`
	// ListenPort is the UDP port that peers send to. Default 51820; 0: any free port, for a node
	// that always speaks first.
	ListenPort uint16 `toml:"listen_port"`
	// PrivateKeyFile holds the private key in base64; absolute. Default /etc/anymx/wg.key. It is
	// refused if others can read it.
	PrivateKeyFile string `toml:"private_key_file"`
	// Peers are the far ends. At least one.
	Peers []TunnelPeer `toml:"peer"`
}

func (t *Tunnel) setDefaults() {
	*t = Tunnel{Interface: "wg-core", ListenPort: 51820, PrivateKeyFile: "/etc/anymx/wg.key"}
}

// TunnelPeer is one far end of the tunnel.
type TunnelPeer struct {
	// PublicKey is the peer's key. No default.
	PublicKey PublicKey `toml:"public_key"`
	// Endpoint is the peer's host:port, an IP address or a host name. Empty, the default: the peer
	// speaks first, and this node learns where it is.
	Endpoint string `toml:"endpoint"`
	// AllowedIPs holds the networks behind the peer: what is routed to it and what is believed from
	// it. No default; no network may stand at two peers.
	AllowedIPs []netip.Prefix `toml:"allowed_ips"`
	// Keepalive is how often an otherwise silent tunnel sends a packet, in whole seconds, so that
	// what stands between keeps its state. Default 25s; 0: never.
	Keepalive Duration `toml:"keepalive"`
}

func (p *TunnelPeer) setDefaults() { *p = TunnelPeer{Keepalive: Duration(25 * time.Second)} }

// Anycast holds the service addresses and what is announced for them.
type Anycast struct {
	// Addresses holds the service addresses, put on lo: /32 or /128, each inside one of Prefixes.
	// Default: none.
	Addresses []netip.Prefix `toml:"addresses"`
	// Prefixes is what is announced. Default: none. Each must hold at least one of Addresses, or the
	// node would attract traffic that it cannot answer.
	Prefixes []netip.Prefix `toml:"prefixes"`
}

func (a *Anycast) setDefaults() { *a = Anycast{} }

// BGP is the speaker that announces the prefixes.
type BGP struct {
	// ASN is this node's autonomous system, 1 to 4294967294. No default.
	ASN uint32 `toml:"asn" restart:"true"`
	// RouterID is an IPv4 address that no other router of the network has. No default.
	RouterID netip.Addr `toml:"router_id" restart:"true"`
	// Control is the unix socket of anymx-bgp; absolute, at most 107 octets. Default
	// /run/anymx/bgp.sock.
	Control string `toml:"control" restart:"true"`
	// Peers are the routers announced to. At least one.
	Peers []BGPPeer `toml:"peer"`
}

func (b *BGP) setDefaults() { *b = BGP{Control: "/run/anymx/bgp.sock"} }

// BGPPeer is one router.
type BGPPeer struct {
	// Address is the router's address. No default.
	Address netip.Addr `toml:"address"`
	// ASN is its autonomous system; the node's own makes it an iBGP session. No default.
	ASN uint32 `toml:"asn"`
	// HoldTime is how long the router believes in a silent node, in whole seconds, 3s to 18h12m15s
	// (RFC 4271 4.2). Default 9s. It bounds how long a node that lost its power draws traffic.
	HoldTime Duration `toml:"hold_time"`
	// PasswordFile holds the password of TCP MD5 (RFC 2385); absolute. Empty, the default: none.
	PasswordFile string `toml:"password_file"`
	// TTLSecurity demands packets of 255 hops (GTSM, RFC 5082); both sides must agree. Default false.
	TTLSecurity bool `toml:"ttl_security"`
	// Communities are put on each announcement: "64500:100" (RFC 1997) or "64500:1:2" (RFC 8092).
	// Default: none.
	Communities []string `toml:"communities"`
}

func (p *BGPPeer) setDefaults() { *p = BGPPeer{HoldTime: Duration(9 * time.Second)} }

// Shield is the packet filter in front of ingress.
type Shield struct {
	// Interfaces are the devices it stands on, at most 15 octets each. No default, unless Mode is
	// "off".
	Interfaces []string `toml:"interfaces"`
	// Mode is where packets are met: "native", in the driver; "generic", in the kernel's stack;
	// "auto", the default: native where the driver can; or "off".
	Mode string `toml:"mode"`
}

func (s *Shield) setDefaults() { *s = Shield{Mode: "auto"} }
