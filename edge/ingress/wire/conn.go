package wire

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"anymx/edge/ingress/own"
	"anymx/edge/mail"
)

// Conn is one client's connection as go-smtp sees it: a net.Conn whose Read
// gives one command line and whose Write gathers a reply. All its methods are
// for the goroutine that it is served on.
type Conn struct {
	sock     net.Conn
	raw      syscall.RawConn // of sock; nil if it can't be waited on without a buffer
	tls      *tls.Conn       // nil before STARTTLS
	settings *Settings
	registry *Registry
	listener *Listener

	client  netip.AddrPort
	service netip.AddrPort
	prefix  netip.Prefix
	joined  bool // counted in its prefix
	proxied bool // a PROXY header comes first
	named   bool // the client is the one in that header
	own     bool // it comes from the node itself: it is no client's, and in no prefix
	asked   bool // for more than a greeting and the end

	in   input
	out  outgoing
	line []byte // what go-smtp has still to read of the line handed to it
	cmd  Command
	body Body

	attached any    // by the session
	hello    string // the verb that greeted us
	helo     string // and its argument

	phase    phase
	ended    bool       // nothing more is read; what is in out is still sent
	greeted  bool       // an EHLO or HELO was accepted since the start or STARTTLS
	mail     bool       // a MAIL was accepted and its transaction is open
	rcpt     bool       // and so was a RCPT in it
	served   bool       // by go-smtp; before that, the client is in the lobby
	swallow  bool       // go-smtp's reply to the line in hand is not for the client
	replayed bool       // nor is that to the greeting, if it is positive
	answer   mail.Reply // replaces go-smtp's reply to the command in hand

	began time.Time
	stats Stats

	want    int // buffer size for the next read
	readFn  func(fd uintptr) bool
	readN   int
	readErr error

	mu      sync.Mutex // orders the deadline between the owner and hurry
	until   time.Time  // of the last read; zero: there was none
	waiting bool       // for a command, outside of a transaction
	hurried bool       // the client is to go, as soon as it has no transaction open
	closed  atomic.Bool
}

// phase is what the next Read of go-smtp gets.
type phase uint8

const (
	atStart   phase = iota // nothing was read: the banner is still in out
	atEntry                // the greeting that was answered in the lobby
	atCommand              // the next line
	inMessage              // ".CRLF", once the Body is over
)

// Stats are the figures of a connection so far.
type Stats struct {
	Commands int
	Errors   int           // refused commands, recipients apart
	In, Out  int64         // octets above TLS
	Reason   string        // why it ended: "quit", "disconnect", "timeout" ...; "" while open
	Duration time.Duration // set when it has ended
}

// errPlain is given to go-smtp as an ordinary end, so that it says nothing:
// what there was to say has been said.
var errPlain = io.EOF

func newConn(sock net.Conn, s *Settings, r *Registry, l *Listener) *Conn {
	c := &Conn{sock: sock, settings: s, registry: r, listener: l, began: time.Now(), want: middleBuffer}
	c.body.c = c
	c.client, _ = addrPort(sock.RemoteAddr())
	c.service, _ = addrPort(sock.LocalAddr())
	if sc, ok := sock.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			c.raw = raw
			c.readFn = c.readNow
		}
	}
	return c
}

// join counts the connection for its client's prefix, which is known now.
func (c *Conn) join() bool {
	if !c.client.IsValid() {
		return true // a unix socket, say
	}
	if c.own = !c.named && c.settings.Own.Kind(c.client, c.service) == own.Probe; c.own {
		return true
	}
	c.prefix = prefixOf(c.client.Addr())
	c.joined = c.registry.caps.join(c.prefix, c.settings.Limits.MaxPerPrefix)
	return c.joined
}

// Probe says whether the connection came from this node to one of
// the addresses that the speaker probes, and has said no more than a greeting and goodbye.
func (c *Conn) Probe() bool { return c.own && !c.asked }

// Client is who is at the other end, after a PROXY header the one it names.
func (c *Conn) Client() netip.AddrPort { return c.client }

// Service is our end of the connection, as the client sees it.
func (c *Conn) Service() netip.AddrPort { return c.service }

// TLS is the state of TLS; nil without it.
func (c *Conn) TLS() *tls.ConnectionState {
	if c.tls == nil {
		return nil
	}
	state := c.tls.ConnectionState()
	return &state
}

// Secure says whether TLS is on.
func (c *Conn) Secure() bool { return c.tls != nil }

// Hello is the verb that the client introduced itself with: "EHLO", "HELO" or
// "LHLO"; "" before it did.
func (c *Conn) Hello() string { return c.hello }

// Helo is what the client called itself at its last greeting; "" before it. It
// is the client's word, and only known to be UTF-8 without control characters.
func (c *Conn) Helo() string { return c.helo }

// Attach keeps what belongs to the connection, such as its session, for
// Settings.Closed to find by Attached.
func (c *Conn) Attach(v any) { c.attached = v }

// Attached is what was attached; nil if nothing was.
func (c *Conn) Attached() any { return c.attached }

// Command is the one in hand, valid until the next is read.
func (c *Conn) Command() Command { return c.cmd }

// Stats are the connection's figures.
func (c *Conn) Stats() Stats { return c.stats }

// Body is the message behind the DATA or BDAT in hand; only within
// Session.Data.
func (c *Conn) Body() *Body { return &c.body }

// Read gives go-smtp its next line.
func (c *Conn) Read(p []byte) (int, error) {
	if c.closed.Load() {
		return 0, errPlain // go-smtp asks once more after its own Close
	}
	if len(c.line) == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.line)
	if c.line = c.line[n:]; len(c.line) == 0 {
		c.line = nil // it points into a buffer that others will use
	}
	return n, nil
}

