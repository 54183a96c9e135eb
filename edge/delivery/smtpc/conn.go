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
	o      *Options
	remote string // "host[192.0.2.1]:25"
	raw    net.Conn
	conn   net.Conn     // raw, or TLS over it
	tls    *tls.Conn    // nil in plaintext
	tcp    *net.TCPConn // raw, where the body can be written past us; nil under TLS
	pulse  *pulse       // nil where the socket can't be looked at

	ext       extensions
	tlsFailed bool // TLS was tried and failed: this is plaintext instead
	in        replies
	out       []byte // commands not yet written
	space     *buffers
	err       *mail.Failure // why the connection is dead; nil while it lives

	ctx      context.Context // of the call that runs; nil between calls
	wait     time.Duration   // what the next reply may take
	armed    bool            // the read deadline stands for the reply awaited
	mails    int             // MAIL commands said
	reset    bool            // RSET must come before the next MAIL
	noXFwd   bool            // XFORWARD was refused
	noXCli   bool            // XCLIENT was refused
	identity mail.Client     // what XCLIENT said last
	tx       transaction     // kept for its slices
}

// buffers are what a connection needs while it works.
type buffers struct {
	in   [readBuffer]byte
	text [maxReplyText]byte
	out  [4096]byte
}

var bufferPool = sync.Pool{New: func() any { return new(buffers) }}

// Has says whether the server offered an extension, by its EHLO keyword in
// upper case, in its last EHLO.
func (c *Conn) Has(keyword string) bool {
	_, ok := c.ext.all[keyword]
	return ok
}

// Extensions are those of mail.Extensions that the server offered in its last
// EHLO.
func (c *Conn) Extensions() (e mail.Extensions) {
	if c.ext.utf8 {
		e |= mail.SMTPUTF8
	}
	if c.ext.eightBit {
		e |= mail.EightBitMIME
	}
	return e
}

// Params is what stood behind the keyword, such as "10485760" for "SIZE".
func (c *Conn) Params(keyword string) string { return c.ext.all[keyword] }

// Remote names the server, as "host[192.0.2.1]:25".
func (c *Conn) Remote() string { return c.remote }

// TLS is the state of the TLS session, and false in plaintext.
func (c *Conn) TLS() (tls.ConnectionState, bool) {
	if c.tls == nil {
		return tls.ConnectionState{}, false
	}
	return c.tls.ConnectionState(), true
}

// Dead says whether the connection can't be used any more.
func (c *Conn) Dead() bool { return c.err != nil }

// Quiet says whether the connection, idle now, is as the last Send left it: not
// closed by the server, and nothing said on it. Under TLS it may be called not
// quiet though all is well.
func (c *Conn) Quiet() bool {
	waiting, err := c.pulse.check()
	return c.err == nil && err == nil && !waiting
}

// UsedUp says whether the server's MAILMAX leaves no transaction here.
func (c *Conn) UsedUp() bool { return c.ext.mailMax > 0 && c.mails >= c.ext.mailMax }

// Err is the *mail.Failure that made the connection dead, or nil.
func (c *Conn) Err() error {
	if c.err == nil {
		return nil
	}
	return c.err
}

// Close says QUIT where the stream is in step, waits for the answer for no
// longer than Timeouts.Quit, and closes. Later calls do nothing.
func (c *Conn) Close() error {
	if c.err == nil {
		c.borrow(context.Background())
		c.raw.SetDeadline(time.Now().Add(c.o.Timeouts.Quit))
		if _, err := c.conn.Write([]byte("QUIT\r\n")); err == nil {
			c.armed = true // by the deadline above
			_, _ = c.in.next(nil)
		}
		c.giveBack()
		c.err = c.local("", mail.Enhanced{4, 4, 2}, ErrClosed)
	}
	return c.raw.Close()
}

// borrow readies the connection for one call: buffers, and ctx that can end
// it. The returned stop must be called before giveBack.
func (c *Conn) borrow(ctx context.Context) {
	c.ctx = ctx
	c.space = bufferPool.Get().(*buffers)
	c.in.buf, c.in.text, c.out = c.space.in[:], c.space.text[:0], c.space.out[:0]
}

// giveBack drops the buffers. What the server said unasked is lost with them,
// so the caller has looked at it.
func (c *Conn) giveBack() {
	c.in.buf, c.in.text, c.in.r, c.in.w, c.out = nil, nil, 0, 0, nil
	bufferPool.Put(c.space)
	c.space, c.ctx = nil, nil
}

// watch makes the end of ctx the end of every read and write. The returned
// function undoes that, and waits for what it undoes.
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

// await says what the next reply may take; the clock starts when it is first
// waited for.
func (c *Conn) await(d time.Duration) { c.wait, c.armed = d, false }

// stream is the Conn as its replies read it: the deadline is set only where
// the reply is not here yet.
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

// write writes p, which may take the time of one block.
func (c *Conn) write(p []byte) error {
	if err := c.armWrite(); err != nil {
		return err
	}
	_, err := c.conn.Write(p)
	return err
}

// armWrite gives the next write the time of one block.
func (c *Conn) armWrite() error {
	if err := c.raw.SetWriteDeadline(time.Now().Add(c.o.Timeouts.Block)); err != nil {
		return err
	}
	return c.ctx.Err() // watch may have come first
}

// say writes one command alone and reads its reply. A reply of 4xx or 5xx is
// the caller's to judge.
func (c *Conn) say(command, line string, each func([]byte)) (reply, *mail.Failure) {
	c.await(c.o.Timeouts.Command)
	if err := c.write([]byte(line + "\r\n")); err != nil {
		return reply{}, c.die(c.lost(command, err))
	}
	return c.read(command, each)
}

// read reads one reply and makes the connection dead where there is none, or
// where it is the 421 that a server may say at any point before it closes
// (RFC 5321 section 3.8).
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

// die makes the connection dead. The first reason stays.
func (c *Conn) die(f *mail.Failure) *mail.Failure {
	if c.err == nil {
		c.err = f
	}
	return c.err
}

// verified says whether we know whom we talk to and that nobody listens (RFC
// 8689 section 2): a TLS session that was verified, or would have been had the
// mode asked for it, or a link that is private in itself.
func (c *Conn) verified() bool {
	if c.o.PrivateLink {
		return true
	}
	if c.tls == nil {
		return false
	}
	state := c.tls.ConnectionState()
	if len(state.VerifiedChains) > 0 {
		return true
	}
	config := c.o.TLS
	if c.o.TLSMode == TLSRequire {
		// The caller verifies in its own way, such as by TLSA records.
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
	if c.o.TLS != nil && c.o.TLS.ServerName != "" {
		return c.o.TLS.ServerName
	}
	return c.o.Host
}
