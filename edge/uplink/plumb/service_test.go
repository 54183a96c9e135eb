package plumb

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// No packet that the node itself originates has a service address as its source, not even if its
// device has no address; a program that binds to one gets it.
func TestServiceAddressIsNoSource(t *testing.T) {
	ns := newNamespace(t)
	for _, command := range []string{
		"tuntap add dev bare mode tun", "link set bare up", "-4 route add 203.0.113.0/24 dev bare", "-6 route add 2001:db8:9::/48 dev bare",
		"tuntap add dev own mode tun", "link set own up", "-6 address add 2001:db8:8::2/64 dev own nodad",
	} {
		ns.IP(command)
	}
	p := ns.open(false)
	service := []string{"192.0.2.25", "2001:db8:25::25"}
	ns.set(p, slices.Concat(Service(prefixOf(service[0]+"/32")), Service(prefixOf(service[1]+"/128"))))
	for i, remote := range []string{"203.0.113.7", "2001:db8:9::7"} {
		ns.Do(func() {
			conn, err := net.Dial("udp", net.JoinHostPort(remote, "53")) // sends nothing
			if err == nil {
				if local := conn.LocalAddr().String(); strings.Contains(local, service[i]) {
					t.Errorf("to %s from %s", remote, local)
				}
				conn.Close()
			}
			bound := &net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(service[i])}}
			if conn, err = bound.Dial("udp", net.JoinHostPort(remote, "53")); err != nil {
				t.Errorf("bound to %s: %s", service[i], err)
				return
			}
			conn.Close()
		})
	}
}

// Traffic from outside to a service address is served: scope host does not prevent that.
func TestServiceAddressIsReached(t *testing.T) {
	node, client := newNamespace(t), newNamespace(t)
	var pid string
	client.Do(func() { pid = fmt.Sprint(unix.Gettid()) })
	node.IP("link add eth0 type veth peer name eth0 netns " + pid)
	for _, command := range []string{"link set eth0 up"} {
		node.IP(command)
		client.IP(command)
	}
	node.IP("address add 198.51.100.2/24 dev eth0")
	node.IP("-6 address add 2001:db8:1::2/64 dev eth0 nodad")
	client.IP("address add 198.51.100.3/24 dev eth0")
	client.IP("-6 address add 2001:db8:1::3/64 dev eth0 nodad")
	client.IP("route add 192.0.2.0/24 via 198.51.100.2")
	client.IP("-6 route add 2001:db8:25::/48 via 2001:db8:1::2")
	p := node.open(false)
	node.set(p, slices.Concat(Service(prefixOf("192.0.2.25/32")), Service(prefixOf("2001:db8:25::25/128"))))
	for _, host := range []string{"192.0.2.25", "2001:db8:25::25"} {
		var l net.Listener
		var err error
		node.Do(func() { l, err = net.Listen("tcp", net.JoinHostPort(host, "0")) })
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		for _, from := range []*namespace{client, node} { // a node probes its own service addresses, too
			from.Do(func() {
				conn, err := net.DialTimeout("tcp", l.Addr().String(), 5*time.Second)
				if err != nil {
					t.Error(err)
					return
				}
				conn.Close()
			})
		}
	}
}

// A TCP connection over the tunnel offers segments that fit its device.
func TestTunnelSegmentSize(t *testing.T) {
	ns := newNamespace(t)
	ns.devices()
	p := ns.open(false)
	ns.set(p, node())
	for _, mtu := range []int{1380, 1300} {
		ns.IP(fmt.Sprintf("link set wg-core mtu %d", mtu))
		for remote, header := range map[string]int{"10.77.0.1": 40, "fd77::1": 60} {
			ns.Do(func() {
				if mss := offered(t, netip.MustParseAddr(remote)); mss != mtu-header {
					t.Errorf("MTU %d, to %s: offered segments of %d bytes, want %d", mtu, remote, mss, mtu-header)
				}
			})
		}
	}
}

// offered returns the MSS in a SYN to remote, which gets no answer.
func offered(t *testing.T, remote netip.Addr) int {
	t.Helper()
	family, address := unix.AF_INET, unix.Sockaddr(nil)
	if remote.Is4() {
		address = &unix.SockaddrInet4{Port: 25, Addr: remote.As4()}
	} else {
		family, address = unix.AF_INET6, &unix.SockaddrInet6{Port: 25, Addr: remote.As16()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, address); err != unix.EINPROGRESS {
		t.Errorf("connect: %v", err)
	}
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		t.Fatal(err)
	}
	return int(info.Advmss)
}
