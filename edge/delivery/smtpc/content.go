package smtpc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"syscall"
)

// Content is a stored message. Its lines end in CRLF.
type Content interface {
	// Size is the number of octets that WriteTo writes.
	Size() int64
	// WriterTo writes the whole message, from its start at each call. Where w
	// is an io.ReaderFrom, handing it an *os.File makes that a sendfile. An
	// error breaks the message off, unless its last octet was written before.
	io.WriterTo
	// Bytes is the whole message and true where it is in memory already. The
	// slice is only read, and not after Send returned.
	Bytes() ([]byte, bool)
}

// Sizes of what is written at once, in octets.
const (
	// eagerMax is the longest body that is sent before the server accepted a
	// recipient for it.
	eagerMax = 256 << 10
	// writeBlock is what Timeouts.Block is given for, sendBlock the same where
	// the kernel copies.
	writeBlock = 256 << 10
	sendBlock  = 1 << 20
	copyBuffer = 64 << 10
)

var copyBuffers = sync.Pool{New: func() any { return new([copyBuffer]byte) }}

// body is what a Content writes itself into: it counts, gives each block a
// deadline of its own, dot-stuffs for DATA, and keeps the connection's errors
// apart from the content's.
type body struct {
	c    *Conn
	left int64 // octets still due
	err  error // of the connection
	dots *dots // nil under BDAT
}

// writeBody writes all of m's content, and under DATA the line that ends it.
// Its error is one of the connection, or is ErrContent.
func (c *Conn) writeBody(m Content, stuff bool) error {
	w := &body{c: c, left: m.Size()}
	if stuff {
		w.dots = &dots{buf: copyBuffers.Get().(*[copyBuffer]byte)}
		defer copyBuffers.Put(w.dots.buf)
	}
	var err error
	if b, ok := m.Bytes(); ok {
		_, err = w.Write(b)
	} else {
		_, err = m.WriteTo(w)
	}
	switch {
	case w.err != nil:
		return w.err
	case err == nil && w.left > 0:
		err = errSize
	case w.left == 0 && !stuff:
		err = nil // too late: a chunk that is whole can't be taken back
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrContent, err)
	}
	if stuff {
		return w.end()
	}
	return nil
}

// Write takes the next octets of the content.
func (w *body) Write(p []byte) (int, error) {
	if int64(len(p)) > w.left {
		return 0, errSize
	}
	w.left -= int64(len(p))
	if w.dots != nil {
		return len(p), w.stuff(p)
	}
	return len(p), w.send(p)
}

// send writes p to the connection in blocks.
func (w *body) send(p []byte) error {
	for len(p) > 0 && w.err == nil {
		n := min(len(p), writeBlock)
		w.err = w.c.write(p[:n])
		p = p[n:]
	}
	return w.err
}

// ReadFrom copies through a pooled buffer, or lets the kernel copy a file to
// plain TCP, in blocks with a deadline each.
func (w *body) ReadFrom(r io.Reader) (n int64, err error) {
	limited, ok := r.(*io.LimitedReader)
	if !ok {
		limited = &io.LimitedReader{R: r, N: math.MaxInt64}
	}
	if _, file := limited.R.(syscall.Conn); !file || w.c.tcp == nil || w.dots != nil {
		return w.copy(limited)
	}
	for limited.N > 0 && w.left > 0 {
		want := min(limited.N, w.left, sendBlock)
		if w.err = w.c.armWrite(); w.err != nil {
			return n, w.err
		}
		sent, err := w.c.tcp.ReadFrom(&io.LimitedReader{R: limited.R, N: want})
		n, w.left, limited.N = n+sent, w.left-sent, limited.N-sent
		if err != nil {
			if !errors.Is(err, syscall.EIO) { // the disk's
				w.err = err
			}
			return n, err
		}
		if sent < want {
			return n, nil // the file's end
		}
	}
	more, err := w.copy(limited) // none, or Write says that it is too long
	return n + more, err
}

func (w *body) copy(r io.Reader) (int64, error) {
	buf := copyBuffers.Get().(*[copyBuffer]byte)
	defer copyBuffers.Put(buf)
	return io.CopyBuffer(writerOnly{w}, r, buf[:])
}

// writerOnly hides ReadFrom from io.CopyBuffer.
type writerOnly struct{ io.Writer }

// dots is the state of a message on its way through dot-stuffing (RFC 5321
// section 4.5.2).
type dots struct {
	stuffer
	buf *[copyBuffer]byte
	n   int // buf[:n] waits to be written
}

// stuff writes p with the dots that begin a line doubled.
func (w *body) stuff(p []byte) error {
	for len(p) > 0 {
		n, dot, err := w.dots.cut(p)
		if err == nil {
			err = w.gather(p[:n])
		}
		if err == nil && dot {
			err = w.gather(dotLine[:1])
		}
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

var (
	dotLine = []byte(".\r\n")
	lineDot = []byte("\n.")
)

// end closes the last line where the content did not, and the message.
func (w *body) end() error {
	if !w.dots.atStart() {
		if err := w.gather(dotLine[1:]); err != nil {
			return err
		}
	}
	if err := w.gather(dotLine); err != nil {
		return err
	}
	return w.send(w.dots.buf[:w.dots.n])
}

// gather keeps p for a write of a full buffer.
func (w *body) gather(p []byte) error {
	d := w.dots
	for len(p) > 0 {
		if d.n == len(d.buf) {
			d.n = 0
			if err := w.send(d.buf[:]); err != nil {
				return err
			}
		}
		n := copy(d.buf[d.n:], p)
		d.n += n
		p = p[n:]
	}
	return nil
}

// stuffer finds the dots to double. The zero value stands at the start of a
// message.
type stuffer struct {
	begun        bool
	before, last byte // the two octets that went by last
}

// atStart says whether the next octet begins a line.
func (s *stuffer) atStart() bool { return !s.begun || s.before == '\r' && s.last == '\n' }

// cut returns how many octets of p, which is not empty, go out as they are
// before something else must: a dot where dot is true, the rest of p where it
// is not all. A dot behind a bare line feed is refused: servers do not agree
// whether it begins a line.
func (s *stuffer) cut(p []byte) (n int, dot bool, err error) {
	n = len(p)
	switch {
	case p[0] == '.' && s.atStart():
		n, dot = 1, true
	case p[0] == '.' && s.last == '\n':
		return 0, false, errBareLF
	default:
		if i := bytes.Index(p, lineDot); i >= 0 {
			if i > 0 && p[i-1] != '\r' || i == 0 && !(s.begun && s.last == '\r') {
				return 0, false, errBareLF
			}
			n, dot = i+2, true
		}
	}
	if n > 1 {
		s.before = p[n-2]
	} else {
		s.before = s.last
	}
	s.begun, s.last = true, p[n-1]
	return n, dot, nil
}
