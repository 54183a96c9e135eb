package config

import "net/netip"

// Node says who this node is and where it keeps its state.
type Node struct {
	// Name is this node's own name. It marks spool ids, log lines and metrics, so no two nodes may
	// share one.
	Name string `toml:"name" missing:"give this node a name of its own, such as \"ams1\"" format:"name" change:"restart"`
	// Region is the part of the world that the node belongs to, for the status and for rules that ask
	// for a region. Empty: none.
	Region string `toml:"region" format:"name" change:"reload"`
	// Hostname is the name in the banner, in EHLO and in `Received:`. Senders check that it resolves
	// to the address that they talk to, and back.
	Hostname string `toml:"hostname" missing:"name the host as senders know it, such as \"mx.example.net\"" format:"hostname" change:"reload"`
	// StateDir is the directory of the spool and the drain state. It must be on stable storage: it
	// holds what a 250 promised.
	StateDir string `toml:"state_dir" default:"/var/lib/anymx" missing:"the spool needs a directory" format:"path" change:"restart"`
	// Control is the unix socket of `anymx-edge`. Whoever can open it can manage the queue.
	Control string `toml:"control" default:"/run/anymx/edge.sock" missing:"the control socket needs a path" format:"socket" change:"restart"`
	// ShutdownGrace is how long a program that has to end waits for transactions in flight and for
	// the spool to be handed over. 0: it doesn't wait, and nothing is lost by that.
	ShutdownGrace Duration `toml:"shutdown_grace" default:"20s" max:"1h" change:"reload"`
	// Metrics is the TCP address of `/metrics`, `/healthz`, `/readyz` and the status page. It asks for
	// no password: keep it off public addresses. Empty: they are on the control socket alone.
	Metrics string `toml:"metrics" default:"127.0.0.1:9925" format:"listen" change:"restart"`
}

