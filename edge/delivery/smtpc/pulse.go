package smtpc

import (
	"io"
	"net"
	"syscall"
)

// pulse looks at an idle socket without reading from it. A kept connection
// that the server closed, or on which it said something since, must not be
// given a message: the first would look like a loss in the middle of it, the
// second would shift every reply by one.
type pulse struct {
	raw  syscall.RawConn
	look func(fd uintptr)
	n    int
	err  error
}

// newPulse returns nil where conn is no socket.
func newPulse(conn net.Conn) *pulse {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	p := &pulse{raw: raw}
	p.look = func(fd uintptr) {
		var b [1]byte
		p.n, _, p.err = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	}
	return p
}

// check says whether octets wait to be read, or the error that the next read
// would meet: io.EOF where the other side closed.
func (p *pulse) check() (waiting bool, err error) {
	if p == nil {
		return false, nil
	}
	if err := p.raw.Control(p.look); err != nil {
		return false, err
	}
	switch {
	case p.err == syscall.EAGAIN || p.err == syscall.EINTR:
		return false, nil
	case p.err != nil:
		return false, p.err
	case p.n == 0:
		return false, io.ErrUnexpectedEOF
	}
	return true, nil
}
