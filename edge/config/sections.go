package config

import (
	"net/netip"
	"time"
)

// The tag `restart:"true"` marks a key whose change needs a restart of the program that reads it;
// every other key applies on reload (see Config.NeedsRestart). The defaults stand in the
// setDefaults method below each struct. An empty list is nil, however it was written.

// Node says who this node is and where it keeps its state.
type Node struct {
	// Name is the node's own name: lower-case letters, digits and hyphens, at most 63. It marks
	// spool ids, log lines and metrics. No default: two nodes must never share one.
	Name string `toml:"name" restart:"true"`
	// Region is the part of the world that the node belongs to, written like Name. Empty, the
	// default: none, and rules that ask for a region pass this node over.
	Region string `toml:"region"`
	// Hostname stands in the banner, in EHLO and in Received. No default: senders check that it
	// resolves to the address they talk to.
	Hostname string `toml:"hostname"`
	// StateDir holds spool and drain state; absolute. Default /var/lib/anymx. It must be on stable
	// storage: what a 250 promised is in there.
	StateDir string `toml:"state_dir" restart:"true"`
	// Control is the unix socket of anymx-edge; absolute, at most 107 octets. Default
	// /run/anymx/edge.sock.
	Control string `toml:"control" restart:"true"`
	// Metrics is the TCP address of metrics, health and the status page. Default 127.0.0.1:9925;
	// empty: they are served on the control socket alone.
	Metrics string `toml:"metrics" restart:"true"`
	// ShutdownGrace is how long a program that was told to end waits for transactions in flight and
	// for the spool to be handed over. Default 20s; 0: it does not wait, and nothing is lost by that.
	ShutdownGrace Duration `toml:"shutdown_grace"`
}

func (n *Node) setDefaults() {
	*n = Node{
		StateDir: "/var/lib/anymx",
		Control:  "/run/anymx/edge.sock",
		Metrics:  "127.0.0.1:9925",

		ShutdownGrace: Duration(20 * time.Second),
	}
}

// Ingress is the public SMTP side: where it listens, what it accepts, how long it waits.
type Ingress struct {
	// Listen holds address:port pairs; an empty address or [::] takes IPv6 and IPv4. Default
	// [::]:25 and [::]:8025. Port 0 takes any free port, which only tests want.
	Listen []string `toml:"listen" restart:"true"`
	// MaxMessageSize is the largest message accepted, in octets as transferred, and what SIZE
	// announces. Default 35MiB. Larger: 552 5.3.4.
	MaxMessageSize Size `toml:"max_message_size"`
	// MaxConnections is how many connections are open at once, in all. Default 20000. Beyond: 421.
	MaxConnections int `toml:"max_connections"`
	// MaxConnectionsPerPrefix is how many of them one /24 (IPv4) or /64 (IPv6) has. Default 50.
	// Beyond: 421.
	MaxConnectionsPerPrefix int `toml:"max_connections_per_prefix"`
	// MaxRecipients is how many recipients one message has. Default 500. Beyond: 452 4.5.3, and the
	// sender delivers to the rest in another transaction. RFC 5321 4.5.3.1.8 asks for at least 100.
	MaxRecipients int `toml:"max_recipients"`
	// MaxErrors is how many commands of a session may be refused before 421. Default 10.
	MaxErrors int `toml:"max_errors"`
	// MaxRefusedRecipients is how many recipients of a session may be refused before 421, which ends
	// the guessing of addresses. Default 20.
	MaxRefusedRecipients int `toml:"max_refused_recipients"`
	// RefusedDelay is how much longer each refused recipient of a session after its third is kept
	// waiting for the answer, up to five times it. Default 1s; 0: no delay.
	RefusedDelay Duration `toml:"refused_delay"`
	// MaxCommands is how many commands a session has before 421. Default 10000.
	MaxCommands int `toml:"max_commands"`
	// MaxMessagesPerConnection is how many messages a session delivers before 421. Default 1000.
	MaxMessagesPerConnection int `toml:"max_messages_per_connection"`
	// MaxReceived is how many Received fields a message may carry; one with more is in a loop (RFC
	// 5321 6.3). Default 100. Beyond: 554 5.4.6.
	MaxReceived int `toml:"max_received"`
	// MaxLine is the longest command line, in octets with CRLF. Default 2048; RFC 5321 4.5.3.1.4
	// asks for at least 512. Longer: 500 5.5.2.
	MaxLine int `toml:"max_line"`
	// MaxTextLine is the longest line of a message, in octets with CRLF. Default 10000: the 1000 of
	// RFC 5321 4.5.3.1.6 would refuse real mail. Longer: 554, and the connection ends.
	MaxTextLine int `toml:"max_text_line"`

	// CommandTimeout is how long a session may be silent between commands. Default 5m (RFC 5321
	// 4.5.3.2.7). Then 421.
	CommandTimeout Duration `toml:"command_timeout"`
	// DataTimeout is the longest silence inside a message. Default 3m (RFC 5321 4.5.3.2.5). Then the
	// connection ends and nothing of the message is kept.
	DataTimeout Duration `toml:"data_timeout"`
	// WriteTimeout is how long a client may take none of its replies. Default 1m. Then the connection
	// ends.
	WriteTimeout Duration `toml:"write_timeout"`
	// HandshakeTimeout is how long a TLS handshake takes at most. Default 30s.
	HandshakeTimeout Duration `toml:"handshake_timeout"`
	// ProxyTimeout is how long a connection from ProxyProtocolFrom may wait with its PROXY header.
	// Default 5s.
	ProxyTimeout Duration `toml:"proxy_timeout"`
	// SessionTimeout is the longest that a session lasts in all. Default 1h. Then 421 at the next
	// command; a message in transfer is cut.
	SessionTimeout Duration `toml:"session_timeout"`
	// BannerDelay is how long the banner waits for a client that talks too early. Default 0: no
	// wait; even then, a client whose octets came before the banner is refused.
	BannerDelay Duration `toml:"banner_delay"`
	// MinRate is the slowest transfer of a message, in octets a second, averaged from its start and
	// demanded after MinRateGrace. Default 512; 0: none. Slower: the connection ends.
	MinRate Size `toml:"min_rate"`
	// MinRateGrace is how long after the start of a message MinRate is not yet demanded. Default 30s.
	MinRateGrace Duration `toml:"min_rate_grace"`

	// ProxyProtocolFrom holds the networks whose connections must start with a PROXY header, version
	// 1 or 2; its client address is believed. Default: none.
	ProxyProtocolFrom []netip.Prefix `toml:"proxy_protocol_from"`
	// TLSCert is the certificate chain in PEM; absolute. Empty, the default, together with TLSKey:
	// no STARTTLS. The file is read again when it changes.
	TLSCert string `toml:"tls_cert"`
	// TLSKey is the key that belongs to TLSCert.
	TLSKey string `toml:"tls_key"`
	// TLSMinVersion is the oldest TLS version spoken: "1.2", the default, or "1.3".
	TLSMinVersion string `toml:"tls_min_version"`
	// StartTLSRequired refuses MAIL without TLS: 530 5.7.0. Default false; RFC 3207 4 forbids true on
	// a host that the public delivers to.
	StartTLSRequired bool `toml:"starttls_required"`
	// SenderRouting is what happens to addresses by which core may send mail on to another host, such
	// as "victim%gmail.com@example.net": SenderRoutingRefuse, the default, or SenderRoutingAllow, which
	// makes an open relay of a core that acts on them and trusts the edge.
	SenderRouting string `toml:"sender_routing"`
}

