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
	// PrivateKeyFile holds the private key in base64: an absolute path, or "credential:" and the name
	// of a systemd credential. Default /etc/anymx/wg.key. It is refused if others can read it.
	PrivateKeyFile string `toml:"private_key_file"`
	// Implementation is "kernel", the kernel's WireGuard device; "userspace", wireguard-go over TUN;
	// or "auto", the default: the kernel's where there is one.
	Implementation string `toml:"implementation" restart:"true"`
	// MTU is the largest packet in the tunnel, in octets, 1280 to 65455. Default 0: derived from the
	// route to each peer's endpoint.
	MTU int `toml:"mtu"`
	// ProbeSize is how many octets a probe of the way to core sends at once, 1KiB to 1MiB. Default
	// 16KiB; it must fill several packets to find out an MTU that is too large.
	ProbeSize Size `toml:"probe_size"`
	// ProbeInterval is how often the way to core is probed, 100ms to 1d. Default 30s; 0: never.
	ProbeInterval Duration `toml:"probe_interval"`
	// Peers are the far ends. At least one.
	Peers []TunnelPeer `toml:"peer"`
}

func (t *Tunnel) setDefaults() {
	*t = Tunnel{
		Interface: "wg-core", ListenPort: 51820, PrivateKeyFile: "/etc/anymx/wg.key", Implementation: "auto",
		ProbeSize: 16 * KiB, ProbeInterval: Duration(30 * time.Second),
	}
}

// TunnelPeer is one far end of the tunnel.
type TunnelPeer struct {
	// PublicKey is the peer's key. No default.
	PublicKey PublicKey `toml:"public_key"`
	// PresharedKeyFile holds a second, symmetric key in base64, and is written like
	// Tunnel.PrivateKeyFile. Empty, the default: none.
	PresharedKeyFile string `toml:"preshared_key_file"`
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
	// Metrics is the TCP address of the speaker's metrics and health. Default 127.0.0.1:9926; empty:
	// they are served on the control socket alone.
	Metrics string `toml:"metrics" restart:"true"`
	// Health says when the node counts as healthy, without which nothing is announced.
	Health BGPHealth `toml:"health"`
	// Peers are the routers announced to. At least one.
	Peers []BGPPeer `toml:"peer"`
}

func (b *BGP) setDefaults() {
	*b = BGP{Control: "/run/anymx/bgp.sock", Metrics: "127.0.0.1:9926"}
	b.Health.setDefaults()
}

// BGPHealth says how the node's health is found out. A round asks /readyz of anymx-edge, and has a
// banner and an EHLO of each service address on each port of ingress.
type BGPHealth struct {
	// Interval is the time from the start of one round to the next, 50ms to 1m. Default 400ms. The
	// round behind a bad one begins after half of it.
	Interval Duration `toml:"interval"`
	// Timeout is how long an answer may take, at least Interval. Default 2s; longer than
	// ingress.banner_delay. What is refused or broken off is bad at once.
	Timeout Duration `toml:"timeout"`
	// Rise is how many rounds in a row must be good before the routes are announced, 1 to 1000.
	// Default 3.
	Rise int `toml:"rise"`
	// RiseTime is how long they must have been good as well, at most 1h. Default 10s; 0: Rise alone
	// counts.
	RiseTime Duration `toml:"rise_time"`
	// Fall is how many rounds in a row must be bad before the routes are withdrawn, 1 to 1000.
	// Default 2.
	Fall int `toml:"fall"`
	// Busy is how long a node may answer all probes with 421, being at its cap on sessions, before it
	// counts as down, 10s to 1d. Default 5m.
	Busy Duration `toml:"busy"`
}

func (h *BGPHealth) setDefaults() {
	*h = BGPHealth{
		Interval: Duration(400 * time.Millisecond), Timeout: Duration(2 * time.Second),
		Rise: 3, RiseTime: Duration(10 * time.Second), Fall: 2, Busy: Duration(5 * time.Minute),
	}
}

