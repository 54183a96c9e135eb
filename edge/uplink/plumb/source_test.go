package plumb

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"anymx/tests/kit"
)

// When its interface goes down, a source's mail waits: it does not leave through another uplink,
// although the main table has one.
func TestSourceInterfaceGoesDown(t *testing.T) {
	ns := newNamespace(t)
	ns.devices()
	for _, command := range []string{
		"tuntap add dev other mode tun", "link set other up",
		"route add default dev other metric 50", "-6 route add default dev other metric 50",
	} {
		ns.IP(command)
	}
	p := ns.open(true)
	ns.set(p, node())
	gets := []string{"route get 203.0.113.7 from 198.51.100.10", "-6 route get 2001:db8:9::7 from 2001:db8:1::10"}
	for _, command := range gets {
		if out := ns.IP(command); !strings.Contains(out, "dev eth0") {
			t.Errorf("ip %s: %s", command, out)
		}
	}
	ns.IP("link set eth0 down")
	for _, command := range gets {
		if out, err := ns.TryIP(command); err == nil || !strings.Contains(out, "No route to host") {
			t.Errorf("ip %s: %s", command, out)
		}
	}
	ns.Do(func() {
		d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP("198.51.100.10")}}
		if conn, err := d.Dial("udp", "203.0.113.7:53"); err == nil {
			t.Errorf("from %s there is a way", conn.LocalAddr())
			conn.Close()
		}
	})
	ns.IP("link set eth0 up")
	kit.Eventually(t, "everything is in place", func() bool { return len(missing(p.Status())) == 0 })
}

// Foreign addresses in a source's network are neither removed with it nor remove it, in any order;
// and a node without another address there reaches its network.
func TestSourceBesideOthers(t *testing.T) {
	ns := newNamespace(t)
	ns.keepBonds()
	ns.IP("link add eth0 type veth peer name far0")
	ns.IP("link set far0 up")
	ns.IP("link set eth0 up")
	sources := Sources([]Source{{Address: prefixOf("198.51.100.10/24"), Interface: "eth0"}})
	p := ns.open(false)
	ns.set(p, sources)
	if out := ns.IP("route get 198.51.100.7"); !strings.Contains(out, "dev eth0 src 198.51.100.10") {
		t.Errorf("to a neighbour: %s", out)
	}
	for _, mine := range []string{"198.51.100.2", "198.51.100.3"} {
		ns.IP("address add " + mine + "/24 dev eth0")
	}
	if out := ns.IP("route get 198.51.100.7"); !strings.Contains(out, "dev eth0 src 198.51.100.2") {
		t.Errorf("to a neighbour, with an own address: %s", out)
	}
	ns.IP("address del 198.51.100.2/24 dev eth0") // the kernel removes 198.51.100.3 too, but must not remove ours
	if steps := ns.set(p, sources); len(steps) > 0 {
		t.Errorf("an address of others took ours along: %q", steps)
	}
	ns.IP("address add 198.51.100.2/24 dev eth0")
	ns.set(p, nil)
	out := ns.IP("-4 address show dev eth0")
	if !strings.Contains(out, "198.51.100.2/24") || strings.Contains(out, "198.51.100.10") {
		t.Errorf("addresses: %s", out)
	}
}

// keepBonds makes the kernel remove secondary addresses with the primary one.
func (ns *namespace) keepBonds() {
	ns.t.Helper()
	ns.Do(func() {
		for _, name := range []string{"all", "default"} {
			if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+name+"/promote_secondaries", []byte("0"), 0); err != nil {
				ns.t.Error(err)
			}
		}
	})
}

// An IPv6 source that another host already uses is reported, not used, and retried until the other
// host releases it.
func TestSet_duplicateAddress(t *testing.T) {
	node, other := newNamespace(t), newNamespace(t)
	var thread string
	other.Do(func() { thread = fmt.Sprint(unix.Gettid()) })
	node.IP("link add eth0 type veth peer name eth0 netns " + thread)
	other.IP("link set eth0 up")
	other.IP("-6 address add 2001:db8:1::10/64 dev eth0 nodad")
	node.IP("link set eth0 up")
	p := node.open(true)
	node.set(p, Sources([]Source{{Address: prefixOf("2001:db8:1::10/64"), Interface: "eth0"}}))
	kit.Eventually(t, "the duplicate is shown as a problem", func() bool {
		s := p.Status()
		return !s.Things[0].Present && s.Things[0].Problem == "another host has this address: duplicate address detection found it"
	})
	other.IP("-6 address del 2001:db8:1::10/64 dev eth0")
	p.SetEvery(500 * time.Millisecond)
	p.forget(p.Status().Things[0].key()) // instead of waiting a minute
	node.IP("link set lo alias poke")
	kit.Eventually(t, "the address is in place", func() bool { return len(missing(p.Status())) == 0 })
	if s := p.Status(); s.Retried == 0 || s.Repaired > 0 || s.Contested > 0 {
		t.Errorf("retried %d times, repaired %d, %d contested", s.Retried, s.Repaired, s.Contested)
	}
	if out := node.IP("-6 address show dev eth0"); strings.Contains(out, "dadfailed") || !strings.Contains(out, "2001:db8:1::10/64") {
		t.Errorf("addresses: %s", out)
	}
}