// The words of Ingress.SenderRouting.
const (
	SenderRoutingRefuse = "refuse"
	SenderRoutingAllow  = "allow"
)

func (i *Ingress) setDefaults() {
	*i = Ingress{
		Listen:                   []string{"[::]:25", "[::]:8025"},
		MaxMessageSize:           35 * MiB,
		MaxConnections:           20000,
		MaxConnectionsPerPrefix:  50,
		MaxRecipients:            500,
		MaxErrors:                10,
		MaxRefusedRecipients:     20,
		RefusedDelay:             Duration(time.Second),
		MaxCommands:              10000,
		MaxMessagesPerConnection: 1000,
		MaxReceived:              100,
		MaxLine:                  2048,
		MaxTextLine:              10000,
		CommandTimeout:           Duration(5 * time.Minute),
		DataTimeout:              Duration(3 * time.Minute),
		WriteTimeout:             Duration(time.Minute),
		HandshakeTimeout:         Duration(30 * time.Second),
		ProxyTimeout:             Duration(5 * time.Second),
		SessionTimeout:           Duration(time.Hour),
		MinRate:                  512,
		MinRateGrace:             Duration(30 * time.Second),
		TLSMinVersion:            "1.2",
		SenderRouting:            SenderRoutingRefuse,
	}
}

// Domain is a domain whose mail is accepted.
type Domain struct {
	// Name is the domain in ASCII, lower-case once parsed. "*.example.net" stands for every name
	// below example.net and not for example.net itself. No default.
	Name string `toml:"name"`
	// Recipients is "any", the default: core decides; or "file:" and the absolute path of a list of
	// recipients: 550 5.1.1 for the rest. The file is read again when it changes.
	Recipients string `toml:"recipients"`
}

func (d *Domain) setDefaults() { *d = Domain{Recipients: RecipientsAny} }

// The forms of Domain.Recipients.
const (
	RecipientsAny  = "any"
	RecipientsFile = "file:" // followed by the absolute path
)

