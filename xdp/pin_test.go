package xdp

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestRestartLosesNothing(t *testing.T) {
	pins := bpfFS(t)
	settings := Settings{Services: three, Cookies: Always}
	o := Options{Pins: pins}
	l := newLab(t, o, settings)
	n := l.nodes[0]
	o.Interfaces = []string{n.device}
	until := time.Now().Add(time.Hour)
	blocked := netip.MustParsePrefix("198.51.100.0/24")
	if err := n.shield.Block(blocked, until); err != nil {
		t.Fatal(err)
	}
	count := watch(t, n.shield)
	w, f := l.wire(t, n), forged(mail6, 48001)
	w.send(t, f)
	answer := w.read(t, f, soon, isSYNACK)
	if answer == nil {
		t.Fatal("the SYN was not answered")
	}

	// Clients connect all the time and count the failures.
	var failed, greeted atomic.Int32
	ctx, stop := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() {
		for ctx.Err() == nil {
			conn, err := l.dial(t, mail4, soon)
			if err != nil {
				failed.Add(1)
				continue
			}
			conn.Close()
			greeted.Add(1)
		}
	})
	held := func(s *Shield) *Shield { // Close and Open, as if in a new process
		t.Helper()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		soFar := greeted.Load()
		for end := time.Now().Add(soon); greeted.Load() < soFar+3 && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		if greeted.Load() < soFar+3 {
			t.Error("nobody connects while no process is there")
		}
		var next *Shield
		n.do(t, func() {
			next = configured(t, o, settings)
			if err := next.Attach(); err != nil {
				t.Fatal(err)
			}
		})
		return next
	}
	s := n.shield
	link := linkID(t, s, n)
	for range 3 {
		s = held(s)
	}
	stop()
	wait.Wait()
	if failed.Load() > 0 || greeted.Load() < 9 {
		t.Errorf("%d clients were greeted, %d were not", greeted.Load(), failed.Load())
	}
	if linkID(t, s, n) != link {
		t.Error("the link was replaced")
	}
	after := watch(t, s).last
	if after[SYNAnswered].Packets < count.last[SYNAnswered].Packets+9 {
		t.Error("the counters were reset")
	}
	if got := s.Lists(); len(got) != 1 || got[0].Prefix != blocked || got[0].Until.Sub(until).Abs() > time.Second {
		t.Errorf("the lists are %v", got)
	}
	// The key is the same, so an earlier handshake completes.
	w.send(t, f.reply(answer))
	if w.read(t, f, soon, isBanner) == nil {
		t.Error("no banner for a SYN that was answered before")
	}
}

func linkID(t *testing.T, s *Shield, n *node) (id uint32) {
	t.Helper()
	info, err := s.hooks[shieldOn+n.device].Info()
	if err != nil {
		t.Fatal(err)
	}
	return uint32(info.ID)
}

func TestModesAndInterfaces(t *testing.T) {
	pins := bpfFS(t)
	newNamespace(t).do(t, func() {
		pair := func(name string) {
			attrs := netlink.NewLinkAttrs()
			attrs.Name = name
			if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: name + "p"}); err != nil {
				t.Fatal(err)
			}
		}
		pair("eth.1")
		pair("eth2")
		mode := func(o Options) (Status, error) {
			o.Pins = pins
			s := configured(t, o, Settings{Services: three})
			err := s.Attach()
			return status(t, s), err
		}
		for _, c := range []struct {
			mode, want Mode
		}{{Auto, Native}, {Generic, Generic}, {Auto, Generic}, {Native, Native}, {Off, Off}, {"", Native}} {
			st, err := mode(Options{Interfaces: []string{"eth.1"}, Mode: c.mode})
			if err != nil {
				t.Fatal(err)
			}
			i := st.Interfaces[0]
			if i.Mode != c.want || i.Problem != "" || i.Admits != (c.want != Off) || st.Problem != "" {
				t.Errorf("mode %q: %+v", c.mode, st)
			}
		}
		// A missing interface doesn't affect the others.
		st, err := mode(Options{Interfaces: []string{"eth2", "eth9"}})
		if err == nil || !strings.Contains(err.Error(), "eth9") {
			t.Errorf("no word of eth9: %v", err)
		}
		if st.Interfaces[0].Mode != Native || st.Interfaces[1].Mode != Off || st.Interfaces[1].Problem == "" || !strings.Contains(st.Problem, "eth9") {
			t.Errorf("%+v", st)
		}
		if m := xdpOf(t, "eth.1"); m != Off {
			t.Errorf("the interface that was left still has %s", m)
		}
		// The same name, another device.
		old, _ := netlink.LinkByName("eth2")
		if err := netlink.LinkDel(old); err != nil {
			t.Fatal(err)
		}
		pair("eth2")
		if st, err = mode(Options{Interfaces: []string{"eth2"}}); err != nil || st.Interfaces[0].Mode != Native {
			t.Errorf("%+v, %v", st, err)
		}
		if err := Remove(pins); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(pins); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the pins are still there: %v", err)
		}
		if err := Remove(pins); err != nil {
			t.Errorf("removing what isn't there: %v", err)
		}
	})
}

