package config

// Core is the mail storage that accepted mail is handed over to.
type Core struct {
	// Protocol is the protocol that core speaks. LMTP gives a result for each recipient.
	Protocol string `toml:"protocol" default:"smtp" oneof:"smtp,lmtp" change:"reload"`
	// Addresses lists addresses and ports, attempted in order, each with its own health. With a
	// `[tunnel]`, each is an IP address inside the `allowed_ips` of a peer, because mail to core never
	// takes another way.
	Addresses []string `toml:"addresses" missing:"say where mail is handed over to, such as [\"10.77.0.1:2525\"]" format:"endpoint" change:"reload"`
	// MaxConnections is how many connections may be open to each address. More load a slow core
	// further.
	MaxConnections int `toml:"max_connections" default:"16" min:"1" max:"65535" change:"restart"`
	// MessagesPerConnection is how many messages go over one connection before it is closed.
	MessagesPerConnection int `toml:"messages_per_connection" default:"1000" min:"1" change:"reload"`
	// ConnectTimeout is the longest dial of one address before the next is attempted.
	ConnectTimeout Duration `toml:"connect_timeout" default:"10s" above:"0" max:"1d" change:"reload"`
	// CommandTimeout is the longest wait for the reply to a command; RFC 5321 asks for 5 minutes. Then
	// the message is attempted again. Greeting and TLS handshake may take a minute at most, so that an
	// address that hangs doesn't hold up the others. The message goes out together with its commands,
	// so too short a time makes duplicates.
	CommandTimeout Duration `toml:"command_timeout" default:"5m" above:"0" max:"1d" change:"reload"`
	// DataTimeout is the longest wait for the reply to a whole message, and the longest time in which
	// core reads none of it; RFC 5321 asks for 10 minutes. Too short a time makes duplicates: core may
	// have stored the message already.
	DataTimeout Duration `toml:"data_timeout" default:"10m" above:"0" max:"1d" change:"reload"`
	// IdleTimeout is how long an unused connection stays open. 0: it is closed at once.
	IdleTimeout Duration `toml:"idle_timeout" default:"1m" max:"1d" change:"reload"`
	// BackoffMax is the longest pause before an address that failed is attempted again.
	BackoffMax Duration `toml:"backoff_max" default:"30s" above:"0" max:"1d" change:"reload"`
	// EHLOInterval is how often each address is asked whether it takes SMTPUTF8 and 8BITMIME, where no
	// connection for mail has shown it since. What core takes decides what the node offers to senders.
	EHLOInterval Duration `toml:"ehlo_interval" default:"30s" min:"1s" max:"1d" change:"reload"`
	// StartTLS says when TLS is used. `"auto"`: where core offers it. `"require"`: mail waits for a
	// core that offers it. `"never"`: not even then.
	StartTLS string `toml:"starttls" default:"auto" oneof:"auto,require,never" change:"reload"`
	// XClient says whether core learns the sender's address. `"auto"`: by XCLIENT or XFORWARD, where
	// it offers one. `"never"`: it sees this node's.
	XClient string `toml:"xclient" default:"auto" oneof:"auto,never" change:"reload"`
}

// Spool limits what is stored and not yet delivered. Past a limit MAIL is answered with 452 4.3.1,
// and the message stays with its sender.
type Spool struct {
	// HighWater is the size of all messages together. 0: no limit but `disk_reserve`. Otherwise it is
	// at least `ingress.max_message_size`.
	HighWater Size `toml:"high_water" change:"restart"`
	// MaxMessages is how many messages the spool holds.
	MaxMessages int `toml:"max_messages" default:"1000000" min:"1" change:"restart"`
	// DiskReserve is the free space of the file system of `state_dir` below which nothing more is
	// taken. It is at least `ingress.max_message_size`; size it for the messages in transfer at once.
	DiskReserve Size `toml:"disk_reserve" default:"1GiB" above:"0" max:"1024TiB" change:"restart"`
	// InFlight is how much of the disk messages in transfer may take. Beyond, those that come most
	// slowly are cut: 421 4.3.1. 0: a half of `disk_reserve`, and at least `ingress.max_message_size`.
	InFlight Size `toml:"in_flight" max:"1024TiB" change:"restart"`
	// NetworkInFlight is how much of it those from one /24 or /64 may take. 0: an eighth of
	// `disk_reserve`, and at least `ingress.max_message_size`.
	NetworkInFlight Size `toml:"network_in_flight" max:"1024TiB" change:"restart"`
	// Memory is how much of the stored messages stays in memory too, for their first attempt. 0: each
	// is read back from the store.
	Memory Size `toml:"memory" default:"64MiB" max:"1TiB" change:"restart"`
	// InlineMax is the size of the largest message that lives in the storage engine; larger ones have
	// a file of their own. 0: all have one, which is as durable and much slower.
	InlineMax Size `toml:"inline_max" default:"128KiB" max:"4MiB" change:"restart"`
	// OrphansKeep is how long the files of large messages stay that a crash cut off before they were
	// acknowledged. They are in `state_dir`/spool/bodies/orphans; `anymx spool check` counts them.
	OrphansKeep Duration `toml:"orphans_keep" default:"7d" min:"1h" max:"365d" change:"restart"`
	// OrphansMax is the size of them all together: beyond it the oldest are removed first. Files that
	// may be acknowledged mail are never removed ([operations.md](operations.md#a-damaged-spool)).
	OrphansMax Size `toml:"orphans_max" default:"1GiB" above:"0" max:"1024TiB" change:"restart"`
}