// Core is the mail storage that accepted mail is handed over to.
type Core struct {
	// Protocol is "smtp", the default, or "lmtp" (RFC 2033: a result for each recipient).
	Protocol string `toml:"protocol"`
	// Addresses holds address:port pairs, tried in order, each with its own health. No default. With
	// a tunnel each must be an IP address inside the allowed_ips of a peer.
	Addresses []string `toml:"addresses"`
	// MaxConnections is how many connections are open at once to each address. Default 16.
	MaxConnections int `toml:"max_connections" restart:"true"`
	// MessagesPerConnection is how many messages go over one connection. Default 1000.
	MessagesPerConnection int `toml:"messages_per_connection"`
	// ConnectTimeout is how long dialling one address takes at most. Default 10s.
	ConnectTimeout Duration `toml:"connect_timeout"`
	// CommandTimeout is how long a reply to a command may take. Default 5m (RFC 5321 4.5.3.2). Then
	// the message is attempted again. Greeting and TLS handshake may take a minute at most, so that
	// an address that hangs does not hold up the others.
	CommandTimeout Duration `toml:"command_timeout"`
	// DataTimeout is how long the reply to a whole message may take, and the longest time that core
	// reads none of it. Default 10m (RFC 5321 4.5.3.2.6). Too short a time makes duplicates: core may
	// have stored it.
	DataTimeout Duration `toml:"data_timeout"`
	// IdleTimeout is how long an unused connection is kept. Default 60s; 0: it is closed at once.
	IdleTimeout Duration `toml:"idle_timeout"`
	// BackoffMax is the longest pause before an address that failed is tried again. Default 30s.
	BackoffMax Duration `toml:"backoff_max"`
	// EHLOInterval is how often each address is asked what it takes (SMTPUTF8, 8BITMIME), where no
	// connection for mail has said it since. Default 30s.
	EHLOInterval Duration `toml:"ehlo_interval"`
	// StartTLS is "auto", the default: TLS where core offers it; "require": mail waits for a core
	// that does; or "never".
	StartTLS string `toml:"starttls"`
	// XClient is "auto", the default: the sender's address is told by XCLIENT or XFORWARD where core
	// offers it; or "never".
	XClient string `toml:"xclient"`
}

func (c *Core) setDefaults() {
	*c = Core{
		Protocol:              "smtp",
		MaxConnections:        16,
		MessagesPerConnection: 1000,
		ConnectTimeout:        Duration(10 * time.Second),
		CommandTimeout:        Duration(5 * time.Minute),
		DataTimeout:           Duration(10 * time.Minute),
		IdleTimeout:           Duration(time.Minute),
		BackoffMax:            Duration(30 * time.Second),
		EHLOInterval:          Duration(30 * time.Second),
		StartTLS:              "auto",
		XClient:               "auto",
	}
}

// Spool limits what is stored and not yet delivered. Past a limit, MAIL is answered by 452 4.3.1
// and the message stays with its sender.
type Spool struct {
	// HighWater is how many octets all messages in the spool have together. Default 0: no limit
	// besides DiskReserve.
	HighWater Size `toml:"high_water" restart:"true"`
	// MaxMessages is how many messages the spool holds. Default 1000000.
	MaxMessages int `toml:"max_messages" restart:"true"`
	// DiskReserve is how many octets must stay free on the file system of StateDir. Default 1GiB;
	// at least max_message_size, so that a message in transfer still fits.
	DiskReserve Size `toml:"disk_reserve" restart:"true"`
	// Memory is how many octets of stored messages are kept in memory as well, for their first try.
	// Default 64MiB; 0: every message is read back from the store.
	Memory Size `toml:"memory" restart:"true"`
	// InlineMax is the largest message that lives in the storage engine; a larger one has a file of
	// its own. Default 128KiB; 0: every message has one, which is durable and slow. At most 4MiB.
	InlineMax Size `toml:"inline_max" restart:"true"`
	// OrphansKeep is how long body files of messages are kept that a crash cut off before they were
	// acknowledged. Default 7d.
	OrphansKeep Duration `toml:"orphans_keep" restart:"true"`
	// OrphansMax is how many bytes of them are kept, the newest first. Default 1GiB.
	OrphansMax Size `toml:"orphans_max" restart:"true"`
}

func (s *Spool) setDefaults() {
	*s = Spool{
		MaxMessages: 1000000,
		DiskReserve: GiB,
		Memory:      64 * MiB,
		InlineMax:   128 * KiB,
		OrphansKeep: Duration(7 * 24 * time.Hour),
		OrphansMax:  GiB,
	}
}

