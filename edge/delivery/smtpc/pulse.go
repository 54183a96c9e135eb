package smtpc

import (
	"io"
	"net"
	"syscall"
)

// pulse inspects an idle socket without reading from it. A reused connection must not get a message
// if the server has closed it or has sent something since: the first would look like a loss in the
// middle of the message, the second would shift every reply by one.
type pulse struct {
	raw  syscall.RawConn
	look func(fd uintptr)
	n    int
	err  error
}

// newPulse returns nil if conn is not a socket.
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

// check reports whether there is data to read, or the error that the next read would return:
// io.ErrUnexpectedEOF if the server has closed.
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
