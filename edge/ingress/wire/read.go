package wire

import (
	"bytes"
	"io"
	"syscall"
	"time"
)

// readLine returns the next line with its CRLF, after all replies are sent.
// A line that must not be is answered, and ends the connection.
func (c *Conn) readLine() ([]byte, error) {
	max := c.settings.Limits.MaxLine
	if max <= 0 {
		max = 2048
	}
	searched := 0
	var deadline time.Time // for the whole line, however slowly it trickles
	if len(c.out.bytes()) > maxOut {
		if err := c.flush(); err != nil {
			return nil, err
		}
	}
	for {
		buf := c.in.unread()
		if i := bytes.IndexByte(buf[searched:], '\n'); i >= 0 {
			line := buf[:searched+i+1]
			c.in.use(len(line))
			if len(line) > max {
				c.reject("500", "5.5.2", "line too long", "line too long")
				return nil, nil
			}
			return line, nil
		}
		if searched = len(buf); searched >= max {
			c.reject("500", "5.5.2", "line too long", "line too long")
			return nil, nil
		}
		if err := c.flush(); err != nil {
			return nil, err
		}
		if deadline.IsZero() {
			deadline = c.deadline()
		}
		if err := c.wait(deadline); err != nil {
			return nil, err
		}
	}
}

// Delay keeps a client that errs waiting, after its replies so far are sent. It
// ends early when clients are told to go.
func (c *Conn) Delay(d time.Duration) {
	c.settle()
	if c.flush() != nil {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.registry.leaving():
	}
}

// deadline is until when the client may take to send its next command.
func (c *Conn) deadline() time.Time {
	limits := &c.settings.Limits
	d := time.Now().Add(orDefault(limits.CommandTimeout, 5*time.Minute))
	if limits.SessionTimeout > 0 {
		if last := c.began.Add(limits.SessionTimeout); last.Before(d) {
			return last
		}
	}
	return d
}

// wait reads more of a command, until deadline or until clients are told to go.
func (c *Conn) wait(deadline time.Time) error {
	c.cmd.Line, c.cmd.Arg = nil, nil // so does the last command
	c.mu.Lock()
	c.waiting = !c.mail
	err := c.readUntil(deadline)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	err = c.fill()
	c.mu.Lock()
	c.waiting = false
	c.mu.Unlock()
	return err
}

// hurry is called by the registry, from outside, when clients are told to go:
// one that is silent between transactions need not be waited for.
func (c *Conn) hurry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hurried = true
	if c.waiting || c.settings.Limits.DrainSilence > 0 && !c.until.IsZero() {
		_ = c.readUntil(c.until)
	}
}

// readUntil sets how long a read may take, less if clients were told to go. The
// caller holds mu.
func (c *Conn) readUntil(deadline time.Time) error {
	silence := c.settings.Limits.DrainSilence
	switch {
	case c.hurried && c.waiting:
		deadline = time.Unix(1, 0)
	case c.hurried && silence > 0:
		if soon := time.Now().Add(silence); soon.Before(deadline) {
			deadline = soon
		}
	}
	c.until = deadline
	return c.sock.SetReadDeadline(deadline)
}

func (c *Conn) isHurried() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hurried
}

// fill reads what the socket has, or waits for it, holding no buffer while it
// waits where that can be done. The deadline is the caller's to set.
func (c *Conn) fill() error {
	var n int
	var err error
	switch {
	case c.tls != nil:
		// TLS keeps a record of its own, so a small buffer for an idle client
		// costs no system call more.
		c.in.release()
		size := c.want
		if c.phase != inMessage && c.in.lent == nil {
			size = smallBuffer
		}
		c.in.grow(size)
		n, err = c.tls.Read(c.in.room())
	case c.raw != nil:
		c.readN, c.readErr = 0, nil
		if err = c.raw.Read(c.readFn); err == nil {
			n, err = c.readN, c.readErr
		}
	default:
		c.in.grow(c.want)
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

// readNow reads without waiting; false asks the poller to wait and call again.
func (c *Conn) readNow(fd uintptr) bool {
	c.in.grow(c.want)
	for {
		n, err := syscall.Read(int(fd), c.in.room())
		switch err {
		case nil:
			c.readN = n
			return true
		case syscall.EINTR:
		case syscall.EAGAIN:
			c.in.release()
			return false
		default:
			c.readErr = err
			return true
		}
	}
}
