package xdp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"anymx/tests/kit"
)

// lab is a client host with one or more nodes, each connected by a cable, all with the same service
// addresses. The client host has an address on each cable, and a network of forged sources
// (198.51.100.0/24, 2001:db8:7::/64) is routed to it.
type lab struct {
	client namespace
	nodes  []*node
}

type node struct {
	namespace
	cable  string // the client's end
	device string // the node's end
	mac    net.HardwareAddr
	shield *Shield
	peer   net.HardwareAddr
	far    link.Link // of the program at the client's end
	server *server
}

const banner = "220 mx.example.net\r\n"

// newLab creates a lab with a listener on each node and an attached shield per settings.
func newLab(t testing.TB, o Options, settings ...Settings) *lab {
	t.Helper()
	l := &lab{client: newNamespace(t)}
	for i, s := range settings {
		n := &node{namespace: newNamespace(t), cable: fmt.Sprintf("out%d", i), device: fmt.Sprintf("in%d", i)}
		l.nodes = append(l.nodes, n)
		n.do(t, func() { n.build(t, l.client, i) })
		l.client.do(t, func() { l.plug(t, n, i) })
		n.do(t, func() {
			n.server = serve(t)
			o.Interfaces = []string{n.device}
			n.shield = configured(t, o, s)
			if err := n.shield.Attach(); err != nil {
				t.Fatal(err)
			}
		})
	}
	return l
}

// build creates a node's cable and addresses.
func (n *node) build(t testing.TB, client namespace, i int) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = n.device
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: n.cable, PeerNamespace: netlink.NsFd(int(client))}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	sysctl(t, "ipv6/conf/"+n.device+"/accept_dad", "0")
	dev, err := netlink.LinkByName(n.device)
	if err == nil {
		err = netlink.LinkSetUp(dev)
	}
	if err != nil {
		t.Fatal(err)
	}
	n.mac = dev.Attrs().HardwareAddr
	addAddress(t, n.device, fmt.Sprintf("10.0.%d.1/24", i))
	addAddress(t, n.device, fmt.Sprintf("fd00:%d::1/64", i))
	addAddress(t, "lo", mail4.Address.String()+"/32")
	addAddress(t, "lo", mail6.Address.String()+"/128")
}

// plug connects the client's end of a cable.
func (l *lab) plug(t testing.TB, n *node, i int) {
	dev, err := netlink.LinkByName(n.cable)
	if err == nil {
		err = netlink.LinkSetUp(dev)
	}
	if err != nil {
		t.Fatal(err)
	}
	addAddress(t, n.cable, fmt.Sprintf("10.0.%d.2/24", i))
	addAddress(t, n.cable, fmt.Sprintf("fd00:%d::2/64", i))
	for _, to := range []struct{ service, via string }{{"192.0.2.25/32", "10.0.%d.1"}, {"2001:db8:25::25/128", "fd00:%d::1"}} {
		_, dst, _ := net.ParseCIDR(to.service)
		route := &netlink.Route{Dst: dst, Gw: net.ParseIP(fmt.Sprintf(to.via, i)), LinkIndex: dev.Attrs().Index, Priority: 100 + i}
		if err := netlink.RouteAdd(route); err != nil {
			t.Fatal(to.service, err)
		}
	}
	wholeChecksums(t, n.cable)
	n.far = passer(t, dev.Attrs().Index)
	n.do(t, func() { n.forged(t, dev.Attrs().HardwareAddr) })
	n.peer = dev.Attrs().HardwareAddr
}

// forged routes the forged sources to the client's cable.
func (n *node) forged(t testing.TB, mac net.HardwareAddr) {
	dev, err := netlink.LinkByName(n.device)
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []struct {
		prefix, via string
		family      int
	}{{"198.51.100.0/24", "10.0.99.9", netlink.FAMILY_V4}, {"2001:db8:7::/64", "fd00:99::9", netlink.FAMILY_V6}} {
		_, dst, _ := net.ParseCIDR(to.prefix)
		hop := net.ParseIP(to.via)
		neighbour := &netlink.Neigh{LinkIndex: dev.Attrs().Index, Family: to.family, State: netlink.NUD_PERMANENT, IP: hop, HardwareAddr: mac}
		if err := netlink.NeighAdd(neighbour); err != nil {
			t.Fatal(err)
		}
		route := &netlink.Route{Dst: dst, Gw: hop, LinkIndex: dev.Attrs().Index, Flags: int(netlink.FLAG_ONLINK)}
		if err := netlink.RouteAdd(route); err != nil {
			t.Fatal(to.prefix, err)
		}
	}
}