// Ingress is the public SMTP side: where it listens, what it accepts, how long it waits.
type Ingress struct {
	// Listen lists addresses and ports. `[::]`, or nothing before the colon, takes IPv6 and IPv4, and
	// no other address can use the same port then. Port 0 is any free port, for tests. Of the sockets
	// that systemd passes in, those listed here are used and others are closed; the program opens the
	// rest itself. On the appliance, systemd opens what is listed here.
	Listen []string `toml:"listen" default:"[::]:25,[::]:8025" missing:"needs at least one address, such as \"[::]:25\"" format:"listen" change:"restart"`
	// MaxMessageSize is the size of the largest message, as transferred; SIZE announces it. Larger:
	// 552 5.3.4.
	MaxMessageSize Size `toml:"max_message_size" default:"35MiB" above:"0" max:"1TiB" change:"reload"`
	// MaxConnections is how many connections may be open in all. Beyond: 421.
	MaxConnections int `toml:"max_connections" default:"20000" min:"1" change:"reload"`
	// MaxConnectionsPerPrefix is how many connections may be open from one /24 or /64. Beyond: 421.
	// Where a balancer uses the PROXY protocol, the clients' own addresses count.
	MaxConnectionsPerPrefix int `toml:"max_connections_per_prefix" default:"50" min:"1" change:"reload"`
	// MaxConnectionsShare is how many percent of `max_connections` may be open from one /16 or /32; a /48
	// may have half of that, a /56 a quarter, and none less than `max_connections_per_prefix`. Beyond:
	// 421. With the default, four networks as large as a provider's can't take all places.
	MaxConnectionsShare int `toml:"max_connections_share" default:"25" min:"1" max:"100" change:"reload"`
	// ReservedConnections is how many percent of `max_connections` are kept for clients from a /24 or /64
	// that has delivered a message since the start, at most 30 days ago.
	ReservedConnections int `toml:"reserved_connections" default:"5" max:"50" change:"reload"`
	// Crowded is from how many percent of `max_connections` on silent clients are waited for only
	// `crowded_timeout`. When nearly all places are taken, those that have been silent longest are told
	// to go with 421, beginning in the network that has most connections. 0: never.
	Crowded int `toml:"crowded" default:"80" max:"100" change:"reload"`
	// CrowdedTimeout is the longest silence while there is a crowd, between commands and in a message.
	CrowdedTimeout Duration `toml:"crowded_timeout" default:"10s" above:"0" max:"1h" change:"reload"`
	// MaxRecipients is how many recipients a message may have. Beyond: 452 4.5.3, and the sender
	// delivers to the rest in another transaction. RFC 5321 asks for at least 100.
	MaxRecipients int `toml:"max_recipients" default:"500" min:"1" change:"reload"`
	// MaxEnvelope is how much memory the addresses and parameters of a transaction may take, with an
	// estimate of what the program needs to keep them. Beyond: 452 4.5.3. 100 recipients of the longest
	// kind need 140 KiB.
	MaxEnvelope Size `toml:"max_envelope" default:"256KiB" min:"16KiB" max:"64MiB" change:"reload"`
	// MaxMemory is how much memory all transactions may take: addresses, headers, and messages in
	// transfer. Beyond: 452 4.3.1. From a half on, messages go to files sooner; from three quarters on,
	// large transactions are refused with 452 4.5.3. 0: a quarter of what the memory cgroup allows, or
	// of the machine's memory.
	MaxMemory Size `toml:"max_memory" max:"1TiB" change:"restart"`
	// MaxErrors is how many commands of a session may be refused before 421.
	MaxErrors int `toml:"max_errors" default:"10" min:"1" change:"reload"`
	// MaxRefusedRecipients is how many recipients of a session may be refused before 421, which ends
	// the guessing of addresses.
	MaxRefusedRecipients int `toml:"max_refused_recipients" default:"20" min:"1" change:"reload"`
	// RefusedDelay is how much longer each refused recipient of a session after its third waits for
	// the reply, up to five times this. 0: no delay.
	RefusedDelay Duration `toml:"refused_delay" default:"1s" max:"30s" change:"reload"`
	// MaxCommands is how many commands a session may send before 421.
	MaxCommands int `toml:"max_commands" default:"10000" min:"1" change:"reload"`
	// MaxMessagesPerConnection is how many messages a session may deliver before 421.
	MaxMessagesPerConnection int `toml:"max_messages_per_connection" default:"1000" min:"1" change:"reload"`
	// MaxReceived is how many `Received:` fields a message may have. More means a loop: 554 5.4.6.
	MaxReceived int `toml:"max_received" default:"100" min:"1" change:"reload"`
	// MaxHeaderSize is the size of the largest header of a message. Larger: 552 5.3.4.
	MaxHeaderSize Size `toml:"max_header_size" default:"256KiB" min:"16KiB" max:"1MiB" change:"reload"`
	// MaxHeaderFields is how many fields the header of a message may have. More: 552 5.3.4.
	MaxHeaderFields int `toml:"max_header_fields" default:"2000" min:"100" max:"10000" change:"reload"`
	// MaxLine is the length of the longest command line in bytes, with CRLF. Longer: 500 5.5.2. RFC
	// 5321 section 4.5.3.1.4 asks for at least 512.
	MaxLine int `toml:"max_line" default:"2048" min:"512" max:"65536" change:"reload"`
	// MaxTextLine is the length of the longest line of a message in bytes, with CRLF. Longer: 554, and
	// in `DATA` the connection ends. The 1000 of RFC 5321 section 4.5.3.1.6 would refuse real mail.
	MaxTextLine int `toml:"max_text_line" default:"10000" min:"1000" max:"1048576" change:"reload"`

	// BareLF says what happens to a line of a message that ends with LF alone, in `BDAT`, where the
	// sender has said how long the message is. `"reject"`: 554 5.6.0, and the session goes on.
	// `"normalize"`: the line gets its CRLF, which breaks the signatures of a sender that signed it with
	// LF. In `DATA` such a line always ends the connection: what follows it may be commands.
	BareLF string `toml:"bare_lf" default:"reject" oneof:"reject,normalize" change:"reload"`
	// Chunking offers `BDAT`. `false`: it is refused with 502, for senders that use it wrongly and use
	// `DATA` well.
	Chunking bool `toml:"chunking" default:"true" change:"reload"`

	// CommandTimeout is the longest silence between commands. Then 421. RFC 5321 asks for at least 5
	// minutes.
	CommandTimeout Duration `toml:"command_timeout" default:"5m" above:"0" max:"1d" change:"reload"`
	// DataTimeout is the longest silence inside a message. Then the connection ends, and nothing of
	// the message is stored.
	DataTimeout Duration `toml:"data_timeout" default:"3m" above:"0" max:"1d" change:"reload"`
	// WriteTimeout is how long a client may read none of its replies. Then the connection ends.
	WriteTimeout Duration `toml:"write_timeout" default:"1m" above:"0" max:"1d" change:"reload"`
	// HandshakeTimeout is the longest TLS handshake.
	HandshakeTimeout Duration `toml:"handshake_timeout" default:"30s" above:"0" max:"1d" change:"reload"`
	// ProxyTimeout is the longest wait for a PROXY header from the networks of `proxy_protocol_from`.
	ProxyTimeout Duration `toml:"proxy_timeout" default:"5s" above:"0" max:"1d" change:"reload"`
	// SessionTimeout is the longest session in all. Then 421 at the next command; a message in transfer
	// is cut. With the default size, the largest message needs some 10 KB a second.
	SessionTimeout Duration `toml:"session_timeout" default:"1h" above:"0" max:"30d" change:"reload"`
	// BannerDelay is how long the banner waits for clients that talk too early, which get 554 5.5.1. 0: no
	// wait.
	BannerDelay Duration `toml:"banner_delay" max:"5m" change:"reload"`
	// MinRate is the slowest transfer of a message in bytes a second, over its last minute. Slower:
	// the connection ends. 0: no such limit, and slow senders can hold all connections.
	MinRate Size `toml:"min_rate" default:"512" max:"1TiB" change:"reload"`
	// MinRateGrace is how long after the start of a message `min_rate` is not enforced.
	MinRateGrace Duration `toml:"min_rate_grace" default:"30s" max:"1d" change:"reload"`

	// ProxyProtocolFrom lists networks whose connections must start with a PROXY header (v1 or v2).
	// The client address in it is believed: list your balancers only.
	ProxyProtocolFrom []netip.Prefix `toml:"proxy_protocol_from" format:"network" change:"reload"`
	// TLSCert is the file of the certificate chain in PEM. Empty, together with `tls_key`: no STARTTLS.
	// A changed file is read again. While it is missing or broken, the certificate before it stays in
	// use, even an expired one; if there was none, STARTTLS is not offered, and where
	// `starttls_required` asks for it `MAIL` is deferred with 451 4.7.0.
	TLSCert string `toml:"tls_cert" format:"path" change:"reload"`
	// TLSKey is the file of the private key of `tls_cert`, in PEM.
	TLSKey string `toml:"tls_key" format:"path" change:"reload"`
	// TLSMinVersion is the oldest TLS version. With `"1.3"` many senders fall back to plain text.
	TLSMinVersion string `toml:"tls_min_version" default:"1.2" oneof:"1.2,1.3" change:"reload"`
	// StartTLSRequired refuses `MAIL` without TLS: 530 5.7.0. RFC 3207 forbids it on hosts that the
	// public delivers to: mail from senders without TLS is lost.
	StartTLSRequired bool `toml:"starttls_required" change:"reload"`
	// SenderRouting says what happens to addresses by which core may send mail on to another host, or
	// run a program: see [Sender-specified routing](#sender-specified-routing). `"refuse"`: recipients
	// get 550 5.1.3, senders 550 5.1.7. `"allow"`: they are accepted and handed over, which makes an
	// open relay of a core that acts on them and trusts the edge. The log warns of it at each start and
	// reload.
	SenderRouting string `toml:"sender_routing" default:"refuse" oneof:"refuse,allow" change:"reload"`
}

