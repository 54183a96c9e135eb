package wire

import (
	"errors"
	"io"
	"os"
	"time"
)

// Faults of the transfer itself.
var (
	// ErrSlow is a client that went silent or fell below the minimum rate.
	ErrSlow = errors.New("message came too slowly")
	// ErrAborted is a BDAT transfer that its client gave up with RSET.
	ErrAborted = errors.New("message aborted by the client")
	// ErrGone is a client that closed the connection within its message.
	ErrGone = errors.New("connection lost within the message")

	errTooMuch = errors.New("more than a message may have")
)

// Body is a message on its way in: an io.WriterTo that pushes runs of it,
// unstuffed, with every line end checked, straight from the read buffer.
//
// Every error but that of the writer ends the connection after the session's
// reply, because what follows on the wire could be the rest of the message. Only
// a message that WriteTo has read to its end, without an error, is whole.
type Body struct {
	c     *Conn
	msg   message
	chunk int64 // octets left of the BDAT chunk
	last  bool  // it is the last
	dot   bool  // DATA, else BDAT
	over  bool  // all of it was read
	begun bool  // the session has asked for it
	err   error

	waited time.Duration // for the client
	size   int64         // octets off the wire
}

func (b *Body) begin(dot bool) {
	*b = Body{c: b.c, dot: dot, msg: message{maxLine: b.c.settings.Limits.MaxTextLine, dotted: dot}}
}

// WriteTo reads the message to its end into w. It may be called once. After an
// error of w the rest of the message is read and dropped later.
func (b *Body) WriteTo(w io.Writer) (int64, error) {
	c := b.c
	b.begun = true
	c.cmd.Line, c.cmd.Arg = nil, nil // they stand where the message comes in
	var n int64
	for !b.over && b.err == nil {
		run, err := b.run()
		if err != nil {
			return n, b.fail(err)
		}
		if len(run) == 0 {
			continue
		}
		wrote, err := w.Write(run)
		n += int64(wrote)
		if err != nil {
			return n, err
		}
	}
	return n, b.err
}

// run is the next piece of the message, read from the socket if need be; empty
// where only something was dropped or a chunk ended.
func (b *Body) run() ([]byte, error) {
	c := b.c
	buf := c.in.unread()
	if !b.dot {
		if b.chunk == 0 {
			return nil, b.nextChunk()
		}
		buf = buf[:min(int64(len(buf)), b.chunk)]
	}
	if len(buf) == 0 {
		return nil, b.fill()
	}
	run, used, done, err := b.msg.next(buf)
	if err != nil {
		return nil, err
	}
	c.in.use(used)
	if !b.dot {
		b.chunk -= int64(used)
	}
	b.over = done
	if used == 0 {
		return nil, b.fill()
	}
	return run, nil
}

// fill reads more, within the time that a message has. Only waiting for the
// client counts for the minimum rate: it can't help how slowly we store.
func (b *Body) fill() error {
	c := b.c
	if err := c.flush(); err != nil {
		return err
	}
	began := time.Now()
	c.mu.Lock()
	err := c.readUntil(began.Add(b.patience()))
	c.mu.Unlock()
	if err != nil {
		return err
	}
	before := c.stats.In
	err = c.fill()
	b.waited += time.Since(began)
	got := c.stats.In - before
	b.size += got
	if c.in.lent != nil && int(got) == len(*c.in.lent) {
		c.want = nextSize(c.want)
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ErrSlow
	case errors.Is(err, io.EOF):
		return ErrGone
	}
	return err
}

// patience is how long the client may stay silent now: DataTimeout, and not
// until it falls below the minimum rate.
func (b *Body) patience() time.Duration {
	limits := &b.c.settings.Limits
	silence := orDefault(limits.DataTimeout, 3*time.Minute)
	if limits.MinRate <= 0 {
		return silence
	}
	const years = 1e9 // seconds, which a Duration can still hold
	earned := min(float64(b.size)/float64(limits.MinRate), years)
	return min(silence, max(time.Duration(earned*float64(time.Second)), limits.MinRateGrace)-b.waited)
}

