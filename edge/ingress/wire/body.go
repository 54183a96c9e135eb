package wire

import (
	"errors"
	"io"
	"time"
)

// Faults of a message. What follows one in DATA could be the rest of the message or commands, so it
// ends the connection. In BDAT the client has said where the chunk ends.
var (
	ErrBareLF   = errors.New("bare LF in message")
	ErrBareCR   = errors.New("bare CR in message")
	ErrNUL      = errors.New("NUL in message")
	ErrLongText = errors.New("line too long in message")
)

// Faults of the transfer, which end the connection.
var (
	ErrSlow    = errors.New("message came too slowly")
	ErrLate    = errors.New("session lasted too long")
	ErrGone    = errors.New("connection lost within the message")
	ErrTooMuch = errors.New("more than a message may have")
)

// Body is a message on its way in. It passes runs of it on, without the dots of DATA, with every line
// end checked, straight from the read buffer.
type Body struct {
	c       *Conn
	framing framing
	rate    rate
	dropped int64 // bytes read away because they were not wanted
	fault   error // the first one of a message in chunks
}

// NewBody begins a message: that of DATA, or the first chunk of one.
func (c *Conn) NewBody(data bool) *Body {
	return &Body{c: c, framing: framing{maxLine: c.settings.Limits.MaxTextLine, dotted: data}}
}

// ReadData reads a message of DATA to its end, into w. If w refuses it, the rest is read away, up to the
// size that a message may have, and w's error is returned: the client hears a refusal only after the
// message, and the connection can go on then. All other errors end the connection.
func (b *Body) ReadData(w io.Writer) error {
	var refused error
	for {
		run, used, over, err := b.framing.next(b.c.in.unread())
		switch {
		case err != nil:
			return b.end(err)
		case over:
			b.c.in.use(used)
			return refused
		case used == 0:
			if err := b.fill(); err != nil {
				return b.end(err)
			}
			continue
		}
		b.c.in.use(used)
		if refused == nil {
			_, refused = w.Write(run)
		} else if err := b.drop(len(run)); err != nil {
			return b.end(err)
		}
	}
}

// ReadChunk reads n bytes of a message in chunks into w; last says that there are no more. If w refuses
// them, or there is a fault in them, the rest is read away. Then the connection can go on, after ErrSlow
// and the like it has ended. A w of nil reads the chunk away.
func (b *Body) ReadChunk(w io.Writer, n int64, last bool) error {
	if w == nil && n > b.mostDropped() {
		return b.end(ErrTooMuch) // it need not come first
	}
	var refused error
	for n > 0 {
		buf := b.c.in.unread()
		buf = buf[:min(int64(len(buf)), n)]
		if len(buf) == 0 {
			if err := b.fill(); err != nil {
				return b.end(err)
			}
			continue
		}
		if w != nil && refused == nil && b.fault == nil {
			refused = b.pass(w, buf)
		} else if err := b.drop(len(buf)); err != nil {
			return b.end(err)
		}
		b.c.in.use(len(buf))
		n -= int64(len(buf))
	}
	if last && b.fault == nil && w != nil {
		b.fault = b.framing.end()
	}
	return errors.Join(refused, b.fault)
}

// pass checks bytes of a chunk and writes them to w. It returns w's error; a fault of theirs is kept.
func (b *Body) pass(w io.Writer, p []byte) error {
	for b.c.settings.Limits.NormalizeLF && len(p) > 0 {
		i := b.framing.bareLF(p)
		if i < 0 {
			break
		}
		for _, piece := range [][]byte{p[:i], crlf} {
			if err := b.passRun(w, piece); err != nil || b.fault != nil {
				return err
			}
		}
		p = p[i+1:]
	}
	return b.passRun(w, p)
}

func (b *Body) passRun(w io.Writer, p []byte) error {
	if _, _, _, b.fault = b.framing.next(p); b.fault != nil || len(p) == 0 {
		return nil
	}
	_, err := w.Write(p)
	return err
}

// drop counts what is read away.
func (b *Body) drop(n int) error {
	if b.dropped += int64(n); b.dropped > b.mostDropped() {
		return ErrTooMuch
	}
	return nil
}

// mostDropped is how much is read away: the size that a message may have.
func (b *Body) mostDropped() int64 {
	if most := b.c.settings.Limits.MaxMessage; most > 0 {
		return most
	}
	return 64 << 20
}

// fill reads more, within the time that a message has.
func (b *Body) fill() error {
	c := b.c
	if err := c.Flush(); err != nil {
		return err
	}
	limits := &c.settings.Limits
	began := time.Now()
	silence := c.patience(orDefault(limits.DataTimeout, 3*time.Minute))
	if limits.MinRate > 0 {
		silence = min(silence, b.rate.patience(limits.MinRate, limits.MinRateGrace))
	}
	deadline := began.Add(silence)
	last := c.deadline(deadline)
	c.leave.mu.Lock()
	err := c.readUntil(last)
	c.leave.mu.Unlock()
	if err != nil {
		return err
	}
	before := c.stats.In
	err = c.fill(b.bufferSize())
	b.rate.add(time.Since(began), c.stats.In-before)
	switch {
	case isTimeout(err) && c.isCut():
		return ErrCut
	case isTimeout(err) && last.Before(deadline):
		return ErrLate
	case isTimeout(err):
		return ErrSlow
	case errors.Is(err, io.EOF):
		return ErrGone
	}
	return err
}

// bufferSize returns that of the next read: a message that keeps filling its buffer gets the large one.
func (b *Body) bufferSize() int {
	if in := &b.c.in; in.lent != nil && in.w == len(*in.lent) {
		return nextSize(len(*in.lent))
	}
	return middleBuffer
}

// end makes err the end of the connection.
func (b *Body) end(err error) error {
	b.c.End(reasonOf(err))
	return err
}

// reasonOf returns the word for Stats and metrics, one of a fixed few.
func reasonOf(err error) string {
	switch {
	case errors.Is(err, ErrBareCR), errors.Is(err, ErrBareLF), errors.Is(err, ErrNUL):
		return "bare line end"
	case errors.Is(err, ErrLongText):
		return "line too long"
	case errors.Is(err, ErrSlow):
		return "slow"
	case errors.Is(err, ErrLate):
		return "timeout"
	case errors.Is(err, ErrTooMuch):
		return "message size"
	case errors.Is(err, ErrCut):
		return "cut"
	}
	return "disconnect"
}