// Queue says when delivery is attempted again, and when it is given up.
type Queue struct {
	// Retry lists the waits after the first, second, ... failed attempt; the last one repeats.
	Retry []Duration `toml:"retry" default:"30s,1m,2m,5m,10m,20m,30m,1h" missing:"needs at least one wait, such as [\"5m\"]; the last one repeats" above:"0" change:"restart"`
	// Jitter is the part of a wait by which it is made longer or shorter at random, so that mail which
	// failed together doesn't come back together. 0: none.
	Jitter float64 `toml:"jitter" default:"0.2" max:"0.5" change:"restart"`
	// Expire is the age at which a message is given up and its sender gets a failure notice. RFC 5321
	// section 4.5.4.1 asks for 4 to 5 days.
	Expire Duration `toml:"expire" default:"5d" above:"0" max:"365d" change:"restart"`
	// DelayNotice is the age at which a sender who asked for it (`NOTIFY=DELAY`) is told that the
	// message is still waiting. 0: never.
	DelayNotice Duration `toml:"delay_notice" default:"4h" max:"365d" change:"restart"`
	// ReturnFull is the size of the largest message that a failure notice returns whole to a sender who
	// asked for it (`RET=FULL`). Larger ones, those that are not 7-bit, and with 0 all, are returned as
	// headers.
	ReturnFull Size `toml:"return_full" default:"64KiB" max:"1MiB" change:"restart"`
}

// Log says what the programs write to their standard error.
type Log struct {
	// Level is the level of the least severe lines that the programs write on themselves. Lines on mail
	// are always written, and those on sessions as `sessions` says.
	Level string `toml:"level" default:"info" oneof:"debug,info,warn,error" change:"reload"`
	// Format is how lines are written: one for each event, to standard error.
	Format string `toml:"format" default:"logfmt" oneof:"logfmt,json" change:"restart"`
	// Sessions adds a line for each session to those for each mail.
	Sessions bool `toml:"sessions" default:"true" change:"reload"`
}

// Console is the prompt of `anymx console` on the machine's own screen and serial line.
type Console struct {
	// Mode says what whoever sits there may do. `"operate"`: what `anymx` can do without files; whoever
	// is at the console has the power button too. `"view"`: look, and change nothing. `"off"`: see the
	// banner alone.
	Mode string `toml:"mode" default:"operate" oneof:"operate,view,off" change:"reload"`
	// IdleTimeout is how long the prompt waits for a key before it returns to the banner.
	IdleTimeout Duration `toml:"idle_timeout" default:"15m" min:"10s" max:"1d" zero:"for ever" change:"reload"`
}

// The words of Console.Mode.
const (
	ConsoleOperate = "operate"
	ConsoleView    = "view"
	ConsoleOff     = "off"
)

// Mailstore is anymx-core, the embedded core: SMTP and LMTP in, Maildirs on disk. anymx-edge does
// not read it.
type Mailstore struct {
	// Listen lists the addresses and ports of SMTP. Whoever reaches them may deliver to any mailbox:
	// use the tunnel's address.
	Listen []string `toml:"listen" default:"127.0.0.1:2525" format:"listen" change:"restart"`
	// LMTPListen lists those of LMTP.
	LMTPListen []string `toml:"lmtp_listen" format:"listen" change:"restart"`
	// Directory is the directory of the Maildirs, below `mail/`, and of the ledger of what was stored.
	Directory string `toml:"directory" default:"/var/lib/anymx-core" missing:"the Maildirs need a directory" format:"path" change:"restart"`
	// MaxMessageSize is the size of the largest message stored.
	MaxMessageSize Size `toml:"max_message_size" default:"100MiB" above:"0" max:"1TiB" change:"restart"`
	// MaxRecipients is how many recipients a message may have. Beyond: 452 4.5.3.
	MaxRecipients int `toml:"max_recipients" default:"1000" min:"1" change:"restart"`
	// MaxConnections is how many connections may be open at once. Beyond: 421.
	MaxConnections int `toml:"max_connections" default:"500" min:"1" change:"restart"`
	// DiskReserve is the space on the file system of `directory` that stays free; below it MAIL gets
	// 452 4.3.1.
	DiskReserve Size `toml:"disk_reserve" default:"64MiB" above:"0" max:"1024TiB" change:"restart"`
	// Remember is how long the ledger knows which message of which node was stored, so that none is
	// stored twice. Days are counted as they pass, whatever the wall clock is set to. It must be longer
	// than `queue.expire` of every node.
	Remember Duration `toml:"remember" default:"30d" min:"1d" max:"3650d" change:"restart"`
}
