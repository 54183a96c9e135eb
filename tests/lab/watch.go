package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Route is a route in a kernel's main table.
type Route struct {
	Prefix   netip.Prefix
	Gateway  netip.Addr // invalid: none
	Protocol uint8      // who installed it: ProtocolBIRD, ProtocolBGP, ...
}

// Values of rtm_protocol: who installed a route.
const (
	ProtocolBIRD = 12
	ProtocolBGP  = 186 // FRR's bgpd, through zebra
)

// RouteChange is an added or removed route, with the time when the kernel reported it.
type RouteChange struct {
	At   time.Time
	Gone bool
	Route
}

// Watch follows the routes of a namespace's kernel.
type Watch struct {
	file *os.File
	done chan struct{}

	mu      sync.Mutex
	table   map[netip.Prefix]Route
	changes []RouteChange
	failure error
	news    chan struct{} // closed and replaced at each change
}

// Watch starts following the routes. Existing routes are in the table at once and are also reported
// as changes.
func (n *Namespace) Watch() (*Watch, error) {
	w := &Watch{done: make(chan struct{}), table: make(map[netip.Prefix]Route), news: make(chan struct{})}
	err := n.Do(func() error {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("netlink socket: %w", err)
		}
		w.file = os.NewFile(uintptr(fd), "netlink")
		groups := uint32(1<<(unix.RTNLGRP_IPV4_ROUTE-1) | 1<<(unix.RTNLGRP_IPV6_ROUTE-1))
		if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
			return errors.Join(fmt.Errorf("netlink socket: %w", err), w.file.Close())
		}
		// A full table must not overrun the buffer. Only the machine's root may ask for so much; in
		// a user namespace, no table is that large.
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20); !errors.Is(err, unix.EPERM) {
			return err
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	listed := make(chan error, 1)
	go func() {
		defer close(w.done)
		w.read(listed)
	}()
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		if _, err := w.file.Write(dump(family)); err != nil {
			return nil, errors.Join(fmt.Errorf("asking for routes: %w", err), w.Close())
		}
		select {
		case err = <-listed:
		case <-time.After(10 * time.Second):
			err = errors.New("the kernel does not list its routes")
		}
		if err != nil {
			return nil, errors.Join(err, w.Close())
		}
	}
	return w, nil
}

// dump requests all routes of a family.
func dump(family byte) []byte {
	b := make([]byte, unix.SizeofNlMsghdr+unix.SizeofRtMsg)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], unix.RTM_GETROUTE)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	b[unix.SizeofNlMsghdr] = family
	return b
}

// Close stops the watch.
func (w *Watch) Close() error {
	err := w.file.Close()
	<-w.done
	return err
}

// read processes the kernel's messages until the socket is closed.
func (w *Watch) read(listed chan<- error) {
	buffer := make([]byte, 1<<16)
	for {
		n, err := w.file.Read(buffer)
		at := time.Now()
		if err == nil {
			var messages []syscall.NetlinkMessage
			if messages, err = syscall.ParseNetlinkMessage(buffer[:n]); err == nil {
				w.takeMessages(at, messages, listed)
				continue
			}
		}
		w.mu.Lock()
		if !errors.Is(err, os.ErrClosed) {
			w.failure = fmt.Errorf("netlink: %w", err)
		}
		close(w.news)
		w.news = make(chan struct{})
		w.mu.Unlock()
		return
	}
}

func (w *Watch) takeMessages(at time.Time, messages []syscall.NetlinkMessage, listed chan<- error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	changed := false
	for _, m := range messages {
		switch m.Header.Type {
		case unix.NLMSG_DONE:
			listed <- nil
		case unix.NLMSG_ERROR:
			listed <- errors.New("netlink: the kernel refuses to list routes")
		case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
			route, ok := parseRoute(m.Data)
			if !ok {
				continue
			}
			gone := m.Header.Type == unix.RTM_DELROUTE
			w.changes = append(w.changes, RouteChange{At: at, Gone: gone, Route: route})
			switch {
			case !gone:
				w.table[route.Prefix] = route
			case w.table[route.Prefix] == route: // otherwise another route has replaced it
				delete(w.table, route.Prefix)
			}
			changed = true
		}
	}
	if changed {
		close(w.news)
		w.news = make(chan struct{})
	}
}

