package wire

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"anymx/edge/ingress/own"
)

// Conn is one client's connection: commands and message bytes in, replies out. All its methods are
// for the goroutine that serves it.
//
// A Conn knows framing, not SMTP: what a command means, and what is answered, is its caller's.
type Conn struct {
	sock     net.Conn
	tls      *tls.Conn // nil before STARTTLS
	settings *Settings
	registry *Registry
	peer     peer
	in       input
	reader   reader
	out      *[]byte // replies that were not sent yet; nil: none
	began    time.Time
	stats    Stats
	ended    bool // nothing more is read; what is in out is still sent
	leave    leave
	cutting  cutting
	closed   atomic.Bool
}

// peer is who is at the other end.
type peer struct {
	client  netip.AddrPort
	service netip.AddrPort
	joined  bool // counted in its networks
	proxied bool // a PROXY header comes first
	named   bool // the client is the one in that header
	own     bool // the node itself: no cap counts it
}

// leave orders the deadline between the connection's goroutine and those who tell it to go.
type leave struct {
	mu      sync.Mutex
	until   time.Time // of the last read; zero: there was none
	waiting bool      // for a command, outside of a transaction
	hurried bool      // the client must go, as soon as it has no transaction open
	evicted bool      // the client must go, as soon as it is waited for
	idle    int64     // since when a command is waited for, in nanoseconds of Unix time; 0: it is not
	cut     bool      // the client must go now
}

// Stats are the figures of a connection so far.
type Stats struct {
	In, Out  int64         // bytes above TLS
	Reason   string        // why it ended, one of a fixed few; "" while open
	Duration time.Duration // set when it has ended
}

func newConn(sock net.Conn, s *Settings, r *Registry) *Conn {
	c := &Conn{sock: sock, settings: s, registry: r, began: time.Now()}
	c.peer.client, _ = addrPort(sock.RemoteAddr())
	c.peer.service, _ = addrPort(sock.LocalAddr())
	c.reader.open(sock)
	return c
}

// Client returns who is at the other end, after a PROXY header the one it names.
func (c *Conn) Client() netip.AddrPort { return c.peer.client }

// Service returns our end of the connection, as the client sees it.
func (c *Conn) Service() netip.AddrPort { return c.peer.service }

// Own reports whether the connection comes from this node, to one of the addresses that the speaker
// probes.
func (c *Conn) Own() bool { return c.peer.own }

// TLS returns the state of TLS; nil without it.
func (c *Conn) TLS() *tls.ConnectionState {
	if c.tls == nil {
		return nil
	}
	state := c.tls.ConnectionState()
	return &state
}

// Stats returns the connection's figures.
func (c *Conn) Stats() Stats { return c.stats }

// Open does what comes before the banner: it reads a PROXY header, counts the client for its network,
// and waits for the delay of the banner. An error says why the client is refused; ErrProxy and those
// of the socket leave nothing to answer.
func (c *Conn) Open() error {
	limits := &c.settings.Limits
	if c.peer.proxied {
		if err := c.readProxy(); err != nil {
			c.End("proxy")
			return ErrProxy
		}
		if full := c.join(); full != 0 {
			c.registry.metrics.refused.WithLabelValues(reasonFull(full)).Inc()
			c.End("refused")
			return ErrNetworkFull
		}
	}
	if c.Draining() { // who will hear 421 need not wait for it
		c.End("draining")
		return ErrLeaving
	}
	if limits.BannerDelay > 0 && c.speaksWithin(limits.BannerDelay) || len(c.in.unread()) > 0 {
		c.registry.metrics.refused.WithLabelValues("early").Inc()
		c.End("early talker")
		return ErrEarly
	}
	return nil
}

// speaksWithin waits for d and reports whether the client sent anything.
func (c *Conn) speaksWithin(d time.Duration) bool {
	return c.wait(time.Now().Add(d), false) == nil
}

// join counts the connection for its client's networks, which are known now. It returns the length of
// one that is full, or 0.
func (c *Conn) join() (full int) {
	p := &c.peer
	if !p.client.IsValid() {
		return 0 // a unix socket, say
	}
	if p.own = c.isProbe(); p.own {
		return 0
	}
	full = c.registry.caps.join(p.client.Addr(), &c.settings.Limits)
	p.joined = full == 0
	return full
}

func (c *Conn) isProbe() bool {
	return !c.peer.named && c.settings.Own.Kind(c.peer.client, c.peer.service) == own.Probe
}

// Network returns the network that the client counts for, a /24 or /64; the zero Prefix if its address
// is unknown.
func (c *Conn) Network() netip.Prefix {
	addr := c.peer.client.Addr()
	if !addr.IsValid() {
		return netip.Prefix{}
	}
	return networkOf(addr, lengthsOf(addr)[0])
}

// Draining reports whether the service takes no new transactions.
func (c *Conn) Draining() bool { return c.registry.draining.Load() }

// End lets nothing more be read. Replies are still sent. reason is one of a fixed few, for Stats and
// metrics; the first one counts.
func (c *Conn) End(reason string) {
	c.ended = true
	if c.stats.Reason == "" {
		c.stats.Reason = reason
	}
}

// Ended reports whether End was called, or the client has gone.
func (c *Conn) Ended() bool { return c.ended }

// Close sends what is left to say and closes the socket.
func (c *Conn) Close() {
	if c.closed.Swap(true) {
		return
	}
	flushed := c.Flush()
	if c.stats.Reason == "" {
		c.stats.Reason = "disconnect"
	}
	if flushed == nil && c.tls != nil {
		_ = c.tls.CloseWrite() // close_notify: nobody has cut this short
	}
	if flushed == nil && c.ended && c.stats.Reason != "disconnect" && !c.said() {
		c.linger()
	}
	_ = c.sock.Close()
	c.cutting.end()
	c.in.put()
	c.putOut()
	c.stats.Duration = time.Since(c.began)
	c.registry.caps.leave(c.peer.client.Addr(), c.peer.joined, &c.settings.Limits)
	c.registry.metrics.ended(c)
	c.registry.remove(c)
}

// said reports whether the client has said all that it has to say: its last word was QUIT. Under TLS its
// close_notify is still to come.
func (c *Conn) said() bool { return c.stats.Reason == "quit" && c.tls == nil && !c.Buffered() }

// linger reads away, for a moment, what the client is still sending: closing a socket with unread
// bytes resets it, and the client would never see why it was refused.
func (c *Conn) linger() {
	half, ok := c.sock.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	_ = c.sock.SetReadDeadline(time.Now().Add(time.Second))
	c.in.put()
	c.in.grow(middleBuffer)
	_, _ = io.CopyBuffer(io.Discard, io.LimitReader(onlyReader{c.sock}, 1<<20), *c.in.lent)
}

// onlyReader hides what else a socket can do, so that io.CopyBuffer uses the buffer that it is given.
type onlyReader struct{ io.Reader }

// isTimeout reports whether err is the end of a deadline.
func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
