package wire

import (
	"bytes"
	"errors"
	"io"
	"net"
	"syscall"
	"time"
	"unicode/utf8"
)

// Reasons why there is no command.
var (
	ErrProxy       = errors.New("bad PROXY header")
	ErrNetworkFull = errors.New("too many connections from this network")
	ErrEarly       = errors.New("data received before greeting")
	ErrLeaving     = errors.New("clients are told to go")
	ErrSilent      = errors.New("client was silent for too long")
	ErrCrowded     = errors.New("the place is needed for others")
	ErrLongLine    = errors.New("line too long")
	ErrCut         = errors.New("client was cut off")
	ErrBareLine    = errors.New("bare CR, bare LF or NUL in command")
	// The two lines that are not commands, and that a session goes on after.
	ErrControl = errors.New("control character in command")
	ErrNotUTF8 = errors.New("command is not UTF-8")
)

// Command is a line as the client sent it, without its CRLF and the spaces before that. Its bytes are
// valid until the next one is read.
type Command struct {
	Verb string // upper case; "" if it is longer than any that we know
	Line []byte // the whole line
	Arg  []byte // what follows the verb, without the spaces around it
}

// ReadCommand returns the next command. It first sends all replies, unless a command is there already.
// open says that a transaction is open: then the client is not told to go.
//
// After ErrControl and ErrNotUTF8 the next command can be read. All other errors end the connection:
// after one of the errors above the client can still be told why.
func (c *Conn) ReadCommand(open bool) (cmd Command, err error) {
	line, err := c.readLine(open)
	if err != nil {
		return cmd, c.lost(err)
	}
	text, err := clean(line)
	if err != nil {
		if errors.Is(err, ErrBareLine) {
			c.End("bare line end")
		}
		return cmd, err
	}
	cmd.parse(text)
	return cmd, nil
}

// lost ends the connection by an error of reading a line.
func (c *Conn) lost(err error) error {
	switch {
	case c.ended: // by Flush, or by readLine
		return err
	case isTimeout(err) && c.isCut():
		c.End("cut")
		return ErrCut
	case isTimeout(err) && (c.Draining() || c.isHurried()):
		c.End("draining")
		return ErrLeaving
	case isTimeout(err) && (c.isEvicted() || c.registry.caps.crowded.Load()):
		c.End("crowded")
		return ErrCrowded
	case isTimeout(err):
		c.End("timeout")
		return ErrSilent
	}
	c.End("disconnect")
	return err
}

// maxLine is the longest command line with its CRLF, in bytes.
func (l *Limits) maxLine() int {
	if l.MaxLine > 0 {
		return l.MaxLine
	}
	return 2048
}

// readLine returns the next line with its CRLF, after all replies are sent.
func (c *Conn) readLine(open bool) ([]byte, error) {
	if c.outLen() > maxOut {
		if err := c.Flush(); err != nil {
			return nil, err
		}
	}
	most := c.settings.Limits.maxLine()
	var deadline time.Time // for the whole line, however slowly it trickles
	for searched := 0; ; {
		buf := c.in.unread()
		i := bytes.IndexByte(buf[searched:], '\n')
		switch {
		case i >= 0 && searched+i < most:
			line := buf[:searched+i+1]
			c.in.use(len(line))
			return line, nil
		case i >= 0 || len(buf) >= most:
			c.End("line too long")
			return nil, ErrLongLine
		}
		searched = len(buf)
		if err := c.Flush(); err != nil {
			return nil, err
		}
		if deadline.IsZero() {
			deadline = c.deadline(time.Now().Add(c.patience(orDefault(c.settings.Limits.CommandTimeout, 5*time.Minute))))
		}
		if err := c.wait(deadline, !open); err != nil {
			return nil, err
		}
	}
}

// clean returns a line without its end and the white space before that (RFC 5321 section 4.1.1). It
// refuses what two servers could read differently, and what is not text.
func clean(line []byte) ([]byte, error) {
	text, crlf := bytes.CutSuffix(line, []byte("\r\n"))
	if !crlf || bytes.IndexByte(text, '\r') >= 0 || bytes.IndexByte(text, 0) >= 0 {
		return nil, ErrBareLine
	}
	ascii := true
	for _, b := range text {
		if b >= 0x80 {
			ascii = false
		} else if b < ' ' && b != '\t' || b == 0x7f {
			return nil, ErrControl
		}
	}
	if !ascii && !utf8.Valid(text) {
		return nil, ErrNotUTF8
	}
	return bytes.TrimRight(text, " \t"), nil
}

// verbs are those that are used all the time: naming one of them costs no allocation.
var verbs = [...]string{"MAIL", "RCPT", "DATA", "BDAT", "EHLO", "QUIT", "RSET", "NOOP", "STARTTLS"}

// parse sets cmd. The verb is what comes before the first space.
func (cmd *Command) parse(text []byte) {
	verb, arg, _ := bytes.Cut(text, []byte{' '})
	*cmd = Command{Line: text, Arg: bytes.Trim(arg, " \t")}
	var upper [16]byte
	if len(verb) > len(upper) {
		return
	}
	for i, b := range verb {
		if b >= 'a' && b <= 'z' {
			b -= 'a' - 'A'
		}
		upper[i] = b
	}
	for _, known := range verbs {
		if string(upper[:len(verb)]) == known {
			cmd.Verb = known
			return
		}
	}
	cmd.Verb = string(upper[:len(verb)])
}