// Queue says when delivery is tried again, and when it is given up.
type Queue struct {
	// Retry holds the waits after the first, second, ... failed try; the last one repeats. Default
	// 30s, 1m, 2m, 5m, 10m, 20m, 30m, 1h.
	Retry []Duration `toml:"retry" restart:"true"`
	// Jitter is the part of a wait by which it is made longer or shorter at random, 0 to 0.5, so that
	// mail which failed together does not come back together. Default 0.2; 0: none.
	Jitter float64 `toml:"jitter" restart:"true"`
	// Expire is how long after its arrival a message is given up: its sender gets a failure notice.
	// Default 5d (RFC 5321 4.5.4.1 asks for 4 to 5 days).
	Expire Duration `toml:"expire" restart:"true"`
	// DelayNotice is when a sender who asked for it (NOTIFY=DELAY, RFC 3461) is told that the
	// message still waits. Default 4h; 0: never.
	DelayNotice Duration `toml:"delay_notice" restart:"true"`
	// ReturnFull is the largest message that a failure notice returns whole to a sender who asked for
	// that (RET=FULL, RFC 3461). Default 64KiB; larger ones, and with 0 all, are returned as headers.
	ReturnFull Size `toml:"return_full" restart:"true"`
}

func (q *Queue) setDefaults() {
	minutes := func(n float64) Duration { return Duration(n * float64(time.Minute)) }
	*q = Queue{
		Retry: []Duration{
			minutes(0.5), minutes(1), minutes(2), minutes(5), minutes(10), minutes(20), minutes(30), minutes(60),
		},
		Jitter:      0.2,
		Expire:      5 * Day,
		DelayNotice: minutes(4 * 60),
		ReturnFull:  64 * KiB,
	}
}

// Log says what the programs write to their standard error.
type Log struct {
	// Level is the least severe level written: "debug", "info", the default, "warn" or "error". Lines
	// on mail and sessions are "info".
	Level string `toml:"level"`
	// Format is "logfmt", the default, or "json".
	Format string `toml:"format" restart:"true"`
	// Sessions writes a line for each session besides those for each mail. Default true.
	Sessions bool `toml:"sessions"`
}

func (l *Log) setDefaults() {
	*l = Log{Level: "info", Format: "logfmt", Sessions: true}
}

// Console is the prompt of `anymx console` on the machine's own screen and serial line.
type Console struct {
	// Mode is what the prompt lets whoever sits there do: ConsoleOperate, the default, which is what
	// `anymx` can do without files; ConsoleView, look and change nothing; or ConsoleOff, see the
	// banner alone.
	Mode string `toml:"mode"`
	// IdleTimeout is how long the prompt waits for a key before it goes back to the banner, 10s to
	// 1d. Default 15m; 0: for ever.
	IdleTimeout Duration `toml:"idle_timeout"`
}

func (c *Console) setDefaults() {
	*c = Console{Mode: ConsoleOperate, IdleTimeout: Duration(15 * time.Minute)}
}

// The words of Console.Mode.
const (
	ConsoleOperate = "operate"
	ConsoleView    = "view"
	ConsoleOff     = "off"
)

// Mailstore is anymx-core, the embedded core: SMTP and LMTP in, Maildirs on disk. anymx-edge does
// not look at it.
type Mailstore struct {
	// Listen holds the address:port pairs of SMTP. Default 127.0.0.1:2525. Whoever reaches them may
	// deliver to any mailbox: they belong on the tunnel's address.
	Listen []string `toml:"listen" restart:"true"`
	// LMTPListen holds those of LMTP. Default: none.
	LMTPListen []string `toml:"lmtp_listen" restart:"true"`
	// Directory holds the Maildirs, below mail/, and the ledger of what was stored. Absolute. Default
	// /var/lib/anymx-core.
	Directory string `toml:"directory" restart:"true"`
	// MaxMessageSize is the largest message stored. Default 100MiB.
	MaxMessageSize Size `toml:"max_message_size" restart:"true"`
	// MaxRecipients is how many recipients one message has. Default 1000. Beyond: 452.
	MaxRecipients int `toml:"max_recipients" restart:"true"`
	// MaxConnections is how many connections are open at once. Default 500. Beyond: 421.
	MaxConnections int `toml:"max_connections" restart:"true"`
	// DiskReserve is how many octets must stay free on the file system of Directory. Default 64MiB.
	DiskReserve Size `toml:"disk_reserve" restart:"true"`
	// Remember is how long the ledger knows which message of which node was stored, so that it is not
	// stored twice. Default 30d; it must be longer than queue.expire of every node.
	Remember Duration `toml:"remember" restart:"true"`
}

func (m *Mailstore) setDefaults() {
	*m = Mailstore{
		Listen:         []string{"127.0.0.1:2525"},
		Directory:      "/var/lib/anymx-core",
		MaxMessageSize: 100 * MiB,
		MaxRecipients:  1000,
		MaxConnections: 500,
		DiskReserve:    64 * MiB,
		Remember:       30 * Day,
	}
}
