package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// pace is how often the device is compared with what is wanted without a notification of a
	// change. A path MTU that the kernel discovered is only noticed this way.
	pace = 5 * time.Second
	// rest is how long a comparison waits after the previous one, so that few of them handle a
	// burst of changes.
	rest = 200 * time.Millisecond
	// patience is how long a host name may take to resolve.
	patience = 5 * time.Second
)

// Run watches until ctx ends, and then returns nil: it derives the MTU again when routes or devices
// change, looks host names up again while their peers do not answer, and undoes foreign changes of
// the device. Failures are in Status and log, and are retried. It fails if it can't watch.
func (t *Tunnel) Run(ctx context.Context) error {
	var changes *nl.NetlinkSocket
	err := t.space.do(func() (err error) {
		changes, err = nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK,
			unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE)
		return err
	})
	if err != nil {
		return fmt.Errorf("tunnel %s: watch routes: %w", t.name, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var broken error // why listening ended before ctx did
	var parts sync.WaitGroup
	parts.Go(func() {
		if err := t.listen(changes); ctx.Err() == nil {
			broken = fmt.Errorf("tunnel %s: watch routes: %w", t.name, err)
			cancel()
		}
	})
	parts.Go(func() { t.keepResolved(ctx) })
	t.keep(ctx)
	cancel()
	changes.Close()
	parts.Wait()
	return broken
}

// keep steps whenever it is poked, and periodically.
func (t *Tunnel) keep(ctx context.Context) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.poke:
		case <-tick.C:
		}
		t.mutex.Lock()
		_ = t.step(time.Now()) // reported by Status, and logged
		t.mutex.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-time.After(rest):
		}
	}
}

// listen pokes for each change that the kernel reports, until the socket is closed. The content
// does not matter: everything is compared anyway.
func (t *Tunnel) listen(changes *nl.NetlinkSocket) error {
	for {
		_, _, err := changes.Receive()
		if err != nil && !errors.Is(err, unix.ENOBUFS) { // ENOBUFS: the buffer overflowed, which pokes too
			return err
		}
		t.poked()
	}
}

func (t *Tunnel) poked() {
	select {
	case t.poke <- struct{}{}:
	default:
	}
}

// keepResolved looks up the names that are due.
func (t *Tunnel) keepResolved(ctx context.Context) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if t.resolve(ctx) {
			t.poked()
		}
	}
}

// resolve looks up the host names that are due, all at once, and reports whether there were any.
// The mutex is not held meanwhile.
func (t *Tunnel) resolve(ctx context.Context) bool {
	due := t.due(time.Now())
	if len(due) == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var asking sync.WaitGroup
	for _, f := range due {
		name := f.host.name // never changes
		asking.Go(func() {
			addrs, err := t.lookup(ctx, name)
			t.recordAnswer(f, name, addrs, err)
		})
	}
	asking.Wait()
	return true
}

// due returns the peers whose name should be looked up.
func (t *Tunnel) due(now time.Time) []*peerEndpoint {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if t.device == nil || t.want == nil {
		return nil
	}
	have, err := t.device.have()
	if err != nil {
		return nil // the next step notices
	}
	last := handshakes(have)
	var due []*peerEndpoint
	for key, f := range t.known {
		if f.due(now, last[key]) {
			due = append(due, f)
		}
	}
	return due
}

// recordAnswer records the answer to a lookup.
func (t *Tunnel) recordAnswer(f *peerEndpoint, name string, addrs []netip.Addr, err error) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	before := f.err
	f.answer(time.Now(), addrs, err)
	switch {
	case f.err != nil && (before == nil || before.Error() != f.err.Error()):
		t.log.Warn("tunnel endpoint does not resolve", "interface", t.name, "host", name, "err", f.err)
	case f.err == nil && before != nil:
		t.log.Info("tunnel endpoint resolves again", "interface", t.name, "host", name)
	}
}
