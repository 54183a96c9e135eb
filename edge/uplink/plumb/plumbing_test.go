package plumb

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"anymx/tests/kit"
)

// node returns a config with every kind of thing, in both families.
func node() []Want {
	return slices.Concat(
		Service(prefixOf("192.0.2.25/32")), Service(prefixOf("2001:db8:25::25/128")),
		Tunnel("wg-core", []netip.Prefix{prefixOf("10.77.0.2/24"), prefixOf("fd77::2/64")},
			[]netip.Prefix{prefixOf("10.77.0.0/24"), prefixOf("10.78.0.0/16"), prefixOf("fd77::/64")}),
		Sources([]Source{
			{prefixOf("198.51.100.10/24"), "eth0", netip.MustParseAddr("198.51.100.1")},
			{prefixOf("198.51.100.11/24"), "eth0", netip.Addr{}},
			{prefixOf("203.0.113.10/32"), "eth0", netip.MustParseAddr("198.51.100.1")},
			{prefixOf("2001:db8:1::10/64"), "eth0", netip.MustParseAddr("2001:db8:1::1")},
			{prefixOf("2001:db8:1::11/64"), "eth0", netip.MustParseAddr("fe80::1")},
		}))
}

// devices gives a namespace the devices of node, and foreign things.
func (ns *namespace) devices() {
	for _, command := range []string{
		"link add eth0 type veth peer name far0",
		"link set eth0 up", "link set far0 up",
		"address add 198.51.100.2/24 dev eth0",
		"-6 address add 2001:db8:1::2/64 dev eth0 nodad",
		"tuntap add dev wg-core mode tun",
		"link set wg-core mtu 1380 up",
		"address add 192.0.2.99/32 dev lo",
		"route add 203.0.113.128/25 via 198.51.100.1",
		"route add default via 198.51.100.1",
		"-6 route add default via 2001:db8:1::1",
		"route add 10.0.0.0/8 via 198.51.100.1 table 77",
		"rule add from 198.51.100.99 lookup 77 priority 2551",
		"-6 rule add from 2001:db8:1::99 lookup 77 priority 2551",
	} {
		ns.IP(command)
	}
	for _, dev := range []string{"eth0", "far0", "wg-core"} { // link-local addresses come at their own time
		kit.Eventually(ns.t, dev+" has its own addresses", func() bool {
			addresses := ns.IP("-6 address show dev " + dev)
			return !strings.Contains(addresses, "tentative") && (dev == "wg-core" || strings.Contains(addresses, "scope link"))
		})
	}
}

func TestSet(t *testing.T) {
	ns := newNamespace(t)
	ns.devices()
	before := ns.all()
	p := ns.open(false)
	planned, err := p.Plan(node())
	if err != nil {
		t.Fatal(err)
	}
	if after := ns.all(); after != before {
		t.Fatalf("Plan changed\n%s\nto\n%s", before, after)
	}
	done := ns.set(p, node())
	if !slices.Equal(done, text(planned)) {
		t.Errorf("done\n%s\nplanned\n%s", strings.Join(done, "\n"), strings.Join(text(planned), "\n"))
	}
	if gone := missing(p.Status()); len(gone) > 0 {
		t.Errorf("missing: %s", gone)
	}
	all := ns.all()
	for _, line := range []string{
		"inet 192.0.2.25/32 scope host lo",
		"inet6 2001:db8:25::25/128 scope global nodad deprecated",
		"inet 10.77.0.2/24 scope global noprefixroute wg-core",
		"inet6 fd77::2/64 scope global nodad noprefixroute",
		"inet 198.51.100.10/32 scope global eth0",
		"198.51.100.0/24 dev eth0 proto 125 scope link metric 3999999999",
		"unreachable default table 3325256714 proto 125 metric 4000000000",
		"10.77.0.0/24 dev wg-core proto 125 scope link",
		"unreachable 10.77.0.0/24 proto 125 metric 4000000000",
		"unreachable 10.78.0.0/16 proto 125 metric 4000000000",
		"fd77::/64 dev wg-core proto 125 metric 1",
		"unreachable fd77::/64 dev lo proto 125 metric 4000000000",
		"default via 198.51.100.1 dev eth0 table 3325256714 proto 125 onlink",
		"default via 198.51.100.1 dev eth0 table 3405803786 proto 125 onlink",
		"default via fe80::1 dev eth0 table",
		"2500:	from all to 10.77.0.0/24 lookup main proto 125",
		"2500:	from all to fd77::/64 lookup main proto 125",
		"2550:	from 198.51.100.10 lookup 3325256714 proto 125",
		"2550:	from 2001:db8:1::11 lookup",
	} {
		if !containsFields(all, line) {
			t.Errorf("the kernel has no %q", line)
		}
	}
	if t.Failed() {
		t.Log(all)
	}

	t.Run("twice changes nothing", func(t *testing.T) {
		told := ns.monitor()
		if steps := ns.set(p, node()); len(steps) > 0 {
			t.Errorf("steps %q", steps)
		}
		if events := told(); len(events) > 0 {
			t.Errorf("the kernel told of %v", events)
		}
	})
	t.Run("after a restart nothing changes", func(t *testing.T) {
		told := ns.monitor()
		again := ns.open(false)
		if steps := ns.set(again, node()); len(steps) > 0 {
			t.Errorf("steps %q", steps)
		}
		if events := told(); len(events) > 0 {
			t.Errorf("the kernel told of %v", events)
		}
	})
	t.Run("nothing wanted leaves what others made", func(t *testing.T) {
		ns.set(ns.open(false), nil)
		if after := ns.all(); after != before {
			t.Errorf("was\n%s\nis\n%s", before, after)
		}
	})
}

