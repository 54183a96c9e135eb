package handoff

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"anymx/edge/delivery/smtpc"
	"anymx/edge/statefile"
)

// Options say where core is and how to talk to it.
type Options struct {
	Addresses []string // "host:port", tried in this order; one at least
	LMTP      bool
	Hello     string // our name in EHLO; required
	Node      string // our node's name, as core is told it with each spool id

	TLSMode smtpc.TLSMode // TLSAuto: taken where offered
	TLS     *tls.Config   // nil: the zero Config
	// PrivateLink says that core is behind a tunnel or on this host, which does
	// for mail that requires TLS (RFC 8689) what verified TLS does.
	PrivateLink bool
	// Anonymous keeps the client's address from core: neither XFORWARD nor
	// XCLIENT is said.
	Anonymous bool

	MaxConnections        int           // to each address; 0 means 16
	MessagesPerConnection int           // 0 means 1000
	IdleTimeout           time.Duration // how long an unused connection is kept; 0: it is closed at once
	ConnectTimeout        time.Duration // 0 means 10s
	CommandTimeout        time.Duration // for each reply; 0 means 5m. For greeting and TLS handshake at most openingMost
	// DataTimeout is for the reply to a whole message, and the longest time
	// that core reads none of it. 0 means 10m (RFC 5321 section 4.5.3.2.6). Too
	// short a time makes duplicates.
	DataTimeout time.Duration
	BackoffMax  time.Duration // longest pause of an address that failed; 0 means 30s
	// EHLOInterval is how long it is believed what an address last said to take
	// before Learn asks again. 0 means 30s.
	EHLOInterval time.Duration
	// Learned is where what each address takes is kept over a restart; "": nowhere.
	Learned statefile.File

	Dial    func(ctx context.Context, network, addr string) (net.Conn, error) // nil: a net.Dialer
	Rand    func() float64                                                    // of [0, 1), safe for many goroutines; nil: math/rand/v2
	Log     *slog.Logger                                                      // nil: none
	Metrics prometheus.Registerer                                             // nil: none
}

// settings are the Options that a Reload can change, with their defaults.
type settings struct {
	client      smtpc.Options
	connections int
	messages    int
	idle        time.Duration
	backoffMax  time.Duration
	ehlo        time.Duration
}

// openingMost bounds the wait for greeting and TLS handshake. RFC 5321 section 4.5.3.2.1 asks for
// five minutes; here nothing of a message is out yet, and another address of core may take it.
const openingMost = time.Minute

// settings checks o and puts defaults in place.
func (o *Options) settings() (*settings, error) {
	if len(o.Addresses) == 0 || o.Hello == "" {
		return nil, errors.New("hand-off: addresses or hello name are missing")
	}
	for i, addr := range o.Addresses {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return nil, fmt.Errorf("hand-off: address %d: %w", i+1, err)
		}
	}
	s := &settings{
		connections: or(o.MaxConnections, 16),
		messages:    or(o.MessagesPerConnection, 1000),
		idle:        o.IdleTimeout,
		backoffMax:  or(o.BackoffMax, 30*time.Second),
		ehlo:        or(o.EHLOInterval, 30*time.Second),
	}
	command, data := or(o.CommandTimeout, 5*time.Minute), or(o.DataTimeout, 10*time.Minute)
	opening := min(command, openingMost)
	s.client = smtpc.Options{
		LMTP: o.LMTP, Hello: o.Hello,
		TLSMode: o.TLSMode, TLS: o.TLS, PrivateLink: o.PrivateLink,
		XForward: !o.Anonymous, XClient: !o.Anonymous, Node: o.Node,
		Timeouts: smtpc.Timeouts{
			Connect: or(o.ConnectTimeout, 10*time.Second), TLS: opening, Greeting: opening, Command: command,
			Block: data, DataEnd: data,
		},
		Dial: o.Dial,
	}
	if s.client.TLS == nil {
		s.client.TLS = &tls.Config{}
	}
	if s.client.TLS.ClientSessionCache == nil {
		s.client.TLS = s.client.TLS.Clone()
		s.client.TLS.ClientSessionCache = tls.NewLRUClientSessionCache(2 * len(o.Addresses))
	}
	return s, nil
}

func or[T int | time.Duration](value, otherwise T) T {
	if value == 0 {
		return otherwise
	}
	return value
}

func (o *Options) random() func() float64 {
	if o.Rand == nil {
		return rand.Float64
	}
	return o.Rand
}
