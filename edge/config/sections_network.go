package config

import "net/netip"

// Tunnel is the WireGuard tunnel to core. While it is down mail waits; it never leaves another way.
type Tunnel struct {
	// Interface is the name of the device. An existing WireGuard device of this name is taken over,
	// whoever made it, and gets the keys and peers of this config. The device that the tunnel had under
	// another name is removed.
	Interface string `toml:"interface" default:"wg-core" missing:"the tunnel's device needs a name" format:"interface" change:"restart"`
	// Address lists this node's addresses in the tunnel, each with the length of its network.
	Address []netip.Prefix `toml:"address" missing:"give this node an address in the tunnel, such as [\"10.77.0.2/24\"]" change:"reload"`
	// ListenPort is the UDP port that peers send to. 0: any free one, for a node that always speaks
	// first.
	ListenPort uint16 `toml:"listen_port" default:"51820" change:"reload"`
	// PrivateKeyFile is the file or credential with the private key in base64. It is refused if others
	// can read it.
	PrivateKeyFile string `toml:"private_key_file" default:"/etc/anymx/wg.key" missing:"the tunnel needs a private key" format:"secret" change:"reload"`
	// Implementation says what runs the tunnel. `"kernel"`: the kernel's WireGuard device.
	// `"userspace"`: wireguard-go over TUN, slower, and down while `anymx-net` is. `"auto"`: the
	// kernel's where there is one; the status says which.
	Implementation string `toml:"implementation" default:"auto" oneof:"auto,kernel,userspace" change:"restart"`
	// MTU is the size of the largest packet in the tunnel in bytes. 0: derived from the route to each
	// peer's endpoint; while none is known it stays as it was. Too large a value lets small mail pass
	// and large mail stall.
	MTU int `toml:"mtu" min:"1280" max:"65455" zero:"to derive it from the routes" change:"reload"`
	// ProbeSize is how many bytes a probe of the way to core sends at once. It must fill several
	// packets to find an MTU that is too large; above the maximum some cores end the session, as they
	// count the commands that do nothing.
	ProbeSize Size `toml:"probe_size" default:"16KiB" min:"1KiB" max:"46KiB" change:"reload"`
	// ProbeInterval is how often the way to core is probed. 0: never, and a wrong MTU shows when mail
	// stalls.
	ProbeInterval Duration `toml:"probe_interval" default:"30s" min:"100ms" max:"1d" zero:"for never" change:"reload"`
	// Peers are the other ends. At least one.
	Peers []TunnelPeer `toml:"peer" missing:"a tunnel needs at least one [[tunnel.peer]]" change:"reload"`
}

// TunnelPeer is one other end of the tunnel.
type TunnelPeer struct {
	// PublicKey is the peer's public key: the 44 characters that `wg pubkey` prints.
	PublicKey PublicKey `toml:"public_key" missing:"a peer is known by its public key" change:"reload"`
	// PresharedKeyFile is the file or credential with a second, symmetric key in base64, the same at
	// both ends. Empty: none.
	PresharedKeyFile string `toml:"preshared_key_file" format:"secret" change:"reload"`
	// Endpoint is the peer's host and port. Empty: the peer speaks first, and this node learns where it
	// is. It must be outside of all `allowed_ips`: the tunnel would lead into itself.
	Endpoint string `toml:"endpoint" format:"endpoint" change:"reload"`
	// AllowedIPs lists the networks that the peer leads to: what is routed to it and believed from it.
	// A network belongs to one peer only; the default route would send all that leaves the node into
	// the tunnel, and is refused.
	AllowedIPs []netip.Prefix `toml:"allowed_ips" missing:"say which networks the peer leads to, such as [\"10.77.0.0/24\"]" format:"network" change:"reload"`
	// Keepalive is how often an otherwise silent tunnel sends a packet, in whole seconds, so that
	// firewalls keep it open. 0: never.
	Keepalive Duration `toml:"keepalive" default:"25s" max:"18h12m15s" step:"1s" change:"reload"`
}

// Anycast holds the service addresses and what is announced for them.
type Anycast struct {
	// Addresses lists the service addresses, put on `lo`: /32 or /128, each inside one of `prefixes`.
	// With a `[bgp]` section, each must be served by an address and port of `ingress.listen` that is
	// known beforehand (not port 0): the speaker probes it there as a sender would.
	Addresses []netip.Prefix `toml:"addresses" change:"reload"`
	// Prefixes lists what is announced. Each holds at least one of `addresses`, or the node would
	// attract traffic that it can't answer. The default route is refused. A family that is offered to
	// no router is not announced; the speaker warns of it.
	Prefixes []netip.Prefix `toml:"prefixes" format:"network" change:"reload"`
}

