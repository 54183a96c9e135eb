package smtpc

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

// TLSMode says when a connection uses TLS.
type TLSMode uint8

// Modes.
const (
	// TLSAuto uses STARTTLS if offered, doesn't verify the server, and falls back to plaintext if
	// TLS fails (RFC 7435).
	TLSAuto TLSMode = iota
	// TLSRequire sends mail only over TLS, verified as Options.TLS says.
	TLSRequire
	// TLSNever uses plaintext only.
	TLSNever
)

// Options says how to talk to a server. The zero Options means SMTP, opportunistic TLS and the
// timeouts of RFC 5321. Hello must be set.
type Options struct {
	LMTP  bool   // use LMTP: LHLO, and one reply for each recipient
	Hello string // our name in EHLO; required
	// Host names the server in Failure.Remote and for TLS; "" means the host
	// part of the address that was dialled.
	Host string

	TLSMode TLSMode
	// TLS is cloned for each connection; nil means the zero Config. ServerName
	// is filled in with Host where it is empty. In TLSAuto verification is
	// switched off.
	TLS *tls.Config
	// PrivateLink says that the link to the server is private (a tunnel, a socket on the same
	// host). Mail that requires TLS may use it without verified TLS.
	PrivateLink bool

	// XForward and XClient pass the client's identity to a server that offers the command. XCLIENT
	// is used only if XFORWARD is not offered. Set them only for our own servers.
	XForward, XClient bool
	// Node is the name of this node, which makes spool ids unique across nodes: XFORWARD's IDENT is
	// "<spool id>.<node>". "" omits it.
	Node string

	// Ignore lists EHLO keywords to treat as not offered, such as "CHUNKING".
	Ignore []string

	Timeouts Timeouts

	// Dial opens connections; nil means a net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Timeouts bounds each stage; 0 means the default, from RFC 5321 section
// 4.5.3.2 where it has one.
type Timeouts struct {
	Connect  time.Duration // for opening the connection; 30s
	TLS      time.Duration // the handshake; 1m
	Greeting time.Duration // to the end of the greeting; 5m
	Command  time.Duration // from a command to the end of its reply; 5m. At least DataEnd if the message was sent in the same group
	Block    time.Duration // for writing each 256 KiB of a body (1 MiB by sendfile); 3m
	DataEnd  time.Duration // from the end of the message to its reply; 10m
	Quit     time.Duration // for QUIT and its reply; 1s
}

// setDefaults replaces zero values by the defaults.
func (o *Options) setDefaults() {
	t := &o.Timeouts
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&t.Connect, 30 * time.Second}, {&t.TLS, time.Minute}, {&t.Greeting, 5 * time.Minute},
		{&t.Command, 5 * time.Minute}, {&t.Block, 3 * time.Minute}, {&t.DataEnd, 10 * time.Minute},
		{&t.Quit, time.Second},
	} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
}
