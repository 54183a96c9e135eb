package network

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"anymx/edge/operate/api"

	"golang.org/x/sys/unix"
)

// fence returns a node with a shield on eth0, and a host at the other end of its link that has
// routes to the service addresses.
func fence(t *testing.T) (node, host *site) {
	t.Helper()
	node, host = newSite(t, "node"), newSite(t, "host")
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		t.Skip("the kernel has no BTF, which the shield needs: ", err)
	}
	if out, err := node.command("ls", filepath.Dir(pins)).CombinedOutput(); err != nil {
		t.Skipf("no BPF file system can be mounted: %s", out)
	}
	node.ip(fmt.Sprintf("link add eth0 type veth peer name eth0 netns %d", host.pid))
	for _, command := range []string{"link set eth0 up", "address add 198.51.100.2/24 dev eth0", "-6 address add 2001:db8:1::2/64 dev eth0 nodad"} {
		node.ip(command)
	}
	for _, command := range []string{
		"link set eth0 up", "address add 198.51.100.3/24 dev eth0", "-6 address add 2001:db8:1::3/64 dev eth0 nodad",
		"route add 192.0.2.25/32 via 198.51.100.2", "-6 route add 2001:db8:25::25/128 via 2001:db8:1::2",
	} {
		host.ip(command)
	}
	node.configure(guarded(""))
	return node, host
}

// guarded returns the node's config, with additional lines in the shield's section.
func guarded(more string) string {
	return fmt.Sprintf(`[core]
addresses = ["10.77.0.1:2525"]
[ingress]
listen = ["[::]:25", "192.0.2.25:8025"]
[anycast]
addresses = ["192.0.2.25/32", "2001:db8:25::25/128"]
prefixes = ["192.0.2.0/24", "2001:db8:25::/48"]
[shield]
interfaces = ["eth0"]
pins = %q
%s
`, pins, more)
}

// on reports that nothing is wrong and the shield runs on eth0 in this mode.
func on(mode string) func(api.NetworkStatus) bool {
	return func(s api.NetworkStatus) bool {
		return well(s) && s.Shield != nil && s.Shield.Problem == "" && len(s.Shield.Interfaces) == 1 && s.Shield.Interfaces[0].Mode == mode
	}
}

// inside runs f on a thread in the site's network.
func (s *site) inside(f func()) {
	s.t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends here
		fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", s.pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			unix.Close(fd)
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		s.t.Fatal(err)
	}
}

// udp opens a socket in the site.
func (s *site) udp(port int) *net.UDPConn {
	s.t.Helper()
	var conn *net.UDPConn
	var err error
	s.inside(func() { conn, err = net.ListenUDP("udp4", &net.UDPAddr{Port: port}) })
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	return conn
}

// verdict returns how many packets got that verdict.
func verdict(s api.NetworkStatus, name string) uint64 {
	if s.Shield != nil {
		for _, v := range s.Shield.Verdicts {
			if v.Verdict == name {
				return v.Packets
			}
		}
	}
	return 0
}