// Buffered reports whether the client has sent more than the command in hand.
func (c *Conn) Buffered() bool { return len(c.in.unread()) > 0 }

// Delay keeps a client that errs waiting, after its replies so far are sent. It ends early when clients
// are told to go.
func (c *Conn) Delay(d time.Duration) {
	if c.Flush() != nil {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.registry.leaving():
	}
}

// deadline returns d, or the end of the session if that is sooner.
func (c *Conn) deadline(d time.Time) time.Time {
	if most := c.settings.Limits.SessionTimeout; most > 0 {
		if last := c.began.Add(most); last.Before(d) {
			return last
		}
	}
	return d
}

// patience returns how long silence may last: d, or less while the table is crowded.
func (c *Conn) patience(d time.Duration) time.Duration {
	if c.registry.caps.crowded.Load() {
		return min(d, orDefault(c.settings.Limits.CrowdedTimeout, 10*time.Second))
	}
	return d
}

// wait reads more of a command, until deadline or, if idle is set, until clients are told to go.
func (c *Conn) wait(deadline time.Time, idle bool) error {
	l := &c.leave
	l.mu.Lock()
	l.waiting, l.idle = idle, time.Now().UnixNano()
	err := c.readUntil(deadline)
	l.mu.Unlock()
	if err != nil {
		return err
	}
	size := middleBuffer
	if c.tls != nil {
		size = smallBuffer // TLS keeps a record of its own, so this costs no system call more
	}
	err = c.fill(size)
	l.mu.Lock()
	l.waiting, l.idle = false, 0
	l.mu.Unlock()
	return err
}

// hurry is called by the registry, from outside, when clients are told to go: one that is silent
// between transactions need not be waited for.
func (c *Conn) hurry() {
	l := &c.leave
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hurried = true
	if l.waiting || c.settings.Limits.DrainSilence > 0 && !l.until.IsZero() {
		_ = c.readUntil(l.until)
	}
}

// readUntil sets how long a read may take, less if clients were told to go. The caller holds leave.mu.
func (c *Conn) readUntil(deadline time.Time) error {
	l, silence := &c.leave, c.settings.Limits.DrainSilence
	switch {
	case l.cut, l.hurried && l.waiting, l.evicted && l.idle != 0:
		deadline = time.Unix(1, 0)
	case l.hurried && silence > 0:
		if soon := time.Now().Add(silence); soon.Before(deadline) {
			deadline = soon
		}
	}
	l.until = deadline
	return c.sock.SetReadDeadline(deadline)
}

// idleSince returns since when the client is waited for between commands, and whether it has a
// transaction open. It reports whether it is.
func (c *Conn) idleSince() (since int64, open, ok bool) {
	l := &c.leave
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.idle, !l.waiting, l.idle != 0 && !l.evicted
}

// evict is called by the registry, from outside: a client that is silent loses its place.
func (c *Conn) evict() {
	l := &c.leave
	l.mu.Lock()
	defer l.mu.Unlock()
	l.evicted = true
	if l.idle != 0 {
		_ = c.readUntil(l.until)
	}
}

func (c *Conn) isEvicted() bool {
	c.leave.mu.Lock()
	defer c.leave.mu.Unlock()
	return c.leave.evicted
}

// Cut ends the wait for the client, from any goroutine and without waiting: what reads from it returns
// ErrCut, now or the next time that it has to wait. The client can still be told why.
func (c *Conn) Cut() {
	l := &c.leave
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = true
	_ = c.readUntil(l.until)
}

func (c *Conn) isCut() bool {
	c.leave.mu.Lock()
	defer c.leave.mu.Unlock()
	return c.leave.cut
}

func (c *Conn) isHurried() bool {
	c.leave.mu.Lock()
	defer c.leave.mu.Unlock()
	return c.leave.hurried
}

// reader reads from a socket without holding a buffer while it waits, where that can be done.
type reader struct {
	raw  syscall.RawConn // nil if it can't
	read func(fd uintptr) bool
	in   *input
	size int // of the buffer for the next read
	n    int
	err  error
}

func (r *reader) open(sock net.Conn) {
	if sc, ok := sock.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			r.raw, r.read = raw, r.now
		}
	}
}

// now reads without waiting; false asks the poller to wait and call again.
func (r *reader) now(fd uintptr) bool {
	r.in.grow(r.size)
	for {
		n, err := syscall.Read(int(fd), r.in.room())
		switch err {
		case nil:
			r.n = n
			return true
		case syscall.EINTR:
		case syscall.EAGAIN:
			r.in.release()
			return false
		default:
			r.err = err
			return true
		}
	}
}

// fill reads what the socket has, or waits for it. size is that of a new buffer. The deadline is the
// caller's to set.
func (c *Conn) fill(size int) error {
	var n int
	var err error
	switch r := &c.reader; {
	case c.tls != nil:
		c.in.release()
		c.in.grow(size)
		n, err = c.tls.Read(c.in.room())
	case r.raw != nil:
		r.in, r.size, r.n, r.err = &c.in, size, 0, nil
		if err = r.raw.Read(r.read); err == nil {
			n, err = r.n, r.err
		}
	default:
		c.in.grow(size)
		n, err = c.sock.Read(c.in.room())
	}
	if n <= 0 {
		c.in.release()
		if err == nil {
			err = io.EOF
		}
		return err
	}
	c.in.w += n
	c.stats.In += int64(n)
	return nil
}
