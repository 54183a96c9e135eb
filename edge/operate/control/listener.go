package control

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
)

// capped closes connections above a limit at once, so that a client that opens many uses up only
// the descriptors of the control listeners, and none of mail's.
type capped struct {
	net.Listener
	limit   int64
	open    atomic.Int64
	refused atomic.Int64
}

// Accept returns the next connection within the limit.
func (l *capped) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= l.limit {
			return &cappedConn{Conn: c, of: l}, nil
		}
		l.open.Add(-1)
		l.refused.Add(1)
		c.Close() // nothing was sent on it
	}
}

type cappedConn struct {
	net.Conn
	of   *capped
	once sync.Once
}

// Close frees the connection's slot.
func (c *cappedConn) Close() error {
	c.once.Do(func() { c.of.open.Add(-1) })
	return c.Conn.Close()
}

// peer is the process at the other end of the unix socket, for the log.
type peer struct{ uid, pid int }

type peerKey struct{}

// withPeer puts the peer of a connection into the context of its requests.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	capped, ok := c.(*cappedConn)
	if !ok {
		return ctx
	}
	unix, ok := capped.Conn.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return ctx
	}
	var cred *syscall.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err != nil || credErr != nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, peer{uid: int(cred.Uid), pid: int(cred.Pid)})
}

// peerOf returns who sent a request; -1 if that is not known.
func peerOf(ctx context.Context) peer {
	if p, ok := ctx.Value(peerKey{}).(peer); ok {
		return p
	}
	return peer{uid: -1, pid: -1}
}
