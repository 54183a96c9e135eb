package plumb

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// groups are the netlink notifications we listen to: devices, and what this package manages.
var groups = []uint{
	unix.RTNLGRP_LINK,
	unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
	unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
	unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE,
}

// gap is the least time between two comparisons, in which a burst of changes is collected.
const gap = 50 * time.Millisecond

// events listens to a namespace.
type events struct {
	socket *nl.NetlinkSocket
	poke   chan struct{} // one slot
	ended  chan struct{} // closed when listening has ended, for the reason in err
	err    error
	ours   atomic.Pointer[map[netip.Prefix]bool] // the prefixes of our routes
}

func listen() (*events, error) {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, groups...)
	if err != nil {
		return nil, fmt.Errorf("listen for network changes: %w", err)
	}
	e := &events{socket: s, poke: make(chan struct{}, 1), ended: make(chan struct{})}
	e.expect(nil)
	go func() {
		defer close(e.ended)
		e.err = e.read()
	}()
	return e, nil
}

func (e *events) close() {
	e.socket.Close()
	<-e.ended
}

// expect sets what is wanted from now on.
func (e *events) expect(wants []Want) {
	ours := map[netip.Prefix]bool{}
	for _, w := range wants {
		if r, ok := w.Thing.(Route); ok {
			ours[r.Prefix] = true
		}
	}
	e.ours.Store(&ours)
}

// read pokes for each message that can matter, until the socket is closed.
func (e *events) read() error {
	for {
		messages, _, err := e.socket.Receive()
		if errors.Is(err, unix.ENOBUFS) { // the kernel's buffer overflowed, some messages are lost
			e.touch()
			continue
		}
		if err != nil {
			return fmt.Errorf("listen for network changes: %w", err)
		}
		if slices.ContainsFunc(messages, func(m syscall.NetlinkMessage) bool { return matters(m, *e.ours.Load()) }) {
			e.touch()
		}
	}
}

func (e *events) touch() {
	select {
	case e.poke <- struct{}{}:
	default:
	}
}

// matters leaves out foreign routes that replace none of ours, which lead to the given prefixes: a
// router's table may change thousands of times a second.
func matters(m syscall.NetlinkMessage, ours map[netip.Prefix]bool) bool {
	if m.Header.Type != unix.RTM_NEWROUTE && m.Header.Type != unix.RTM_DELROUTE || len(m.Data) < unix.SizeofRtMsg {
		return true
	}
	header := nl.DeserializeRtMsg(m.Data)
	if header.Protocol == Protocol {
		return true
	}
	if m.Header.Type != unix.RTM_NEWROUTE || m.Header.Flags&unix.NLM_F_REPLACE == 0 {
		return false
	}
	attributes, err := attributesOf(m.Data[header.Len():])
	if err != nil {
		return true // whatever it is
	}
	to := all(header.Family)
	if dst, ok := attributes[unix.RTA_DST]; ok {
		to = prefix(dst, header.Dst_len)
	}
	return ours[to]
}

// Run compares on each change that the kernel reports, and periodically, and restores what differs
// from the last Set, until ctx ends; then it returns nil. What it can't restore is in Status. It
// returns an error if it can't listen any more.
func (p *Plumbing) Run(ctx context.Context) error {
	timer := time.NewTimer(0) // changes since Set are found at once
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.events.ended:
			return p.events.err
		case <-p.events.poke:
			timer.Reset(gap)
			select { // collect the rest of the burst
			case <-timer.C:
			case <-ctx.Done():
				return nil
			}
			select {
			case <-p.events.poke:
			default:
			}
		case <-timer.C:
		}
		timer.Reset(p.compare(ctx))
	}
}

// compare makes one pass and returns the time until the next one is due.
func (p *Plumbing) compare(ctx context.Context) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if _, err := p.pass(ctx, now); err != nil && ctx.Err() == nil {
		p.log.Error("comparing the network with the config failed", "err", err)
	}
	wait := p.every
	for key, pace := range p.paces {
		if until := pace.next().Sub(now); until > 0 {
			wait = min(wait, until)
		} else if now.Sub(pace.last) > max(calm, 2*pace.pause) {
			delete(p.paces, key)
		}
	}
	return max(wait, gap)
}