// parseRoute parses a message about a unicast route of the main table.
func parseRoute(b []byte) (r Route, ok bool) {
	if len(b) < unix.SizeofRtMsg || b[4] != unix.RT_TABLE_MAIN || b[7] != unix.RTN_UNICAST {
		return r, false
	}
	bits := int(b[1])
	r.Protocol = b[5]
	address := netip.IPv4Unspecified()
	if b[0] == unix.AF_INET6 {
		address = netip.IPv6Unspecified()
	}
	for b = b[unix.SizeofRtMsg:]; len(b) >= unix.SizeofRtAttr; {
		size, kind := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		if size < unix.SizeofRtAttr || size > len(b) {
			return r, false
		}
		switch value := b[unix.SizeofRtAttr:size]; kind {
		case unix.RTA_DST:
			address, _ = netip.AddrFromSlice(value)
		case unix.RTA_GATEWAY:
			r.Gateway, _ = netip.AddrFromSlice(value)
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	r.Prefix = netip.PrefixFrom(address, bits)
	return r, r.Prefix.IsValid()
}

// Gateway returns where packets to a prefix go now; invalid: there is no route.
func (w *Watch) Gateway(prefix string) netip.Addr {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.table[netip.MustParsePrefix(prefix)].Gateway
}

// Route returns the route to a prefix; ok is false if there is none.
func (w *Watch) Route(prefix string) (r Route, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r, ok = w.table[netip.MustParsePrefix(prefix)]
	return r, ok
}

// Count returns the number of routes.
func (w *Watch) Count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.table)
}

// Changes returns the changes of a prefix since a given time.
func (w *Watch) Changes(prefix string, since time.Time) []RouteChange {
	p := netip.MustParsePrefix(prefix)
	w.mu.Lock()
	defer w.mu.Unlock()
	var some []RouteChange
	for _, c := range w.changes {
		if c.Prefix == p && !c.At.Before(since) {
			some = append(some, c)
		}
	}
	return some
}

// errStill is wrapped by the error of a wait that ended without the wanted change.
var errStill = errors.New("the route is not as wanted")

// Await waits until packets to a prefix go through gateway ("" means without a route, "!" before an
// address means any other) and returns when that happened: the zero time if it was so from the
// start.
func (w *Watch) Await(ctx context.Context, prefix, gateway string, limit time.Duration) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	p := netip.MustParsePrefix(prefix)
	began := time.Now()
	for {
		w.mu.Lock()
		now, news, failure := w.table[p].Gateway, w.news, w.failure
		var at time.Time
		for _, c := range w.changes {
			if c.Prefix == p && c.At.After(began) {
				at = c.At
			}
		}
		w.mu.Unlock()
		switch {
		case failure != nil:
			return at, failure
		case matches(now, gateway):
			return at, nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return at, fmt.Errorf("after %s %w: packets to %s go through %s, not %s", limit, errStill, prefix, now, gateway)
		}
	}
}

func matches(now netip.Addr, gateway string) bool {
	switch {
	case gateway == "":
		return !now.IsValid()
	case gateway[0] == '!':
		return now.IsValid() && now != netip.MustParseAddr(gateway[1:])
	}
	return now == netip.MustParseAddr(gateway)
}

// AwaitLeft waits until packets to a prefix stop going through gateway, and returns the first time
// after since at which they did.
func (w *Watch) AwaitLeft(ctx context.Context, prefix, gateway string, since time.Time, limit time.Duration) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		w.mu.Lock()
		news, failure := w.news, w.failure
		w.mu.Unlock()
		if at, ok := w.Left(prefix, gateway, since); ok || failure != nil {
			return at, failure
		}
		select {
		case <-news:
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("after %s packets to %s still go through %s", limit, prefix, gateway)
		}
	}
}

// Left returns the first time after since at which packets to a prefix stopped going through
// gateway; ok is false if they still go there.
func (w *Watch) Left(prefix, gateway string, since time.Time) (at time.Time, ok bool) {
	address := netip.MustParseAddr(gateway)
	for _, c := range w.Changes(prefix, since) {
		if c.Gone == (c.Gateway == address) {
			return c.At, true
		}
	}
	return at, false
}
