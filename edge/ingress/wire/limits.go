package wire

import (
	"crypto/tls"
	"net/netip"
	"time"

	"anymx/edge/ingress/own"
	"anymx/edge/mail"
)

// Limits bound what one client, and all of them, may take. A Listener's limits
// can be changed while it runs; a connection keeps those that it began with.
type Limits struct {
	MaxConnections   int           // open at once; 0: no limit
	MaxPerPrefix     int           // open at once from one /24 or /64; 0: no limit
	MaxCommands      int           // in one connection, then 421; 0: no limit
	MaxErrors        int           // replies of 5xx in one connection, then 421; 0: no limit
	MaxLine          int           // octets of a command line with its CRLF, up to 64 KiB; 0: 2048
	MaxTextLine      int           // octets of a line in a message with its CRLF; 0: no limit
	MaxMessage       int64         // octets; what a refused BDAT chunk may still send. 0: no limit
	CommandTimeout   time.Duration // silence before a command; 0: five minutes
	DataTimeout      time.Duration // silence within a message; 0: three minutes
	WriteTimeout     time.Duration // for our replies to be taken; 0: one minute
	HandshakeTimeout time.Duration // TLS; 0: thirty seconds
	SessionTimeout   time.Duration // a whole connection, looked at between commands; 0: no limit
	ProxyTimeout     time.Duration // for the PROXY header; 0: five seconds
	BannerDelay      time.Duration // silence that is asked for before the banner; 0: none
	MinRate          int64         // octets a second, averaged over a message; 0: no limit
	MinRateGrace     time.Duration // how long a message may be slower than MinRate at its start
	// DrainSilence is the longest silence within a transaction after clients were
	// told to go: with a route, the packets of whoever came by it are gone too,
	// and nobody says so. 0: the usual timeouts.
	DrainSilence time.Duration
	// ProxyFrom are the networks whose connections start with a PROXY header.
	ProxyFrom []netip.Prefix
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

// Settings is all that may change while a Listener runs.
type Settings struct {
	Limits Limits
	TLS    *tls.Config // nil: STARTTLS is not offered
	// Own knows the speaker's probes, which do not count for MaxPerPrefix; nil: there are none.
	Own *own.Connections
	// Hostname stands in replies that wire writes itself.
	Hostname string
	// Extensions are the keywords that go-smtp's EHLO reply does not have, each
	// with its parameters, such as "LIMITS RCPTMAX=100". STARTTLS is not one of
	// them.
	Extensions func(c *Conn) []string
	// Withheld, if set, is asked at each EHLO for the keywords of go-smtp that are not offered now.
	// The client may use them all the same.
	Withheld func() []string
	// Command, if set, sees each command before go-smtp does.
	Command func(c *Conn, cmd Command) Answer
	// Closed, if set, is told of each connection that was served, once, after
	// its last byte.
	Closed func(c *Conn)
}

// Command is one line as the client sent it, without its CRLF. Its bytes are
// valid until the next one is read.
type Command struct {
	Verb string // upper case
	Line []byte // the whole line
	Arg  []byte // what stands behind the verb, without the spaces around it
}

// Answer is what becomes of a Command. The zero Answer hands the line to
// go-smtp as it stands.
type Answer struct {
	// Reply, if set, answers the command here, and go-smtp never sees it.
	Reply mail.Reply
	// Line, if set, is handed to go-smtp in place of the client's line.
	Line string
}