// containsFields reports whether a line holds all the words of another in their order: versions of
// `ip` show more or fewer words in between.
func containsFields(all, line string) bool {
	words := strings.Fields(line)
	for candidate := range strings.Lines(all) {
		i := 0
		for _, word := range strings.Fields(candidate) {
			if i < len(words) && word == words[i] {
				i++
			}
		}
		if i == len(words) {
			return true
		}
	}
	return false
}

// Each thing that others remove is restored within a second.
func TestRunPutsBack(t *testing.T) {
	ns := newNamespace(t)
	ns.devices()
	p := ns.open(true)
	ns.set(p, node())
	for name, command := range map[string]string{
		"a service address": "address del 192.0.2.25/32 dev lo", "an IPv6 service address": "-6 address del 2001:db8:25::25/128 dev lo",
		"an address of the tunnel": "address del 10.77.0.2/24 dev wg-core",
		"a route":                  "route del 10.77.0.0/24 dev wg-core", "an IPv6 route": "-6 route del fd77::/64 dev wg-core",
		"an unreachable route": "route del unreachable 10.78.0.0/16 metric 4000000000",
		"a rule":               "rule del priority 2500 to 10.77.0.0/24", "an IPv6 rule": "-6 rule del priority 2500",
		"a source's table":                     "route flush table 3325256714",
		"the device lo":                        "link set lo down",
		"a device":                             "link set wg-core down",
		"an interface":                         "link set eth0 down",
		"a route, by one that leads elsewhere": "route replace 10.77.0.0/24 via 198.51.100.1 dev eth0 onlink",
		"an IPv6 route, by one that leads elsewhere": "-6 route replace fd77::/64 via 2001:db8:1::1 dev eth0 metric 1",
	} {
		t.Run(name, func(t *testing.T) {
			steady(t, p)
			before := p.Status().Repaired
			ns.IP(command)
			for _, dev := range []string{"lo", "wg-core", "eth0"} {
				ns.IP("link set " + dev + " up")
			}
			began := time.Now()
			kit.Eventually(t, "everything is put back, long before the next comparison", func() bool {
				return p.Status().Repaired > before && len(missing(p.Status())) == 0 && upToDate(t, p)
			})
			t.Logf("put back after %s", time.Since(began))
			for _, w := range node() { // forget the history: the next test is about the first time
				p.forget(w.key())
			}
		})
	}
}

func (p *Plumbing) forget(key Thing) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.paces, key)
}

// upToDate reports whether there is nothing to do.
func upToDate(t *testing.T, p *Plumbing) bool {
	t.Helper()
	steps, err := p.Plan(node())
	if err != nil {
		t.Fatal(err)
	}
	return len(steps) == 0
}

// steady waits until there is nothing to do.
func steady(t *testing.T, p *Plumbing) {
	t.Helper()
	kit.Eventually(t, "nothing is left to do", func() bool { return upToDate(t, p) })
}

