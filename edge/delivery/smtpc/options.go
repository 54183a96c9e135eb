package smtpc

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

// TLSMode says when a connection goes over to TLS.
type TLSMode uint8

// The modes.
const (
	// TLSAuto takes STARTTLS where it is offered, does not verify whom it talks
	// to, and goes on in plaintext where TLS fails: RFC 7435.
	TLSAuto TLSMode = iota
	// TLSRequire sends nothing without TLS, verified as Options.TLS says.
	TLSRequire
	// TLSNever stays in plaintext.
	TLSNever
)

// Options says how to talk to a server. The zero Options is SMTP, opportunistic
// TLS, the timeouts of RFC 5321, and a Hello that the caller must set.
type Options struct {
	LMTP  bool   // speak LMTP: LHLO, a reply for each recipient
	Hello string // our name in EHLO; required
	// Host names the server in Failure.Remote and for TLS; "" means the host
	// part of the address that was dialled.
	Host string

	TLSMode TLSMode
	// TLS is cloned for each connection; nil means the zero Config. ServerName
	// is filled in with Host where it is empty. In TLSAuto verification is
	// switched off.
	TLS *tls.Config
	// PrivateLink says that the way to the server is private in itself (a
	// tunnel, a socket on the same host): it does for mail that requires TLS
	// what verified TLS does elsewhere.
	PrivateLink bool

	// XForward and XClient pass the client's identity on to a server that
	// offers the command. XCLIENT is used only where XFORWARD is not offered.
	// Both are for servers that are ours.
	XForward, XClient bool
	// Node is our node's name, which makes our spool ids unique beyond this
	// node: XFORWARD's IDENT is "<spool id>.<node>". "" leaves it away.
	Node string

	// Ignore names EHLO keywords to take as not offered, such as "CHUNKING".
	Ignore []string

	Timeouts Timeouts

	// Dial opens connections; nil means a net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Timeouts bounds each stage; 0 means the default, from RFC 5321 section
// 4.5.3.2 where it has one.
type Timeouts struct {
	Connect  time.Duration // to an open connection; 30s
	TLS      time.Duration // the handshake; 1m
	Greeting time.Duration // to the end of the greeting; 5m
	Command  time.Duration // from a command to the end of its reply; 5m. At least DataEnd where the message went with it
	Block    time.Duration // for each 256 KiB of a body that is written (1 MiB by sendfile); 3m
	DataEnd  time.Duration // from the end of the message to its reply; 10m
	Quit     time.Duration // for QUIT and its reply; 1s
}

// fill puts in the defaults.
func (o *Options) fill() {
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
