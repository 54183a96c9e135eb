package plumb

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"anymx/tests/kit"
)

// namespace is a network namespace of a test.
type namespace struct {
	*kit.Network
	t testing.TB
}

func newNamespace(t testing.TB) *namespace {
	t.Helper()
	return &namespace{Network: kit.NewNetwork(t), t: t}
}

// open opens the namespace for a test, and runs it if run is set.
func (ns *namespace) open(run bool) *Plumbing {
	ns.t.Helper()
	var p *Plumbing
	var err error
	ns.Do(func() {
		p, err = Open(Options{Log: slog.New(slog.NewTextHandler(ns.t.Output(), nil)), Every: time.Minute})
	})
	if err != nil {
		ns.t.Fatal(err)
	}
	var running sync.WaitGroup
	if run {
		running.Go(func() {
			if err := p.Run(ns.t.Context()); err != nil {
				ns.t.Error(err)
			}
		})
	}
	ns.t.Cleanup(func() { // the test's context has ended by now
		running.Wait()
		p.Close()
	})
	return p
}

// set calls Set, which must succeed.
func (ns *namespace) set(p *Plumbing, wants []Want) []string {
	ns.t.Helper()
	steps, err := p.Set(ns.t.Context(), wants)
	if err != nil {
		ns.t.Fatal(err)
	}
	return text(steps)
}

// all returns everything in the namespace that this package manages.
func (ns *namespace) all() string {
	var b strings.Builder
	for _, command := range []string{
		"address show", "-4 route show table all", "-6 route show table all", "-4 rule show", "-6 rule show",
	} {
		for line := range strings.Lines(ns.IP(command)) {
			if !strings.HasPrefix(line, "multicast ") { // the kernel adds these to a device with the first IPv6 address, and keeps them
				b.WriteString(line)
			}
		}
	}
	return b.String()
}

// monitor counts the kernel's notifications, by their type, until stop is called.
func (ns *namespace) monitor() (stop func() map[uint16]int) {
	ns.t.Helper()
	var s *nl.NetlinkSocket
	var err error
	ns.Do(func() { s, err = nl.Subscribe(unix.NETLINK_ROUTE, groups...) })
	if err != nil {
		ns.t.Fatal(err)
	}
	return func() map[uint16]int {
		defer s.Close()
		wait := unix.NsecToTimeval(int64(50 * time.Millisecond)) // a notification arrives before its cause returns
		if err := s.SetReceiveTimeout(&wait); err != nil {
			ns.t.Fatal(err)
		}
		told := map[uint16]int{}
		for {
			messages, _, err := s.Receive()
			if errors.Is(err, unix.EAGAIN) {
				return told
			}
			if err != nil {
				ns.t.Fatal(err)
			}
			for _, m := range messages {
				told[m.Header.Type]++
			}
		}
	}
}

// missing returns the wants that are not there.
func missing(s Status) []string {
	var names []string
	for _, thing := range s.Things {
		if !thing.Present {
			names = append(names, thing.String())
		}
	}
	slices.Sort(names)
	return names
}
