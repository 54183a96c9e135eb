package smtpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"sync"
	"time"

	"anymx/edge/mail"
)

// Conn is a session with one server, ready for messages. It belongs to one
// goroutine at a time.
type Conn struct {
	options *Options
	remote  string // "host[192.0.2.1]:25"
	raw     net.Conn
	conn    net.Conn     // raw, or TLS over it
	tls     *tls.Conn    // nil in plaintext
	tcp     *net.TCPConn // raw, if the kernel can copy the body to it; nil under TLS
	pulse   *pulse       // nil if the socket can't be inspected

	ext       extensions
	tlsFailed bool // TLS failed: this connection is the plaintext fallback
	in        replies
	out       []byte // commands that are not yet written
	space     *buffers
	err       *mail.Failure // why the connection is dead; nil while it is alive

	ctx      context.Context // of the current call; nil between calls
	wait     time.Duration   // timeout of the next reply
	armed    bool            // the read deadline is set for the awaited reply
	mails    int             // number of MAIL commands sent
	tookRcpt bool            // a recipient of the current or last message was accepted
	reset    bool            // RSET must come before the next MAIL
	noXFwd   bool            // XFORWARD was refused
	noXCli   bool            // XCLIENT was refused
	identity mail.Client     // of the last XCLIENT
	tx       transaction     // reused for its slices
}

// buffers holds the memory that a connection needs during a call.
type buffers struct {
	in   [readBuffer]byte
	text [maxReplyText]byte
	out  [4096]byte
}

var bufferPool = sync.Pool{New: func() any { return new(buffers) }}

// Has reports whether the server offered the extension with this EHLO keyword (in upper case) in
// its last EHLO.
func (c *Conn) Has(keyword string) bool {
	_, ok := c.ext.all[keyword]
	return ok
}

// Extensions returns those of mail.Extensions that the server offered in its last EHLO.
func (c *Conn) Extensions() (e mail.Extensions) {
	if c.ext.utf8 {
		e |= mail.SMTPUTF8
	}
	if c.ext.eightBit {
		e |= mail.EightBitMIME
	}
	return e
}

// Params returns the parameters of an EHLO keyword, such as "10485760" for "SIZE".
func (c *Conn) Params(keyword string) string { return c.ext.all[keyword] }

// Remote returns the name of the server, as "host[192.0.2.1]:25".
func (c *Conn) Remote() string { return c.remote }

// TLS returns the state of the TLS session, and false in plaintext.
func (c *Conn) TLS() (tls.ConnectionState, bool) {
	if c.tls == nil {
		return tls.ConnectionState{}, false
	}
	return c.tls.ConnectionState(), true
}

// Dead reports whether the connection can't be used any more.
func (c *Conn) Dead() bool { return c.err != nil }

// Quiet reports whether the idle connection is as the last Send left it: the server has not closed
// it and has not sent anything. Under TLS it may report false although the connection is fine.
func (c *Conn) Quiet() bool {
	waiting, err := c.pulse.check()
	return c.err == nil && err == nil && !waiting
}

// TookRecipient reports whether the server accepted a recipient of the last message: if the connection broke
// then, it was the message that broke it, or what the server does with messages, and not the way there.
func (c *Conn) TookRecipient() bool { return c.tookRcpt }

// UsedUp reports whether the server's MAILMAX allows no further transaction.
func (c *Conn) UsedUp() bool { return c.ext.mailMax > 0 && c.mails >= c.ext.mailMax }

// Err returns the *mail.Failure that made the connection dead, or nil.
func (c *Conn) Err() error {
	if c.err == nil {
		return nil
	}
	return c.err
}

// Close sends QUIT if the stream is in step, waits for the reply for at most Timeouts.Quit, and
// closes the connection. Later calls do nothing.
func (c *Conn) Close() error {
	if c.err == nil {
		c.borrow(context.Background())
		c.raw.SetDeadline(time.Now().Add(c.options.Timeouts.Quit))
		if _, err := c.conn.Write([]byte("QUIT\r\n")); err == nil {
			c.armed = true // by the deadline above
			_, _ = c.in.next(nil)
		}
		c.giveBack()
		c.err = c.local("", mail.Enhanced{4, 4, 2}, ErrClosed)
	}
	return c.raw.Close()
}

