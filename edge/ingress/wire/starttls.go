package wire

import (
	"context"
	"crypto/tls"
	"time"
)

// startTLS takes STARTTLS (RFC 3207) below go-smtp: it upgrades the reader and
// the writer, and lets go-smtp and the session forget what was said before,
// which came from anybody.
func (c *Conn) startTLS() {
	switch {
	case c.settings.TLS == nil:
		c.say("502", "5.5.1", "STARTTLS is not offered")
		return
	case c.tls != nil:
		c.say("503", "5.5.1", "TLS is on already")
		return
	case len(c.cmd.Arg) > 0:
		c.say("501", "5.5.4", "STARTTLS has no arguments")
		return
	case len(c.in.unread()) > 0:
		// What stands behind STARTTLS in plaintext was put there by somebody who
		// wants it to be taken for part of the encrypted session.
		c.reject("503", "5.5.1", "commands behind STARTTLS", "pipelining")
		return
	}
	c.say("220", "2.0.0", "go ahead with TLS")
	if c.flush() != nil {
		return
	}
	c.in.put()
	conn := tls.Server(c.sock, c.settings.TLS)
	ctx, cancel := context.WithTimeout(context.Background(), orDefault(c.settings.Limits.HandshakeTimeout, 30*time.Second))
	defer cancel()
	// HandshakeContext cuts by closing the socket; the deadline that was left
	// from the command must not end it sooner or later.
	_ = c.sock.SetDeadline(time.Time{})
	// A handshake needs a deep stack once, and its connection should not keep it.
	done := make(chan error, 1)
	go func() { done <- conn.HandshakeContext(ctx) }()
	if err := <-done; err != nil {
		c.registry.metrics.handshakes.WithLabelValues("failed").Inc()
		c.registry.log.Debug("TLS handshake failed", "client", c.client, "err", err)
		c.end("tls")
		return
	}
	c.registry.metrics.handshakes.WithLabelValues(tls.VersionName(conn.ConnectionState().Version)).Inc()
	c.tls = conn
	c.greeted, c.mail, c.rcpt = false, false, false
	if c.served {
		c.swallow = true
		c.line = resetLine
	}
}

var resetLine = []byte("RSET\r\n")
