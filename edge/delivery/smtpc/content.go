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
	// Size returns the number of bytes that WriteTo writes.
	Size() int64
	// WriterTo writes the whole message, from its start at each call. If w is an io.ReaderFrom,
	// passing it an *os.File uses sendfile. An error aborts the message, unless its last byte was
	// already written.
	io.WriterTo
	// Pieces appends the whole message to list, in pieces in their order, and returns true if it is
	// in memory. The pieces are only read, and not used after Send has returned.
	Pieces(list [][]byte) ([][]byte, bool)
}

// Sizes of what is written at once, in bytes.
const (
	// eagerMax is the longest body that is sent before the server has accepted a recipient.
	eagerMax = 256 << 10
	// writeBlock is the size that Timeouts.Block applies to, sendBlock the same if the kernel
	// copies.
	writeBlock = 256 << 10
	sendBlock  = 1 << 20
	copyBuffer = 64 << 10
)

var copyBuffers = sync.Pool{New: func() any { return new([copyBuffer]byte) }}

// body is the writer that a Content is written to. It counts bytes, sets a deadline for each block,
// dot-stuffs for DATA, and separates the connection's errors from the content's.
type body struct {
	c    *Conn
	left int64 // bytes not yet written
	err  error // of the connection
	dots *dots // nil for BDAT
}

// writeBody writes all of m's content, and for DATA the line that ends it. Its error is one of the
// connection, or wraps ErrContent. list[:0] is where it gathers m's pieces.
func (c *Conn) writeBody(m Content, list [][]byte, stuff bool) error {
	w := &body{c: c, left: m.Size()}
	if stuff {
		w.dots = &dots{buf: copyBuffers.Get().(*[copyBuffer]byte)}
		defer copyBuffers.Put(w.dots.buf)
	}
	var err error
	if pieces, ok := m.Pieces(list[:0]); ok {
		for i := 0; i < len(pieces) && err == nil; i++ {
			_, err = w.Write(pieces[i])
		}
	} else {
		_, err = m.WriteTo(w)
	}
	switch {
	case w.err != nil:
		return w.err
	case err == nil && w.left > 0:
		err = errSize
	case w.left == 0 && !stuff:
		err = nil // too late: a complete chunk can't be aborted
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrContent, err)
	}
	if stuff {
		return w.finish()
	}
	return nil
}

// Write writes the next bytes of the content.
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
			if !errors.Is(err, syscall.EIO) { // an error of the disk
				w.err = err
			}
			return n, err
		}
		if sent < want {
			return n, nil // the end of the file
		}
	}
	more, err := w.copy(limited) // nothing, or Write reports that the content is too long
	return n + more, err
}

func (w *body) copy(r io.Reader) (int64, error) {
	buf := copyBuffers.Get().(*[copyBuffer]byte)
	defer copyBuffers.Put(buf)
	return io.CopyBuffer(writerOnly{w}, r, buf[:])
}

// writerOnly hides ReadFrom from io.CopyBuffer.
type writerOnly struct{ io.Writer }

// dots is the state of dot-stuffing a message (RFC 5321 section 4.5.2).
type dots struct {
	stuffer
	buf *[copyBuffer]byte
	n   int // buf[:n] is not yet written
}

// stuff writes p with each dot at the start of a line doubled.
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

// finish ends the last line if necessary, and the message.
func (w *body) finish() error {
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

// gather copies p into the buffer and writes the buffer when it is full.
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

// stuffer finds the dots to double. The zero value is at the start of a message.
type stuffer struct {
	begun        bool
	before, last byte // the last two bytes
}

// atStart reports whether the next byte begins a line.
func (s *stuffer) atStart() bool { return !s.begun || s.before == '\r' && s.last == '\n' }

// cut returns how many bytes of p, which is not empty, can be written unchanged, and whether a dot
// has to be inserted after them. A dot after a bare line feed is an error: servers disagree about
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