// BGP is the speaker that announces the prefixes.
type BGP struct {
	// ASN is this node's autonomous system, up to 4294967294.
	ASN uint32 `toml:"asn" missing:"write the number of an autonomous system, 1 to 4294967294" format:"asn" change:"restart"`
	// RouterID is an IPv4 address that no other router of the network uses as its own.
	RouterID netip.Addr `toml:"router_id" missing:"write an IPv4 address that no other router has, such as \"198.51.100.2\"" format:"router_id" change:"restart"`
	// Control is the unix socket of `anymx-bgp`. Whoever can open it can withdraw the node's routes.
	Control string `toml:"control" default:"/run/anymx/bgp.sock" missing:"the control socket needs a path" format:"socket" change:"restart"`
	// Metrics is the TCP address of the speaker's `/metrics`, `/healthz` and `/readyz`, without a
	// password. Empty: they are on the control socket alone.
	Metrics string `toml:"metrics" default:"127.0.0.1:9926" format:"listen" change:"restart"`
	// Health says when the node counts as healthy, without which nothing is announced.
	Health BGPHealth `toml:"health"`
	// Peers are the routers that prefixes are announced to. At least one.
	Peers []BGPPeer `toml:"peer" missing:"a speaker needs at least one [[bgp.peer]]" change:"reload"`
}

// BGPHealth says how the node's health is checked. A round asks `/readyz` of anymx-edge, and wants a
// banner and a reply to EHLO of each service address on each port of ingress.
type BGPHealth struct {
	// Interval is the time from the start of one round to the next. The round after a bad one begins
	// after half of it.
	Interval Duration `toml:"interval" default:"400ms" min:"50ms" max:"1m" change:"reload"`
	// Timeout is the longest wait for an answer, at least `interval` and longer than
	// `ingress.banner_delay`. Too short a time withdraws a node that is merely busy.
	Timeout Duration `toml:"timeout" default:"2s" above:"0" max:"10m" change:"reload"`
	// Rise is how many good rounds in a row it takes before the routes are announced.
	Rise int `toml:"rise" default:"3" min:"1" max:"1000" change:"reload"`
	// RiseTime is how long these must have been good as well. It keeps a node that comes and goes from
	// flapping, which distant routers answer by damping. 0: `rise` alone counts.
	RiseTime Duration `toml:"rise_time" default:"10s" max:"1h" change:"reload"`
	// Fall is how many bad rounds in a row it takes before the routes are withdrawn. With 1, one lost
	// answer moves all traffic away.
	Fall int `toml:"fall" default:"2" min:"1" max:"1000" change:"reload"`
	// Busy is how long a node may answer every probe with 421 before it counts as down. Clients that take
	// all places are not a reason for that: a probe always has one.
	Busy Duration `toml:"busy" default:"5m" min:"10s" max:"1d" change:"reload"`
}

// BGPPeer is one router.
type BGPPeer struct {
	// Address is the router's IP address.
	Address netip.Addr `toml:"address" missing:"write the router's IP address" change:"reload"`
	// ASN is its autonomous system. The node's own makes it an iBGP session.
	ASN uint32 `toml:"asn" missing:"write the number of an autonomous system, 1 to 4294967294" format:"asn" change:"reload"`
	// HoldTime is how long the router believes in a silent node, in whole seconds (RFC 4271 section
	// 4.2). It bounds how long a node that lost its power draws traffic; with too short a time a busy
	// link flaps.
	HoldTime Duration `toml:"hold_time" default:"9s" min:"3s" max:"18h12m15s" step:"1s" change:"reload"`
	// PasswordFile is the file or credential with the password of TCP MD5 (RFC 2385). Empty: none.
	PasswordFile string `toml:"password_file" format:"secret" change:"reload"`
	// TTLSecurity refuses packets that came over more than `multihop` hops (GTSM, RFC 5082). Both sides
	// must agree, or the session does not come up.
	TTLSecurity bool `toml:"ttl_security" change:"reload"`
	// Communities lists what is put on each announcement: `"64500:100"` (RFC 1997), or a large one,
	// `"64500:1:2"` (RFC 8092). At most 64 of a kind.
	Communities []string `toml:"communities" format:"community" change:"reload"`
	// Port is the router's TCP port.
	Port uint16 `toml:"port" default:"179" min:"1" change:"reload"`
	// LocalAddress is the node's address that the session starts from, and the next hop of its own
	// family. None: the kernel chooses. It can't be a service address, where the answers could end at
	// another node.
	LocalAddress netip.Addr `toml:"local_address" change:"reload"`
	// Families lists what the router is offered. Each needs a next hop. Empty: every family that has
	// one.
	Families []string `toml:"families" oneof:"ipv4,ipv6" change:"reload"`
	// NextHop4 is the next hop of IPv4 prefixes. None: the session's own address, if that is IPv4.
	NextHop4 netip.Addr `toml:"next_hop4" change:"reload"`
	// NextHop6 is the next hop of IPv6 prefixes. None: the session's own address, if that is IPv6. It
	// must be a global or unique local address.
	NextHop6 netip.Addr `toml:"next_hop6" change:"reload"`
	// MED is the MULTI_EXIT_DISC (RFC 4271 section 5.1.4): of two ways into one autonomous system the
	// smaller one is used. None: none is sent, which is not the same as 0 everywhere.
	MED *uint32 `toml:"med" change:"reload"`
	// Prepend is how many times the own ASN is added to the path, which makes it less preferred. Only
	// for eBGP: a router of the own AS would take such a path for a loop.
	Prepend int `toml:"prepend" max:"20" change:"reload"`
	// Multihop is how many hops away an eBGP router may be. 1: directly connected.
	Multihop int `toml:"multihop" default:"1" min:"1" max:"255" change:"reload"`
	// ConnectRetry is the longest pause before the router is dialled again.
	ConnectRetry Duration `toml:"connect_retry" default:"5s" min:"100ms" max:"1h" change:"reload"`
}