// next sets line to what go-smtp is to see next.
func (c *Conn) next() error {
	c.served = true
	switch c.phase {
	case atStart:
		c.nameBanner()
		c.start()
	case atEntry:
		if c.enterSMTP(); len(c.line) > 0 {
			return nil
		}
	case inMessage:
		c.body.finish()
		c.phase, c.mail, c.rcpt = atCommand, false, false
		c.line = dotLine
		return nil
	default:
		c.settle()
	}
	for !c.ended {
		line, err := c.readLine()
		if err != nil {
			return c.lost(err)
		}
		if c.take(line) {
			return nil
		}
	}
	if err := c.flush(); err != nil {
		return c.lost(err)
	}
	return errPlain
}

var dotLine = []byte(".\r\n")

// nameBanner puts the host name of the settings into go-smtp's banner, whose own is fixed.
func (c *Conn) nameBanner() {
	codes, rest, ok := strings.Cut(string(c.out.last()), " ")
	_, text, named := strings.Cut(rest, " ")
	if ok && named && codes == "220" && c.settings.Hostname != "" {
		c.out.drop()
		c.out.add(codes, " ", c.settings.Hostname, " ", text)
	}
}

// start is what happens before the banner, which go-smtp has written to out.
func (c *Conn) start() {
	c.phase = atCommand
	limits := &c.settings.Limits
	if c.proxied {
		if err := c.readProxy(); err != nil {
			c.out.drop()
			c.end("proxy")
			return
		}
		if !c.join() {
			c.registry.metrics.refused.WithLabelValues("prefix").Inc()
			c.refuseBanner("421 4.7.0", "too many connections from your network, try later", "refused")
			return
		}
	}
	early := false
	if !c.registry.draining.Load() { // who is to hear 421 need not wait for it
		early = limits.BannerDelay > 0 && c.speaksWithin(limits.BannerDelay) || len(c.in.unread()) > 0
	}
	switch {
	case c.registry.draining.Load():
		c.refuseBanner("421 4.3.2", "is going out of service, try again", "draining")
		return
	case early:
		c.registry.metrics.refused.WithLabelValues("early").Inc()
		c.refuseBanner("554 5.5.1", "you spoke before my banner", "early talker")
	}
	c.out.mark()
}

func (c *Conn) refuseBanner(codes, text, reason string) {
	c.out.drop()
	c.out.add(codes, " ", c.settings.Hostname, " ", text, "\r\n")
	c.end(reason)
}

// speaksWithin waits for d and says whether the client sent anything.
func (c *Conn) speaksWithin(d time.Duration) bool {
	return c.wait(time.Now().Add(d)) == nil
}

// end lets nothing more be read. What is in out is still sent, and within a
// message go-smtp still gets its ".CRLF", to say what the session says.
func (c *Conn) end(reason string) {
	c.ended = true
	if c.stats.Reason == "" {
		c.stats.Reason = reason
	}
}

// lost is the end by an error of the socket: there is nobody to talk to,
// except after silence.
func (c *Conn) lost(err error) error {
	switch {
	case c.ended: // by flush: the client does not listen
	case errors.Is(err, os.ErrDeadlineExceeded):
		if c.registry.draining.Load() || c.isHurried() {
			c.end("draining")
			c.say("421", "4.3.2", c.settings.Hostname+" is going out of service, try again")
		} else {
			c.end("timeout")
			c.say("421", "4.4.2", c.settings.Hostname+" has waited long enough, bye")
		}
		_ = c.flush()
	default:
		c.end("disconnect")
	}
	return errPlain
}

// Close sends what is left to say and closes the socket. go-smtp calls it.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	if c.phase == inMessage { // the session panicked within it
		c.phase = atCommand
	}
	c.settle()
	flushed := c.flush()
	if c.stats.Reason == "" {
		c.stats.Reason = "disconnect"
		if c.cmd.Verb == "QUIT" {
			c.stats.Reason = "quit"
		}
	}
	if flushed == nil && c.tls != nil {
		_ = c.tls.CloseWrite() // close_notify: nobody has cut this short
	}
	if flushed == nil && c.ended && c.stats.Reason != "disconnect" {
		c.linger()
	}
	err := c.sock.Close()
	c.in.put()
	c.out.put()
	c.stats.Duration = time.Since(c.began)
	c.registry.caps.leave(c.prefix, c.joined)
	c.registry.metrics.ended(c)
	if c.settings.Closed != nil {
		c.settings.Closed(c)
	}
	c.registry.remove(c)
	return err
}

// linger reads away, for a moment, what the client is still sending: closing a
// socket with unread bytes resets it, and the client would never see why it
// was refused.
func (c *Conn) linger() {
	half, ok := c.sock.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	_ = c.sock.SetReadDeadline(time.Now().Add(time.Second))
	c.in.put()
	c.in.grow(middleBuffer)
	for read := 0; read < 1<<20; {
		n, err := c.sock.Read(c.in.room())
		if err != nil {
			return
		}
		read += n
	}
}

// LocalAddr, RemoteAddr and the deadlines are net.Conn's. The deadlines belong
// to wire: go-smtp's are not taken.
func (c *Conn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.service) }

// RemoteAddr is the client's address, after a PROXY header the one in it.
func (c *Conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.client) }

// SetDeadline does nothing.
func (c *Conn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (c *Conn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (c *Conn) SetWriteDeadline(time.Time) error { return nil }