// The tunnel's device disappears and comes back: meanwhile its networks are unreachable, from every
// source.
func TestTunnelDeviceGoesAway(t *testing.T) {
	ns := newNamespace(t)
	ns.devices()
	p := ns.open(true)
	ns.set(p, node())
	ns.IP("link del wg-core")
	for _, command := range []string{
		"route get 10.77.0.1", "route get 10.78.0.1", "route get 10.77.0.1 from 198.51.100.10", "route get 10.77.0.1 from 203.0.113.10",
		"-6 route get fd77::1", "-6 route get fd77::1 from 2001:db8:1::10",
	} {
		if out, err := ns.TryIP(command); err == nil {
			t.Errorf("ip %s: %s", command, out)
		}
	}
	kit.Eventually(t, "the missing device is shown as a problem", func() bool {
		return slices.ContainsFunc(p.Status().Things, func(s State) bool {
			return s.Device() == "wg-core" && s.Problem == "device wg-core does not exist; it is added once the device exists"
		})
	})
	ns.IP("tuntap add dev wg-core mode tun")
	ns.IP("link set wg-core mtu 1380 up")
	kit.Eventually(t, "everything is in place", func() bool { return len(missing(p.Status())) == 0 })
	for _, command := range []string{"route get 10.77.0.1", "-6 route get fd77::1", "-6 route get fd77::1 from 2001:db8:1::10"} {
		if out := ns.IP(command); !strings.Contains(out, "dev wg-core") {
			t.Errorf("ip %s: %s", command, out)
		}
	}
}

// What can't be done does not stop the rest, and is done as soon as possible.
func TestSet_withoutDevices(t *testing.T) {
	ns := newNamespace(t)
	p := ns.open(true)
	ns.set(p, node())
	if out := ns.IP("address show dev lo"); !strings.Contains(out, "192.0.2.25/32") || !strings.Contains(out, "2001:db8:25::25/128") {
		t.Errorf("service addresses: %s", out)
	}
	if out, err := ns.TryIP("route get 10.77.0.1"); err == nil || !strings.Contains(out, "No route to host") {
		t.Errorf("route to core: %s", out)
	}
	ns.devices()
	kit.Eventually(t, "everything is in place", func() bool { return len(missing(p.Status())) == 0 })
}

// What can't be removed is named.
func TestSet_left(t *testing.T) {
	ns := newNamespace(t)
	ns.IP("route add blackhole 10.99.0.0/24 proto 125") // of a kind that is never made here
	p := ns.open(false)
	ns.set(p, nil)
	left := p.Status().Left
	if len(left) != 1 || !strings.HasPrefix(left[0].String(), "10.99.0.0/24") || left[0].Problem != "it still exists" {
		t.Errorf("left %+v", left)
	}
	ns.IP("route del blackhole 10.99.0.0/24")
	ns.set(p, nil)
	if left := p.Status().Left; len(left) > 0 {
		t.Errorf("left %+v", left)
	}
}

// A family that the kernel lacks, as IPv6 with ipv6.disable=1, has no rules. No current kernel has
// those of DECnet.
func TestRules_noFamily(t *testing.T) {
	k, err := openKernel()
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	if have, err := k.rulesOf(unix.AF_DECnet); err != nil || len(have) > 0 {
		t.Errorf("rules %v, error %v", have, err)
	}
}

// A foreign rule that matches on more than ours does not replace it.
func TestSet_anothersRule(t *testing.T) {
	ns := newNamespace(t)
	from := Want{Rule{From: prefixOf("198.51.100.10/32"), Table: 77, Priority: sourcePriority}, ForSource}
	for command, serves := range map[string]bool{
		"rule add from 198.51.100.10 lookup 77 priority 2550":                         true,
		"rule add from 198.51.100.10 lookup 77 priority 2550 suppress_prefixlength 0": false,
		"rule add from 198.51.100.10 lookup 77 priority 2550 suppress_ifgroup 3":      false,
		"rule add from 198.51.100.10 lookup 77 priority 2550 fwmark 7":                false,
		"rule add from 198.51.100.10 lookup 77 priority 2550 ipproto tcp dport 25":    false,
		"rule add from 198.51.100.10 lookup 77 priority 2550 tun_id 5":                false,
		"rule add from 198.51.100.10 to 203.0.113.0/24 lookup 77 priority 2550":       false,
	} {
		ns.IP(command)
		steps, err := ns.open(false).Plan([]Want{from})
		if err != nil {
			t.Fatal(err)
		}
		if serves != (len(steps) == 0) {
			t.Errorf("%s: serves %v, steps %q", command, !serves, text(steps))
		}
		ns.IP(strings.Replace(command, " add ", " del ", 1))
	}
}

