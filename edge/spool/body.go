package spool

import (
	"io"
	"io/fs"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"

	"anymx/edge/mail"
)

// Body reads a message as it is delivered, in one goroutine: the envelope's Front, and then the
// stored body without the envelope's Cuts.
type Body struct {
	env    *mail.Envelope
	mem    *held    // the stored body in memory, or
	file   vfs.File // in a file; both are nil when the Body is closed
	stored int64    // size of the stored body

	position
}

// position is how far a message was read.
type position struct {
	front int   // bytes of Front
	at    int64 // bytes of the stored body, read or left out
	cut   int   // number of cuts that begin before at
}

// newBody returns a Body of m, whose stored body is in mem or in f.
func (m *Message) newBody(mem *held, f vfs.File) *Body {
	return &Body{env: m.Envelope, mem: mem, file: f, stored: m.header.size}
}

// copyPiece is the size of the buffer for copying a file.
const copyPiece = 64 << 10

// Size returns the size of the whole message in bytes.
func (b *Body) Size() int64 { return b.env.Size }

// Pieces appends the whole message to list, in pieces, if it is in memory. They must not be
// changed, and must not be used after Close.
func (b *Body) Pieces(list [][]byte) ([][]byte, bool) {
	if b.mem == nil {
		return list, false
	}
	if len(b.env.Front) > 0 {
		list = append(list, b.env.Front)
	}
	var r position
	for n := r.run(b); n > 0; n = r.run(b) {
		list = append(list, b.mem.buf.b[r.at:r.at+n])
		r.at += n
	}
	return list, true
}

// run moves to the next byte of the stored body that is delivered, and returns how many are up to
// the next cut; 0 at the end.
func (r *position) run(b *Body) int64 {
	for cuts := b.env.Cuts; r.cut < len(cuts); r.cut++ {
		if c := cuts[r.cut]; r.at < c.Start {
			return c.Start - r.at
		}
		r.at = cuts[r.cut].End
	}
	return b.stored - r.at
}

// Read continues where the last Read ended.
func (b *Body) Read(p []byte) (int, error) {
	switch {
	case b.mem == nil && b.file == nil:
		return 0, fs.ErrClosed
	case len(p) == 0:
		return 0, nil
	case b.front < len(b.env.Front):
		n := copy(p, b.env.Front[b.front:])
		b.front += n
		return n, nil
	}
	n := b.run(b)
	if n == 0 {
		return 0, io.EOF
	}
	p = p[:min(n, int64(len(p)))]
	if b.mem != nil {
		copy(p, b.mem.buf.b[b.at:])
		b.at += int64(len(p))
		return len(p), nil
	}
	got, err := b.file.ReadAt(p, b.at)
	b.at += int64(got)
	switch {
	case got > 0:
		err = nil
	case err == io.EOF: // the file has become shorter
		err = io.ErrUnexpectedEOF
	}
	return got, err
}

// WriteTo writes what was not read yet. What is in a file is sent to a *net.TCPConn by sendfile(2),
// without copying it through this program.
func (b *Body) WriteTo(w io.Writer) (written int64, err error) {
	if b.mem == nil && b.file == nil {
		return 0, fs.ErrClosed
	}
	if rest := b.env.Front[b.front:]; len(rest) > 0 {
		n, err := w.Write(rest)
		b.front += n
		written += int64(n)
		if err != nil {
			return written, err
		}
	}
	for n := b.run(b); n > 0; n = b.run(b) {
		sent, err := b.writeRun(w, n)
		b.at += sent
		written += sent
		if err == nil && sent < n {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// kernelFile is a file that the kernel can copy from where it stands.
type kernelFile interface {
	vfs.File
	io.Seeker
	syscall.Conn
}

// writeRun writes the next n bytes of the stored body.
func (b *Body) writeRun(w io.Writer, n int64) (int64, error) {
	if b.mem != nil {
		sent, err := w.Write(b.mem.buf.b[b.at : b.at+n])
		return int64(sent), err
	}
	if to, ok := w.(io.ReaderFrom); ok {
		if f, ok := b.file.(kernelFile); ok {
			if _, err := f.Seek(b.at, io.SeekStart); err != nil {
				return 0, err
			}
			return to.ReadFrom(&io.LimitedReader{R: f, N: n})
		}
	}
	buf := newBuffer(copyPiece)
	defer buf.free()
	return io.CopyBuffer(struct{ io.Writer }{w}, io.NewSectionReader(b.file, b.at, n), buf.b[:cap(buf.b)])
}

// Close closes the body. Later calls do nothing.
func (b *Body) Close() error {
	switch {
	case b.mem != nil:
		b.mem.release()
		b.mem = nil
	case b.file != nil:
		f := b.file
		b.file = nil
		return f.Close()
	}
	return nil
}
