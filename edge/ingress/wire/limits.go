package wire

import (
	"crypto/tls"
	"net/netip"
	"time"

	"anymx/edge/ingress/own"
	"anymx/edge/mail"
)

// Limits bound what one client, and all of them, may take. Those of a Registry can be changed while it
// serves; a connection keeps those that it began with.
type Limits struct {
	MaxConnections   int           // open at once; 0: no limit
	MaxPerPrefix     int           // open at once from one /24 or /64; 0: no limit
	MaxShare         int           // percent of MaxConnections for one /16 or /32, half of it for a /48, a quarter for a /56; 0: no limit
	Reserved         int           // percent of MaxConnections for networks that have delivered before
	Crowded          int           // percent of MaxConnections from which CrowdedTimeout counts, and idle connections are evicted; 0: never
	CrowdedTimeout   time.Duration // silence, then; 0: ten seconds
	MaxLine          int           // bytes of a command line with its CRLF, up to 64 KiB; 0: 2048
	MaxTextLine      int           // bytes of a line in a message with its CRLF; 0: no limit
	NormalizeLF      bool          // a bare LF in BDAT becomes CRLF; it is a fault otherwise
	MaxMessage       int64         // bytes that are still read of a message that was refused, before the connection is closed; 0: no limit
	CommandTimeout   time.Duration // silence before a command; 0: five minutes
	DataTimeout      time.Duration // silence within a message; 0: three minutes
	WriteTimeout     time.Duration // for our replies to be taken; 0: one minute
	HandshakeTimeout time.Duration // TLS; 0: thirty seconds
	SessionTimeout   time.Duration // a whole connection, also within a message; 0: no limit
	ProxyTimeout     time.Duration // for the PROXY header; 0: five seconds
	BannerDelay      time.Duration // silence that is asked for before the banner; 0: none
	MinRate          int64         // bytes a second, over the last minute of a message; 0: no limit
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

// Settings is all that may change while a registry serves.
type Settings struct {
	Limits Limits
	TLS    *tls.Config // nil: there is no StartTLS
	// Own knows the speaker's probes, which do not count for MaxPerPrefix; nil: there are none.
	Own *own.Connections
	// Full and NetworkFull are said to clients that are over a cap.
	Full, NetworkFull mail.Reply
}