func xdpOf(t *testing.T, name string) Mode {
	t.Helper()
	dev, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return modeOf(dev)
}

func TestNoCookiesWhereNobodyTakesThem(t *testing.T) {
	newNamespace(t).do(t, func() {
		s := configured(t, Options{Interfaces: []string{"lo"}}, Settings{Services: three, Cookies: Always})
		if err := s.Attach(); err != nil || xdpOf(t, "lo") != Generic {
			t.Fatalf("lo has %s: %v", xdpOf(t, "lo"), err)
		}
		// A program that can no longer be attached.
		for name, l := range s.hooks {
			if err := s.detach(name, l); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.admit.Close(); err != nil {
			t.Fatal(err)
		}
		if err := s.Attach(); err == nil || xdpOf(t, "lo") != Off {
			t.Errorf("lo has %s: %v", xdpOf(t, "lo"), err)
		}
		if st := status(t, s); st.Problem == "" || st.Interfaces[0].Mode != Off || st.Interfaces[0].Problem == "" {
			t.Errorf("%+v", st)
		}
	})
}

func TestRunAttachesAndRotates(t *testing.T) {
	newNamespace(t).do(t, func() {
		s := configured(t, Options{}, Settings{Services: three, Epoch: minEpoch})
		before, err := only[bpfKeys](s.maps.Keys)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		wait(t, "another key", func() bool {
			now, err := only[bpfKeys](s.maps.Keys)
			return err == nil && now != before
		})
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestCapabilities(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("taking capabilities away needs root")
	}
	const enough = 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_BPF | 1<<unix.CAP_PERFMON
	for name, c := range map[string]struct {
		have uint64
		want string
	}{
		"enough":           {enough, ""},
		"no BPF":           {enough &^ (1 << unix.CAP_BPF), "capability CAP_BPF"},
		"no network":       {enough &^ (1 << unix.CAP_NET_ADMIN), "capability CAP_NET_ADMIN"},
		"no perfmon":       {enough &^ (1 << unix.CAP_PERFMON), "capability CAP_PERFMON"},
		"none":             {0, "capability CAP_NET_ADMIN"},
		"as it was before": {1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_SYS_ADMIN, ""},
	} {
		t.Run(name, func(t *testing.T) {
			newNamespace(t).do(t, func() {
				header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
				data := [2]unix.CapUserData{{Effective: uint32(c.have), Permitted: uint32(c.have)}, {Effective: uint32(c.have >> 32), Permitted: uint32(c.have >> 32)}}
				if err := unix.Capset(&header, &data[0]); err != nil { // only this thread, which ends here
					t.Fatal(err)
				}
				s, err := Open(Options{Interfaces: []string{"lo"}})
				var missing *MissingError
				if errors.As(err, &missing) {
					if missing.What != c.want {
						t.Errorf("%v", err)
					}
					return
				}
				if err != nil || c.want != "" {
					t.Fatalf("%v", err)
				}
				defer s.Close()
				if err := s.Configure(Settings{Services: three}); err != nil {
					t.Fatal(err)
				}
				if err := s.Attach(); err != nil {
					t.Fatal(err)
				}
				if m := xdpOf(t, "lo"); m != Generic {
					t.Errorf("lo has %s", m)
				}
				run(t, s.shield, synTo(mail4).bytes())
			})
		})
	}
}
