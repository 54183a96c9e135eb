package smtpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"anymx/edge/mail"
)

// Dial opens a session with addr ("host:port"): connection, greeting, EHLO, and STARTTLS with a
// second EHLO as TLSMode requires. In TLSAuto, a failed handshake leads to a second connection in
// plaintext. The error is a *mail.Failure, which is permanent if the server refused with a 5xx; the
// caller decides what that means for mail.
func Dial(ctx context.Context, addr string, o Options) (*Conn, error) {
	o.setDefaults()
	if o.Host == "" {
		o.Host, _, _ = net.SplitHostPort(addr)
	}
	c, f := dial(ctx, addr, &o)
	if f != nil && o.TLSMode == TLSAuto && c != nil && c.tlsFailed && ctx.Err() == nil {
		plain := o
		plain.TLSMode = TLSNever
		if c, f = dial(ctx, addr, &plain); f == nil {
			c.tlsFailed = true
		}
	}
	if f != nil {
		return nil, f
	}
	return c, nil
}

// dial opens one connection for Dial. On failure the connection is closed, and only returned to
// show whether TLS failed.
func dial(ctx context.Context, addr string, o *Options) (*Conn, *mail.Failure) {
	c := &Conn{options: o, remote: addr, ctx: ctx}
	connectCtx, cancel := context.WithTimeout(ctx, o.Timeouts.Connect)
	raw, err := o.Dial(connectCtx, "tcp", addr)
	cancel()
	if err != nil {
		return c, c.unreachable(err)
	}
	c.adopt(raw, addr)
	c.borrow(ctx)
	stop := c.watch(ctx)
	f := c.open()
	if f == nil && c.in.buffered() > 0 {
		f = c.die(c.lost(cmdEHLO, errUnasked))
	}
	stop()
	c.giveBack()
	if f != nil {
		raw.Close()
	}
	return c, f
}

// unreachable returns the failure to connect.
func (c *Conn) unreachable(err error) *mail.Failure {
	f := c.lost(cmdConnect, err)
	f.Enhanced = mail.Enhanced{4, 4, 1}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		f.Enhanced = mail.Enhanced{4, 4, 3}
	}
	return c.die(f)
}

// adopt sets raw as the new connection.
func (c *Conn) adopt(raw net.Conn, addr string) {
	c.raw, c.conn, c.pulse = raw, raw, newPulse(raw)
	c.tcp, _ = raw.(*net.TCPConn)
	c.in.src = (*stream)(c)
	if tcp, ok := raw.RemoteAddr().(*net.TCPAddr); ok {
		c.remote = fmt.Sprintf("%s[%s]:%d", c.options.Host, tcp.IP, tcp.Port)
	} else {
		c.remote = addr
	}
}

// open runs the session from the greeting to the last EHLO.
func (c *Conn) open() *mail.Failure {
	if f := c.greeting(); f != nil {
		return f
	}
	if f := c.hello(); f != nil {
		return f
	}
	if c.options.TLSMode == TLSNever {
		return nil
	}
	if !c.ext.startTLS {
		if c.options.TLSMode == TLSRequire {
			return c.die(c.local(cmdSTARTTLS, mail.Enhanced{4, 7, 4}, errors.New("TLS is required, but not offered")))
		}
		return nil
	}
	return c.startTLS()
}

// greeting reads the server's greeting (RFC 5321 section 3.1).
func (c *Conn) greeting() *mail.Failure {
	c.await(c.options.Timeouts.Greeting)
	r, f := c.read(cmdConnect, nil)
	switch {
	case f != nil:
		return f
	case r.negative():
		return c.die(c.refused(cmdConnect, &r))
	case r.code != 220:
		return c.die(c.unfit(cmdConnect, &r))
	}
	return nil
}

// hello sends EHLO and records the extensions. It sends HELO if an SMTP server doesn't know EHLO
// (RFC 5321 section 3.2).
func (c *Conn) hello() *mail.Failure {
	c.ext = extensions{}
	verb := "EHLO "
	if c.options.LMTP {
		verb = "LHLO "
	}
	first := true
	r, f := c.say(cmdEHLO, verb+c.options.Hello, func(line []byte) {
		if !first { // the first line is the server's name
			c.ext.add(string(line), c.options.Ignore)
		}
		first = false
	})
	if f == nil && r.code >= 500 && !c.options.LMTP {
		c.ext = extensions{}
		r, f = c.say(cmdEHLO, "HELO "+c.options.Hello, nil)
	}
	switch {
	case f != nil:
		return f
	case r.negative():
		return c.die(c.refused(cmdEHLO, &r))
	case r.code != 250:
		return c.die(c.unfit(cmdEHLO, &r))
	}
	return nil
}

// startTLS sends STARTTLS (RFC 3207) and runs the handshake. After a refusal TLSAuto continues in
// plaintext; after a failed handshake the connection is dead.
func (c *Conn) startTLS() *mail.Failure {
	r, f := c.say(cmdSTARTTLS, "STARTTLS", nil)
	switch {
	case f != nil:
		return f
	case r.negative():
		c.tlsFailed = true
		if c.options.TLSMode == TLSRequire {
			f := c.refused(cmdSTARTTLS, &r)
			f.Permanent, f.Enhanced = false, mail.Enhanced{4, 7, 4}
			return c.die(f)
		}
		return nil
	case r.code != 220:
		return c.die(c.unfit(cmdSTARTTLS, &r))
	case c.in.buffered() > 0:
		// It could be an injection, meant to be read as if it came over TLS.
		return c.die(c.lost(cmdSTARTTLS, errInjected))
	}
	c.tls = tls.Client(c.raw, c.tlsConfig())
	c.conn, c.tcp = c.tls, nil
	if err := c.handshake(); err != nil {
		c.tlsFailed = true
		f := c.lost(cmdSTARTTLS, fmt.Errorf("TLS: %w", err))
		f.Enhanced = mail.Enhanced{4, 7, 5}
		return c.die(f)
	}
	return c.hello() // RFC 3207 section 4.2: the client must discard everything it knew
}

func (c *Conn) handshake() error {
	if err := c.raw.SetDeadline(time.Now().Add(c.options.Timeouts.TLS)); err != nil {
		return err
	}
	if err := c.ctx.Err(); err != nil { // watch may have come first
		return err
	}
	return c.tls.Handshake()
}

func (c *Conn) tlsConfig() *tls.Config {
	config := c.options.TLS.Clone()
	if config == nil {
		config = &tls.Config{}
	}
	config.ServerName = c.serverName()
	if c.options.TLSMode == TLSAuto {
		config.InsecureSkipVerify = true
		config.VerifyConnection, config.VerifyPeerCertificate = nil, nil
	}
	return config
}