// wholeChecksums makes a veth send packets with complete checksums, as on a wire.
func wholeChecksums(t testing.TB, device string) {
	t.Helper()
	if err := kit.WholeChecksums(device); err != nil {
		t.Fatal(err)
	}
}

// passer attaches an XDP program to a veth, without which its peer can't send from XDP.
func passer(t testing.TB, index int) link.Link {
	l, err := link.AttachXDP(link.XDPOptions{Program: returns(t, xdpPass), Interface: index, Flags: link.XDPDriverMode})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// server sends a banner to each client and then echoes what it receives.
type server struct {
	info chan tcpInfo // of each accepted connection, if a test wants it
	wait sync.WaitGroup
}

func serve(t testing.TB) *server {
	s := &server{info: make(chan tcpInfo, 100)}
	listen := net.ListenConfig{}
	listen.SetMultipathTCP(false)
	l, err := listen.Listen(context.Background(), "tcp", "[::]:25")
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	s.wait.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.wait.Go(func() {
				defer conn.Close()
				select {
				case s.info <- infoOf(conn):
				default:
				}
				io.WriteString(conn, banner)
				over := make(chan struct{})
				s.wait.Go(func() {
					select {
					case <-stop:
						conn.Close()
					case <-over:
					}
				})
				io.Copy(conn, conn)
				close(over)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		close(stop)
		s.wait.Wait()
	})
	return s
}

// tcpInfo has the negotiated options, as the stack sees them.
type tcpInfo struct {
	options  byte // 1 timestamps, 2 SACK, 4 window scale
	scale    byte // of the client's windows; the shield chooses ours
	sendMSS  uint32
	advanced bool
}

func infoOf(conn net.Conn) (i tcpInfo) {
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return i
	}
	raw.Control(func(fd uintptr) {
		var b [104]byte
		size := uint32(len(b))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.IPPROTO_TCP, unix.TCP_INFO, uintptr(unsafe.Pointer(&b)), uintptr(unsafe.Pointer(&size)), 0)
		i = tcpInfo{b[5] & 7, b[6] & 15, *(*uint32)(unsafe.Pointer(&b[16])), errno == 0}
	})
	return i
}

// dial connects from the client and reads the banner: with cookies, a connection alone proves
// nothing.
func (l *lab) dial(t testing.TB, s Service, patience time.Duration) (conn net.Conn, err error) {
	t.Helper()
	l.client.do(t, func() {
		d := net.Dialer{Timeout: patience}
		d.SetMultipathTCP(false)
		conn, err = d.Dial("tcp", netip.AddrPortFrom(s.Address, 25).String())
	})
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(patience))
	got := make([]byte, len(banner))
	if _, err = io.ReadFull(conn, got); err == nil && string(got) != banner {
		err = errors.New("another banner: " + string(got))
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// wire sends and receives frames at the client's end of a node's cable.
type wire struct {
	fd int
	n  *node
}

func (l *lab) wire(t testing.TB, n *node) *wire {
	t.Helper()
	w := &wire{n: n, fd: -1}
	l.client.do(t, func() {
		dev, err := net.InterfaceByName(n.cable)
		if err != nil {
			t.Fatal(err)
		}
		all := swap16(unix.ETH_P_ALL)
		w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(w.fd) })
		if err := unix.Bind(w.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: dev.Index}); err != nil {
			t.Fatal(err)
		}
	})
	return w
}

func (w *wire) send(t testing.TB, f frame) {
	t.Helper()
	w.write(t, f.bytes())
}

// write sends a frame to the node from its neighbor.
func (w *wire) write(t testing.TB, b []byte) {
	t.Helper()
	copy(b, w.n.mac)
	copy(b[6:], w.n.peer)
	if _, err := unix.Write(w.fd, b); err != nil {
		t.Fatal(err)
	}
}

