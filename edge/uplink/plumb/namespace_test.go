package plumb

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// namespace is a network namespace that lives as long as the single thread in it.
type namespace struct {
	t    testing.TB
	jobs chan func()
}

// newNamespace makes a namespace with lo up, which ends with the test.
func newNamespace(t testing.TB) *namespace {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may make network namespaces")
	}
	ns := &namespace{t: t, jobs: make(chan func())}
	made, ended := make(chan error), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // never unlocked: the thread ends with its goroutine
		made <- unix.Unshare(unix.CLONE_NEWNET)
		for job := range ns.jobs {
			job()
		}
	}()
	t.Cleanup(func() {
		close(ns.jobs)
		<-ended
	})
	if err := <-made; err != nil {
		t.Fatalf("unshare: %s", err)
	}
	ns.ip("link set lo up")
	return ns
}

// do runs f in the namespace.
func (ns *namespace) do(f func()) {
	done := make(chan struct{})
	ns.jobs <- func() {
		defer close(done)
		f()
	}
	<-done
}

// attempt runs `ip`; a process started in the namespace stays in it.
func (ns *namespace) attempt(command string) (out string, err error) {
	ns.do(func() {
		var b []byte
		b, err = exec.Command("ip", strings.Fields(command)...).CombinedOutput()
		out = string(b)
	})
	if err != nil {
		err = fmt.Errorf("ip %s: %w: %s", command, err, out)
	}
	return out, err
}

func (ns *namespace) ip(command string) string {
	ns.t.Helper()
	out, err := ns.attempt(command)
	if err != nil {
		ns.t.Fatal(err)
	}
	return out
}

// open opens the namespace for a test, and runs it if run is set.
func (ns *namespace) open(run bool) *Plumbing {
	ns.t.Helper()
	var p *Plumbing
	var err error
	ns.do(func() {
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
		for line := range strings.Lines(ns.ip(command)) {
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
	ns.do(func() { s, err = nl.Subscribe(unix.NETLINK_ROUTE, groups...) })
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

// within waits for ok.
func within(t testing.TB, limit time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !ok() {
		if time.Since(start) > limit {
			t.Fatalf("after %s: not %s", limit, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(start)
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