// borrow prepares the connection for one call: it takes buffers from the pool and sets ctx.
// giveBack must follow.
func (c *Conn) borrow(ctx context.Context) {
	c.ctx = ctx
	c.space = bufferPool.Get().(*buffers)
	c.in.buf, c.in.text, c.out = c.space.in[:], c.space.text[:0], c.space.out[:0]
}

// giveBack returns the buffers to the pool. Unread data is lost, so the caller must have checked
// for it.
func (c *Conn) giveBack() {
	c.in.buf, c.in.text, c.in.r, c.in.w, c.out = nil, nil, 0, 0, nil
	bufferPool.Put(c.space)
	c.space, c.ctx = nil, nil
}

// watch ends every read and write when ctx ends. The returned function undoes that, and waits until
// it is undone.
func (c *Conn) watch(ctx context.Context) (stop func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	fired := make(chan struct{})
	raw := c.raw
	undo := context.AfterFunc(ctx, func() {
		raw.SetDeadline(longAgo)
		close(fired)
	})
	return func() {
		if !undo() {
			<-fired
		}
	}
}

var longAgo = time.Unix(1, 0)

// await sets the timeout of the next reply, which starts when the connection is first read.
func (c *Conn) await(d time.Duration) { c.wait, c.armed = d, false }

// stream is the Conn as the source of replies. It sets the deadline only if the reply is not yet
// buffered.
type stream Conn

func (s *stream) Read(p []byte) (int, error) {
	c := (*Conn)(s)
	if !c.armed {
		if err := c.raw.SetReadDeadline(time.Now().Add(c.wait)); err != nil {
			return 0, err
		}
		c.armed = true
		if c.ctx.Err() != nil { // watch may have come first
			return 0, c.ctx.Err()
		}
	}
	return c.conn.Read(p)
}

// write writes p with the timeout of one block.
func (c *Conn) write(p []byte) error {
	if err := c.armWrite(); err != nil {
		return err
	}
	_, err := c.conn.Write(p)
	return err
}

// armWrite sets the timeout of one block for the next write.
func (c *Conn) armWrite() error {
	if err := c.raw.SetWriteDeadline(time.Now().Add(c.options.Timeouts.Block)); err != nil {
		return err
	}
	return c.ctx.Err() // watch may have come first
}

// say sends a single command and reads its reply. The caller handles a reply of 4xx or 5xx.
func (c *Conn) say(command, line string, each func([]byte)) (reply, *mail.Failure) {
	c.await(c.options.Timeouts.Command)
	if err := c.write([]byte(line + "\r\n")); err != nil {
		return reply{}, c.die(c.lost(command, err))
	}
	return c.read(command, each)
}

// read reads one reply. It makes the connection dead if there is none, or if it is the 421 that a
// server may send at any time before it closes (RFC 5321 section 3.8).
func (c *Conn) read(command string, each func([]byte)) (reply, *mail.Failure) {
	r, err := c.in.next(each)
	if err != nil {
		return reply{}, c.die(c.lost(command, err))
	}
	if r.code == 421 {
		return reply{}, c.die(c.refused(command, &r))
	}
	return r, nil
}

// die marks the connection as dead and returns the reason. The first reason is kept.
func (c *Conn) die(f *mail.Failure) *mail.Failure {
	if c.err == nil {
		c.err = f
	}
	return c.err
}

// verified reports whether the link is authenticated and private (RFC 8689 section 2): a TLS
// session that is verified, or could be verified even though the mode doesn't require it, or a
// private link.
func (c *Conn) verified() bool {
	if c.options.PrivateLink {
		return true
	}
	if c.tls == nil {
		return false
	}
	state := c.tls.ConnectionState()
	if len(state.VerifiedChains) > 0 {
		return true
	}
	config := c.options.TLS
	if c.options.TLSMode == TLSRequire {
		// The caller verifies in its own way, for example by TLSA records.
		return config != nil && (config.VerifyConnection != nil || config.VerifyPeerCertificate != nil)
	}
	options := x509.VerifyOptions{DNSName: c.serverName(), Intermediates: x509.NewCertPool()}
	if config != nil {
		options.Roots = config.RootCAs
	}
	for _, cert := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(cert)
	}
	_, err := state.PeerCertificates[0].Verify(options)
	return err == nil
}

func (c *Conn) serverName() string {
	if c.options.TLS != nil && c.options.TLS.ServerName != "" {
		return c.options.TLS.ServerName
	}
	return c.options.Host
}
