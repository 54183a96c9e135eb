// Package device binds connections to the network device of the tunnel, so that mail for core leaves
// by it or not at all.
package device

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// unanswered is how long what was sent through a device may stay without an
	// acknowledgement before the connection is given up (TCP_USER_TIMEOUT). A
	// tunnel that is down says nothing.
	unanswered = 15 * time.Second
	// aliveIdle and aliveAgain are when a silent connection is probed, and how often
	// until a probe is answered. With TCP_USER_TIMEOUT the kernel gives up at the
	// first probe that finds another unanswered after that time. Probes 15s apart
	// would end a wait for core at the first lost packet, and the message would be
	// delivered twice.
	aliveIdle  = 5 * time.Second
	aliveAgain = 2 * time.Second
	// watchEvery is how often Watch checks that the device still exists.
	watchEvery = 250 * time.Millisecond
)

// Device is a network device that connections are bound to: not one packet of theirs leaves
// another way, whatever the routes say. While it does not exist, nothing can be dialled.
//
// A connection stays bound to the device that it was opened with, also when that
// is gone and another one has its name: nothing that is sent on it arrives, and
// nothing says so. So Watch closes it.
type Device struct {
	name string
	log  *slog.Logger
	back func() // called a moment after the device has come

	mu    sync.Mutex
	bound []*net.TCPConn // through it, including closed ones until the next check
}

// New creates a Device for the network device of that name, whether that exists or not. back is
// called shortly after it has appeared.
func New(name string, log *slog.Logger, back func()) *Device {
	return &Device{name: name, log: log, back: back}
}

// Dial dials like a net.Dialer, through the device. Binding needs no privilege since Linux 5.7.
func (d *Device) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := net.Dialer{Control: d.bind, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: aliveIdle, Interval: aliveAgain}}
	dialer.SetMultipathTCP(false) // its further connections would be bound to nothing
	conn, err := dialer.DialContext(ctx, network, address)
	switch {
	case errors.Is(err, unix.ENODEV):
		return nil, &net.OpError{Op: "dial", Net: network, Err: absent(d.name)}
	case err != nil:
		return nil, err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("dial: %s is not TCP", network), conn.Close())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bound = append(slices.DeleteFunc(d.bound, isClosed), tcp)
	return tcp, nil
}

// absent is the error of a dial through a device that does not exist.
type absent string

func (name absent) Error() string {
	return fmt.Sprintf("the tunnel %s is not there: is anymx-net running?", string(name))
}

// bind is called with each new socket, before it connects.
func (d *Device) bind(_, _ string, raw syscall.RawConn) error {
	var err error
	if e := raw.Control(func(fd uintptr) {
		if err = unix.BindToDevice(int(fd), d.name); err == nil {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unanswered.Milliseconds()))
		}
	}); e != nil {
		return e
	}
	return os.NewSyscallError("setsockopt", err)
}

// Watch closes what is bound to a device that is gone, until ctx ends.
func (d *Device) Watch(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	before, err := d.index()
	if err != nil {
		d.log.Warn("mail for core waits", "err", err)
	}
	came := false // at the last look
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if came {
			d.back() // not before those that were closed have told their users
			came = false
		}
		now, err := d.index()
		if gone := absent(""); err != nil && !errors.As(err, &gone) {
			continue // nobody knows
		}
		// Each time, because it may have come and gone between two checks.
		closed := d.unbind(now)
		switch {
		case now == before && closed == 0:
		case now == 0:
			d.log.Warn("mail for core waits", "err", err, "closed", closed)
		default:
			d.log.Info("the tunnel is there", "interface", d.name, "closed", closed)
			came = true
		}
		before = now
	}
}

// index returns the number of the device; 0 with the reason if there is none.
func (d *Device) index() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(d.name)
	if err != nil {
		return 0, fmt.Errorf("device %s: %w", d.name, err)
	}
	switch err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request); err {
	case nil:
		return int(request.Uint32()), nil
	case unix.ENODEV:
		return 0, absent(d.name)
	default:
		return 0, os.NewSyscallError("ioctl", err)
	}
}

// unbind closes the connections that are not bound to the device number index,
// and returns how many.
func (d *Device) unbind(index int) (closed int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bound = slices.DeleteFunc(d.bound, func(c *net.TCPConn) bool {
		to, err := boundTo(c)
		if err == nil && to == index {
			return false
		}
		if c.Close() == nil {
			closed++
		}
		return true
	})
	return closed
}

// boundTo returns the number of the device that c is bound to.
func boundTo(c *net.TCPConn) (index int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	if e := raw.Control(func(fd uintptr) {
		index, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX)
	}); e != nil {
		return 0, e
	}
	return index, os.NewSyscallError("getsockopt", err)
}

// isClosed reports whether c was closed here.
func isClosed(c *net.TCPConn) bool {
	_, err := boundTo(c)
	return errors.Is(err, net.ErrClosed)
}
