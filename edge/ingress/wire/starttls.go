package wire

import (
	"context"
	"crypto/tls"
	"time"
)

// StartTLS sends the replies so far and takes the client's handshake (RFC 3207). It reports whether TLS
// is on; if not, the connection has ended.
func (c *Conn) StartTLS() bool {
	if c.Flush() != nil {
		return false
	}
	c.in.put()
	conn := tls.Server(c.sock, c.settings.TLS)
	ctx, cancel := context.WithTimeout(context.Background(), orDefault(c.settings.Limits.HandshakeTimeout, 30*time.Second))
	defer cancel()
	// HandshakeContext cuts by closing the socket; the deadline that was left from the command must not
	// end it sooner or later.
	_ = c.sock.SetDeadline(time.Time{})
	// A handshake needs a deep stack once, and its connection should not keep it.
	done := make(chan error, 1)
	go func() { done <- conn.HandshakeContext(ctx) }()
	if err := <-done; err != nil {
		c.registry.metrics.handshakes.WithLabelValues("failed").Inc()
		c.registry.log.Debug("TLS handshake failed", "client", c.Client(), "err", err)
		c.End("tls")
		return false
	}
	c.registry.metrics.handshakes.WithLabelValues(tls.VersionName(conn.ConnectionState().Version)).Inc()
	c.tls = conn
	return true
}