// BGPPeer is one router.
type BGPPeer struct {
	// Address is the router's address. No default.
	Address netip.Addr `toml:"address"`
	// ASN is its autonomous system; the node's own makes it an iBGP session. No default.
	ASN uint32 `toml:"asn"`
	// HoldTime is how long the router believes in a silent node, in whole seconds, 3s to 18h12m15s
	// (RFC 4271 4.2). Default 9s. It bounds how long a node that lost its power draws traffic.
	HoldTime Duration `toml:"hold_time"`
	// PasswordFile holds the password of TCP MD5 (RFC 2385), and is written like
	// Tunnel.PrivateKeyFile. Empty, the default: none.
	PasswordFile string `toml:"password_file"`
	// TTLSecurity refuses packets that came over more than Multihop hops (GTSM, RFC 5082); both sides
	// must agree. Default false.
	TTLSecurity bool `toml:"ttl_security"`
	// Communities are put on each announcement: "64500:100" (RFC 1997) or "64500:1:2" (RFC 8092).
	// Default: none.
	Communities []string `toml:"communities"`
	// Port is the router's TCP port. Default 179.
	Port uint16 `toml:"port"`
	// LocalAddress is the address of the node that the session starts from, and the next hop of its
	// own family. Default: the kernel's choice.
	LocalAddress netip.Addr `toml:"local_address"`
	// Families are the families that the router is told about: FamilyIPv4, FamilyIPv6. Default: those
	// for which there is a next hop, which is a NextHop below or the session's own address (see
	// OfferedFamilies).
	Families []string `toml:"families"`
	// NextHop4 and NextHop6 are the next hops of IPv4 and IPv6 prefixes; no link-local ones. Default:
	// the session's own address, for its own family.
	NextHop4 netip.Addr `toml:"next_hop4"`
	NextHop6 netip.Addr `toml:"next_hop6"`
	// MED is the MULTI_EXIT_DISC (RFC 4271 5.1.4): of two ways into one autonomous system the
	// smaller one is taken. Default: none is sent.
	MED *uint32 `toml:"med"`
	// Prepend is how many times more the own ASN stands in the path, which makes it less liked. 0,
	// the default, to 20; 0 on an iBGP session, where it would look like a loop.
	Prepend int `toml:"prepend"`
	// Multihop is how many hops away an eBGP router may be, 1 to 255. Default 1: directly connected.
	Multihop int `toml:"multihop"`
	// ConnectRetry is the longest pause before the router is dialled again, 100ms to 1h. Default 5s.
	ConnectRetry Duration `toml:"connect_retry"`
}

func (p *BGPPeer) setDefaults() {
	*p = BGPPeer{HoldTime: Duration(9 * time.Second), Port: 179, Multihop: 1, ConnectRetry: Duration(5 * time.Second)}
}

// Drain says how long each step of a drain takes at most. A program that is told to end walks the
// same steps, within node.shutdown_grace.
type Drain struct {
	// Graceful is how long the prefixes are announced with GRACEFUL_SHUTDOWN (RFC 8326), so that
	// traffic moves away while packets still arrive. Default 10s; 0: they are withdrawn at once.
	Graceful Duration `toml:"graceful"`
	// Confirm is how long routers have to acknowledge the withdrawal. Default 5s.
	Confirm Duration `toml:"confirm"`
	// Converge is how long new connections are still served after the withdrawal, for networks that
	// have not heard of it. Default 5s.
	Converge Duration `toml:"converge"`
	// Sessions is how long sessions have to end after new ones are answered with 421; then they are
	// cut. Default 1m.
	Sessions Duration `toml:"sessions"`
	// Silence is how long a session may say nothing in the middle of a transaction during that: when
	// a route goes, the packets of those who came by it go elsewhere, and nobody tells this node.
	// Default 10s; 0: as long as in service.
	Silence Duration `toml:"silence"`
	// Flush is how long the spool has to be handed over before the node counts as drained with
	// messages left, which it goes on trying. Default 5m.
	Flush Duration `toml:"flush"`
}

func (d *Drain) setDefaults() {
	*d = Drain{
		Graceful: Duration(10 * time.Second), Confirm: Duration(5 * time.Second), Converge: Duration(5 * time.Second),
		Sessions: Duration(time.Minute), Silence: Duration(10 * time.Second), Flush: Duration(5 * time.Minute),
	}
}

// Net is anymx-net, which holds addresses, rules, routes and the tunnel.
type Net struct {
	// Control is the unix socket of anymx-net; absolute, at most 107 octets. Default
	// /run/anymx/net.sock.
	Control string `toml:"control" restart:"true"`
	// Metrics is the TCP address of its metrics and health. Default 127.0.0.1:9927; empty: they are
	// served on the control socket alone.
	Metrics string `toml:"metrics" restart:"true"`
	// Repair is how often all is compared with what the kernel has, besides what the kernel tells by
	// itself, 100ms to 1h. Default 30s.
	Repair Duration `toml:"repair"`
}