// Drain says how long each step of a drain takes at most. A program that has to end runs the same
// steps, within node.shutdown_grace.
type Drain struct {
	// Graceful is how long the prefixes are announced with GRACEFUL_SHUTDOWN (RFC 8326): routers prefer
	// any other way, while what is on this one still arrives. 0: withdrawn at once, as by `anymx drain
	// --now`.
	Graceful Duration `toml:"graceful" default:"10s" max:"1h" change:"reload"`
	// Confirm is how long routers have to acknowledge the withdrawal. Then the drain goes on, and says
	// which routers did not.
	Confirm Duration `toml:"confirm" default:"5s" max:"10m" change:"reload"`
	// Converge is how long new connections are still served after the withdrawal, for networks that
	// have not heard of it. 0: they are answered with 421 at once.
	Converge Duration `toml:"converge" default:"5s" max:"1h" change:"reload"`
	// Sessions is how long sessions have to end after that. Then they are cut; what was not
	// acknowledged is sent again by its sender, to another node.
	Sessions Duration `toml:"sessions" default:"1m" max:"1d" change:"reload"`
	// Silence is how long a session may be silent in the middle of a transaction during that. When a
	// route goes, the packets of the clients that used it go elsewhere without notice, so without this
	// limit a drain under load takes all of `sessions`. 0: as long as in service.
	Silence Duration `toml:"silence" default:"10s" max:"1d" change:"reload"`
	// Flush is how long the spool has to be handed over to core. Then the node counts as drained with
	// messages left, says how many, and keeps attempting them.
	Flush Duration `toml:"flush" default:"5m" max:"30d" change:"reload"`
}

// Net is anymx-net, which holds addresses, rules, routes and the tunnel.
type Net struct {
	// Control is the unix socket of `anymx-net`.
	Control string `toml:"control" default:"/run/anymx/net.sock" missing:"the control socket needs a path" format:"socket" change:"restart"`
	// Metrics is the TCP address of its `/metrics`, `/healthz` and `/readyz`, without a password. Empty:
	// they are on the control socket alone.
	Metrics string `toml:"metrics" default:"127.0.0.1:9927" format:"listen" change:"restart"`
	// Repair is how often everything is compared with what the kernel has. What the kernel reports by
	// itself is repaired at once. An IPv6 address that another host has is attempted again as often.
	Repair Duration `toml:"repair" default:"30s" min:"100ms" max:"1h" change:"reload"`
}

// Egress is the way out to the world. Only its addresses are used yet: anymx-net sets them up.
type Egress struct {
	// Sources are the addresses that mail is sent from.
	Sources []EgressSource `toml:"source" change:"reload"`
}

// EgressSource is one address that mail is sent from.
type EgressSource struct {
	// Name is the name that pools and log lines use for it. No two sources may share one.
	Name string `toml:"name" missing:"give the source a name, such as \"a1\"" format:"name" change:"reload"`
	// Address is the address with the length of its network: `"198.51.100.10/24"`. It is outside of
	// `anycast.prefixes`, where answers could end at another node. An IPv4 address is put on the device
	// as a /32, with a route to its network beside it that any other route overrides.
	Address netip.Prefix `toml:"address" missing:"write an address and the length of its network, such as \"198.51.100.10/24\"" change:"reload"`
	// Interface is the device that the address is put on; not the tunnel.
	Interface string `toml:"interface" missing:"name the device that the address is put on, such as \"eth0\"" format:"interface" change:"reload"`
	// Gateway is the router that packets from `address` leave by, whatever the other routes say: inside
	// its network, or a link-local IPv6 address. When `interface` is down they don't leave, and mail
	// waits. None: they leave as the main table says.
	Gateway netip.Addr `toml:"gateway" change:"reload"`
}
