package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"anymx/edge/operate/control"
)

// ListenTCP listens on plain TCP. Go's listeners use MPTCP if the kernel has it, and the shield
// can't hand connections to those. Keep-alive is off: each stage of a session has its own timeout,
// and enabling it costs four system calls per connection.
//
// The address need not be on this machine yet: anymx-net adds service addresses, a management port
// may have no carrier, and duplicate address detection of an IPv6 address takes a second or two.
// The socket accepts connections as soon as the address is there (IP_FREEBIND, ip(7)).
func ListenTCP(ctx context.Context, address string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAlive: -1, Control: freeBind}
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l, nil
}

// freeBind sets IP_FREEBIND, which the kernel applies to IPv6 sockets too and which needs no
// privilege. A kernel without it falls back to a normal bind.
func freeBind(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1) })
}

// The pauses between two attempts of a LateListener to open its socket.
const (
	openAgain    = time.Second
	openAgainMax = 5 * time.Second
)

// LateListener is a listener whose socket may open late: Accept retries until it is open or the
// listener is closed. So a server that mail does not need can start even if its address is
// unusable.
type LateListener struct {
	open   func(context.Context) (net.Listener, error)
	report func(error) // receives each outcome
	ctx    context.Context
	cancel context.CancelFunc

	mu     sync.Mutex
	socket net.Listener // nil: it is not open yet
	err    error        // of the last attempt
}

// ListenControl opens the control socket at path, late if necessary. Its directory may be missing,
// or belong to another user.
func ListenControl(path string, d *Degraded) *LateListener {
	return ListenLate(func(context.Context) (net.Listener, error) { return control.Listen(path) },
		func(err error) { d.Report(PartControl, path, err) })
}

// ListenMetrics opens the address for metrics and the status page, late if necessary: another
// program may have the port. It returns nil if address is "".
func ListenMetrics(address string, d *Degraded) net.Listener {
	if address == "" {
		return nil
	}
	return ListenLate(func(ctx context.Context) (net.Listener, error) { return ListenTCP(ctx, address) },
		func(err error) { d.Report(PartMetrics, address, err) })
}

// ListenLate makes a LateListener and attempts to open its socket once. report is called with the
// outcome of each attempt, by one goroutine at a time; nil means that the socket is open.
func ListenLate(open func(context.Context) (net.Listener, error), report func(error)) *LateListener {
	l := &LateListener{open: open, report: report}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.attemptOpen()
	return l
}

// attemptOpen opens the socket if it can.
func (l *LateListener) attemptOpen() net.Listener {
	socket, err := l.open(l.ctx)
	l.mu.Lock()
	if err == nil && l.ctx.Err() != nil { // closed meanwhile
		err = errors.Join(net.ErrClosed, socket.Close())
	}
	if err != nil {
		socket = nil
	}
	l.socket, l.err = socket, err
	l.mu.Unlock()
	if l.ctx.Err() == nil {
		l.report(err)
	}
	return socket
}

// Err returns why the socket is not open; nil if it is.
func (l *LateListener) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Accept waits for the socket, then for a connection.
func (l *LateListener) Accept() (net.Conn, error) {
	l.mu.Lock()
	socket := l.socket
	l.mu.Unlock()
	for pause := openAgain; socket == nil; pause = min(2*pause, openAgainMax) {
		timer := time.NewTimer(pause)
		select {
		case <-l.ctx.Done():
			timer.Stop()
			return nil, net.ErrClosed
		case <-timer.C:
		}
		socket = l.attemptOpen()
	}
	return socket.Accept()
}

// Close closes the socket, and stops the attempts to open it.
func (l *LateListener) Close() error {
	l.cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.socket == nil {
		return nil
	}
	return l.socket.Close()
}

// Addr returns the address of the socket; an empty one while it is not open.
func (l *LateListener) Addr() net.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.socket == nil {
		return &net.TCPAddr{}
	}
	return l.socket.Addr()
}