func (n *Net) setDefaults() {
	*n = Net{Control: "/run/anymx/net.sock", Metrics: "127.0.0.1:9927", Repair: Duration(30 * time.Second)}
}

// Egress is the way out to the world. Only its addresses are used yet: anymx-net sets them up.
type Egress struct {
	// Sources are the addresses that mail is sent from. Default: none.
	Sources []EgressSource `toml:"source"`
}

func (e *Egress) setDefaults() { *e = Egress{} }

// EgressSource is one address that mail is sent from.
type EgressSource struct {
	// Name is how pools and log lines call it, written like node.name. No default.
	Name string `toml:"name"`
	// Address is the address with the length of its network: 198.51.100.10/24. No default.
	Address netip.Prefix `toml:"address"`
	// Interface is the device that it is put on. No default.
	Interface string `toml:"interface"`
	// Gateway is the router that packets from Address leave by, whatever the other routes say.
	// Default: none; they leave as the main table says.
	Gateway netip.Addr `toml:"gateway"`
}

func (s *EgressSource) setDefaults() { *s = EgressSource{} }

// Shield is the packet filter in front of ingress. It protects the service addresses, on the ports that
// ingress.listen has for them.
type Shield struct {
	// Interfaces are the devices that packets for the service addresses come in by, at most 15 octets
	// each; VLAN devices above them are seen to. No default, unless Mode is "off".
	Interfaces []string `toml:"interfaces"`
	// Mode is where packets are met: "native", in the driver; "generic", in the kernel's stack;
	// "auto", the default: native where the driver can; or "off".
	Mode string `toml:"mode"`
	// KeyFile holds the key that makes SYN cookies, 16 octets or more, and is written like
	// Tunnel.PrivateKeyFile. Nodes that announce the same prefix share it, and take each other's
	// cookies. Empty, the default: a random one.
	KeyFile string `toml:"key_file"`
	// Epoch is how long a key derived from KeyFile makes cookies, 4s to 1h. Default 2m. Clocks of
	// nodes may differ by half of it; nodes that share a key share it too.
	Epoch Duration `toml:"epoch"`
	// Cookies says when SYNs are answered with cookies: "adaptive", the default, above SYNRate;
	// "always"; or "never".
	Cookies string `toml:"cookies"`
	// SYNRate is how many SYNs in a second pass to the stack, 1 to 1000000000. Default 1000. It and
	// StrayRate are counted in windows of 134ms, so that less than 8 counts as 8.
	SYNRate int `toml:"syn_rate"`
	// StrayRate is how many segments in a second that fit no connection pass to the stack, which
	// answers them with a reset, 1 to 1000000000. Default 1000.
	StrayRate int `toml:"stray_rate"`
	// Hold is how long a rate counts as exceeded after it last was, 1s to 1h. Default 10s.
	Hold Duration `toml:"hold"`
	// ConnectionRate is how many new connections in a second a /24 or /64 may open, at most
	// 1000000000. Default 100; 0: no limit. ConnectionBurst is how many at once. Default 0: ten
	// seconds' worth.
	ConnectionRate  int `toml:"connection_rate"`
	ConnectionBurst int `toml:"connection_burst"`
	// Fragments, Unparsable and Unserved are what becomes of fragments, of what can't be parsed, and
	// of other ports of the service addresses: "drop", the default, or "pass".
	Fragments  string `toml:"fragments"`
	Unparsable string `toml:"unparsable"`
	Unserved   string `toml:"unserved"`
	// BlockFile and AllowFile hold a prefix a line, 100,000 of each IP version together, with comments
	// behind #; absolute, and not the same file. They are read again when they change. Default: none.
	BlockFile string `toml:"block_file"`
	AllowFile string `toml:"allow_file"`
	// Pins is the directory on a BPF file system in which the filter outlives anymx-net; absolute.
	// Default /sys/fs/bpf/anymx.
	Pins string `toml:"pins" restart:"true"`
	// MTU is that of the way to senders, which gives the segment size that cookies offer, in octets,
	// 1280 to 65535. Default 1500.
	MTU int `toml:"mtu"`
}

func (s *Shield) setDefaults() {
	*s = Shield{
		Mode: "auto", Epoch: Duration(2 * time.Minute), Cookies: "adaptive", SYNRate: 1000, StrayRate: 1000,
		Hold: Duration(10 * time.Second), ConnectionRate: 100, Fragments: "drop", Unparsable: "drop", Unserved: "drop",
		Pins: "/sys/fs/bpf/anymx", MTU: 1500,
	}
}