// read returns the next matching frame for f's sender, or nil.
func (w *wire) read(t testing.TB, f frame, patience time.Duration, want func(tcp []byte) bool) []byte {
	t.Helper()
	deadline := time.Now().Add(patience)
	b := make([]byte, 70000)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return nil
		}
		poll := []unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(poll, int(left.Milliseconds())+1); n == 0 || errors.Is(err, unix.EINTR) {
			continue
		}
		n, from, err := unix.Recvfrom(w.fd, b, 0)
		if err != nil {
			t.Fatal(err)
		}
		if at, ok := from.(*unix.SockaddrLinklayer); ok && at.Pkttype == unix.PACKET_OUTGOING || n < 54 {
			continue
		}
		ip, tcp := headers(b[:n])
		ours := ip[0]>>4 == 4 && ip[9] == 6 || ip[0]>>4 == 6 && ip[6] == 6
		if ours && len(tcp) >= 20 && be.Uint16(tcp[2:]) == f.sport && be.Uint16(tcp) == f.dport && want(tcp) {
			return append([]byte(nil), b[:n]...)
		}
	}
}

func isSYNACK(tcp []byte) bool { return tcp[13]&(syn|ack|rst) == syn|ack }
func isReset(tcp []byte) bool  { return tcp[13]&rst != 0 }
func isBanner(tcp []byte) bool {
	return len(tcp) > 20 && tcp[13]&ack != 0 && string(tcp[min(len(tcp), int(tcp[12]>>4)*4):]) == banner
}

// forged returns a SYN from a source for which only the test answers.
func forged(s Service, port uint16) frame {
	f := synTo(s)
	f.from = addr("198.51.100.7")
	if !s.Address.Is4() {
		f.from = addr("2001:db8:7::7")
	}
	f.sport, f.options = port, linux
	return f
}

const (
	soon   = 2 * time.Second
	little = 300 * time.Millisecond // enough for an immediate reply
)

func eachFamily(t *testing.T, f func(t *testing.T, s Service)) {
	for name, s := range map[string]Service{"ipv4": mail4, "ipv6": mail6} {
		t.Run(name, func(t *testing.T) { f(t, s) })
	}
}

// since returns how much each verdict's counter has increased since before.
func since(t testing.TB, s *Shield, before []Counter) map[Verdict]uint64 {
	t.Helper()
	now, err := s.Counters()
	if err != nil {
		t.Fatal(err)
	}
	more := map[Verdict]uint64{}
	for i := range now {
		if n := now[i].Packets - before[i].Packets; n > 0 {
			more[now[i].Verdict] = n
		}
	}
	return more
}

func TestHandshakeIsAsTheStackMakesIt(t *testing.T) {
	for _, mode := range []Mode{Native, Generic} {
		t.Run(string(mode), func(t *testing.T) {
			l := newLab(t, Options{Mode: mode}, Settings{Services: three, Cookies: Never})
			for _, change := range []string{"", "tcp_timestamps", "tcp_sack", "tcp_window_scaling"} {
				if change != "" {
					l.client.do(t, func() { sysctl(t, "ipv4/"+change, "0") })
				}
				eachFamily(t, func(t *testing.T, s Service) { compare(t, l, s) })
			}
		})
	}
}

// compare connects once through the stack and once with a cookie.
func compare(t *testing.T, l *lab, s Service) {
	var infos [2]tcpInfo
	for i, cookies := range []Cookies{Never, Always} {
		n := l.nodes[0]
		n.do(t, func() {
			if err := n.shield.Configure(Settings{Services: three, Cookies: cookies}); err != nil {
				t.Fatal(err)
			}
		})
		before := watch(t, n.shield).last
		conn, err := l.dial(t, s, soon)
		if err != nil {
			t.Fatal(err, since(t, n.shield, before))
		}
		infos[i] = <-n.server.info
		echo(t, conn)
		conn.Close()
		got := since(t, n.shield, before)
		if cookies == Always && (got[SYNAnswered] == 0 || got[Cookie] == 0 || got[Admitted] == 0 || got[Unadmitted] != 0) {
			t.Errorf("with cookies: %v", got)
		}
		if cookies == Never && (got[SYNPassed] == 0 || got[Handshake] == 0 || got[Admitted] != 0) {
			t.Errorf("without cookies: %v", got)
		}
	}
	if infos[0] != infos[1] || !infos[0].advanced {
		t.Errorf("the stack agreed on %+v, the shield on %+v", infos[0], infos[1])
	}
}

// echo sends more than a window in both directions.
func echo(t testing.TB, conn net.Conn) {
	t.Helper()
	const size = 1 << 20
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	sent := make(chan error, 1)
	go func() {
		_, err := conn.Write(make([]byte, size))
		sent <- err
	}()
	if _, err := io.CopyN(io.Discard, conn, size); err != nil {
		t.Error("reading what was sent:", err)
	}
	if err := <-sent; err != nil {
		t.Error("writing:", err)
	}
}