// nextChunk is called when a BDAT chunk is over: the message is, or its next
// chunk is asked for.
func (b *Body) nextChunk() error {
	c := b.c
	if b.last {
		b.over = true
		return b.msg.end()
	}
	c.say("250", "2.0.0", "chunk taken")
	for {
		line, err := c.readLine()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return ErrSlow
		case err != nil:
			return ErrGone
		case c.ended:
			return b.abort()
		}
		if c.command(line) {
			if done, err := b.between(); done {
				return err
			}
		}
		if c.ended {
			return b.abort()
		}
	}
}

// between handles a command between two chunks; done ends the wait for one.
func (b *Body) between() (done bool, err error) {
	c := b.c
	switch c.cmd.Verb {
	case "BDAT":
		size, last, ok := parseChunk(c.cmd.Arg)
		if !ok {
			c.reject("501", "5.5.4", "BDAT wants a size and perhaps LAST", "BDAT arguments")
			return true, b.abort()
		}
		b.chunk, b.last = size, last
		return true, nil
	case "RSET":
		c.say("250", "2.0.0", "message is forgotten")
		return true, b.abort()
	case "NOOP":
		c.say("250", "2.0.0", "still here")
	case "QUIT":
		c.end("quit")
		c.say("221", "2.0.0", "bye")
		return true, b.abort()
	default:
		c.disorder("BDAT or RSET comes next")
	}
	return false, nil
}

// abort is the end of a message whose client was answered already: what
// go-smtp is going to say to it is not for the client.
func (b *Body) abort() error {
	b.c.swallow = true
	return ErrAborted
}

// fail makes err the end of the message, and of the connection too, unless the
// client has said RSET: else the two sides are apart.
func (b *Body) fail(err error) error {
	b.err, b.over = err, true
	if !errors.Is(err, ErrAborted) {
		b.c.end(reasonOf(err))
	}
	return err
}

// reasonOf is the word for Stats and metrics, one of a fixed few.
func reasonOf(err error) string {
	switch {
	case errors.Is(err, ErrBareCR), errors.Is(err, ErrBareLF), errors.Is(err, ErrNUL):
		return "bare line end"
	case errors.Is(err, ErrLongText):
		return "line too long"
	case errors.Is(err, ErrSlow):
		return "slow"
	case errors.Is(err, errTooMuch):
		return "message size"
	}
	return "disconnect"
}

// droppable is how much is read away to come to the end of a message or of a
// chunk that is not wanted: the size that a message may have.
func (b *Body) droppable() int64 {
	if max := b.c.settings.Limits.MaxMessage; max > 0 {
		return max
	}
	return 64 << 20
}

// finish is called when go-smtp asks for more after the session's Data: what
// the session left of the message, or of this chunk, is read away.
func (b *Body) finish() {
	left := b.droppable()
	// Behind a chunk the reply is the session's, and the next one is refused.
	for !b.over && (b.dot || b.chunk > 0) {
		run, err := b.run()
		if left -= int64(len(run)); err == nil && left < 0 {
			err = errTooMuch
		}
		if err != nil {
			_ = b.fail(err)
		}
	}
	b.c.want = middleBuffer
}

// refuse reads away the chunk of a BDAT that did not get as far as the
// session.
func (b *Body) refuse() {
	c := b.c
	if b.begun || b.over || b.dot || c.ended {
		return
	}
	b.over = true
	if b.chunk > b.droppable() {
		c.end("message size")
		return
	}
	for b.chunk > 0 {
		buf := c.in.unread()
		if len(buf) == 0 {
			if err := b.fill(); err != nil {
				c.end(reasonOf(err))
				return
			}
			continue
		}
		n := min(int64(len(buf)), b.chunk)
		c.in.use(int(n))
		b.chunk -= n
	}
	c.want = middleBuffer
}