// A foreign route with our key is left alone, and reported.
func TestSet_anothersRoute(t *testing.T) {
	ns := newNamespace(t)
	ns.devices()
	ns.IP("route add 10.77.0.0/24 via 198.51.100.1")
	p := ns.open(true)
	ns.set(p, node())
	if out := ns.IP("route show 10.77.0.0/24"); !strings.Contains(out, "via 198.51.100.1") {
		t.Errorf("another's route is gone: %s", out)
	}
	for _, s := range p.Status().Things {
		if r, ok := s.Thing.(Route); ok && r.Dev == "wg-core" && r.Prefix == prefixOf("10.77.0.0/24") {
			if want := "another program's route has this prefix, table and metric"; s.Present || s.Problem != want {
				t.Errorf("present %v, problem %q, want %q", s.Present, s.Problem, want)
			}
		}
	}
	ns.IP("route del 10.77.0.0/24 via 198.51.100.1")
	ns.IP("link set wg-core down") // a foreign route does not affect us, but a device does
	ns.IP("link set wg-core up")
	kit.Eventually(t, "our route is in place", func() bool { return len(missing(p.Status())) == 0 })
}

// Another program that removes what we restore does not keep us busy.
func TestRun_fight(t *testing.T) {
	ns := newNamespace(t)
	p := ns.open(true)
	ns.set(p, Service(prefixOf("192.0.2.25/32")))
	taken := 0
	for start := time.Now(); time.Since(start) < 8*time.Second && p.Status().Contested == 0; {
		if _, err := ns.TryIP("address del 192.0.2.25/32 dev lo"); err == nil {
			taken++
		}
		time.Sleep(2 * time.Millisecond)
	}
	s := p.Status()
	if s.Contested != 1 || taken > 8 {
		t.Errorf("%d contested after %d removals and %d restores", s.Contested, taken, s.Repaired)
	}
	ns.TryIP("address del 192.0.2.25/32 dev lo") // it may be there or not
	kit.Eventually(t, "the other program is shown as a problem", func() bool {
		s := p.Status()
		return len(s.Things) == 1 && strings.HasPrefix(s.Things[0].Problem, "another program removes it")
	})
}

func TestSet_thousandSources(t *testing.T) {
	ns := newNamespace(t)
	ns.devices()
	var sources []Source
	for i := range 500 {
		sources = append(sources,
			Source{netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i >> 8), byte(i + 1)}), 16), "eth0", netip.MustParseAddr("172.16.255.1")},
			Source{netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 2: 0xd, 3: 0xb8, 5: 9, 14: byte(i >> 8), 15: byte(i + 1)}), 64), "eth0", netip.MustParseAddr("fe80::1")})
	}
	p := ns.open(false)
	start := time.Now()
	ns.set(p, Sources(sources))
	made := time.Since(start)
	if gone := missing(p.Status()); len(gone) > 0 {
		t.Errorf("%d are missing, first %s", len(gone), gone[0])
	}
	start = time.Now()
	if steps := ns.set(p, Sources(sources)); len(steps) > 0 {
		t.Errorf("a second time: %d steps, first %s", len(steps), steps[0])
	}
	t.Logf("1,000 sources: made in %s, compared in %s", made, time.Since(start))
	if made > 30*time.Second {
		t.Errorf("1,000 sources took %s", made)
	}
	ns.set(p, nil)
	if out := ns.IP("rule show"); strings.Contains(out, "2550:") {
		t.Error("rules are left")
	}
}

// BenchmarkRoute looks up a route beside the given number of source rules.
func BenchmarkRoute(b *testing.B) {
	for _, count := range []int{0, 10, 1000} {
		b.Run(fmt.Sprintf("rules=%d", count), func(b *testing.B) {
			ns := newNamespace(b)
			ns.IP("tuntap add dev eth0 mode tun")
			ns.IP("link set eth0 up")
			ns.IP("address add 198.51.100.2/24 dev eth0")
			var sources []Source
			for i := range count {
				sources = append(sources, Source{
					netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i >> 8), byte(i + 1)}), 32), "eth0", netip.MustParseAddr("198.51.100.1"),
				})
			}
			p := ns.open(false)
			if _, err := p.Set(b.Context(), Sources(sources)); err != nil {
				b.Fatal(err)
			}
			ns.Do(func() {
				fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
				if err != nil {
					b.Fatal(err)
				}
				defer unix.Close(fd)
				for b.Loop() {
					if err := unix.Connect(fd, &unix.SockaddrInet4{Port: 53, Addr: [4]byte{198, 51, 100, 9}}); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