// The words of Ingress.BareLF.
const (
	BareLFReject    = "reject"
	BareLFNormalize = "normalize"
)

// The words of Ingress.SenderRouting.
const (
	SenderRoutingRefuse = "refuse"
	SenderRoutingAllow  = "allow"
)

// Domain is a domain whose mail is accepted.
type Domain struct {
	// Name is the domain. `"*.example.net"` is every name below `example.net`, without `example.net`
	// itself; `*` is allowed nowhere else.
	Name string `toml:"name" missing:"name the domain, such as \"example.net\" or \"*.example.net\"" format:"domain" change:"reload"`
	// Recipients says which recipients exist. `"any"`: every recipient is accepted and core decides, so
	// mail to unknown ones bounces later. `"file:/path"`: those listed in the file; others get 550
	// 5.1.1 at once. The file may be up to 256 MiB, and is read again when it changes. While it is missing
	// or broken, the list before it stays in force; if there was none, mail for the domain is deferred
	// with 451 4.3.0. Other domains are not affected.
	Recipients string `toml:"recipients" default:"any" missing:"write \"any\" or \"file:/path/of/a/list\"" format:"recipients" change:"reload"`
	// Core is the name of the core group, `[core.NAME]`, that mail for the domain is handed over to.
	// Empty: `[core]`. A change holds for mail that is accepted after it.
	Core string `toml:"core" format:"name" change:"reload"`
}

// The forms of Domain.Recipients.
const (
	RecipientsAny  = "any"
	RecipientsFile = "file:" // followed by the absolute path
)
