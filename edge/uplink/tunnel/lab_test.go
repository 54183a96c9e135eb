package tunnel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"anymx/tests/kit"
)

// patient is how long a test waits for an expected event.
const patient = 30 * time.Second

// needRoot skips the test if it can't create a network namespace.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("network namespaces and TUN need root")
	}
	f, err := os.OpenFile(clone, os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no TUN here: %v", err)
	}
	f.Close()
}

// host is one machine of the lab: a network namespace.
type host struct {
	t     testing.TB
	space *namespace
	links links
}

// newHost creates a network namespace that ends with the test.
func newHost(t testing.TB) *host {
	t.Helper()
	needRoot(t)
	h := &host{t: t}
	var err error
	kit.NewNetwork(t).Do(func() {
		if h.space, err = here(); err == nil {
			h.links, err = openLinks()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.links.Close()
		h.space.close()
	})
	return h
}

// do runs f in the host.
func (h *host) do(f func() error) {
	h.t.Helper()
	if err := h.space.do(f); err != nil {
		h.t.Fatal(err)
	}
}

// cable connects two hosts by veth: each gets a device with the name and the address.
func cable(a, b *host, name, addressA, addressB string) {
	a.t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	err := a.links.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: name, PeerNamespace: netlink.NsFd(int(b.space.file.Fd()))})
	if err != nil {
		a.t.Fatalf("veth %s: %v", name, err)
	}
	a.address(name, addressA)
	b.address(name, addressB)
}

func (h *host) link(name string) netlink.Link {
	h.t.Helper()
	link, err := h.links.LinkByName(name)
	if err != nil {
		h.t.Fatalf("device %s: %v", name, err)
	}
	return link
}

// address adds an address to a device and sets it up.
func (h *host) address(device, address string) {
	h.t.Helper()
	link := h.link(device)
	addr, err := netlink.ParseAddr(address)
	if err == nil {
		addr.Flags = unix.IFA_F_NODAD // an IPv6 address would be unusable for a second
		err = h.links.AddrReplace(link, addr)
	}
	if err == nil {
		err = h.links.LinkSetUp(link)
	}
	if err != nil {
		h.t.Fatalf("address %s on %s: %v", address, device, err)
	}
}

func (h *host) resize(device string, mtu int) {
	h.t.Helper()
	if err := h.links.LinkSetMTU(h.link(device), mtu); err != nil {
		h.t.Fatal(err)
	}
}

// route adds a route to a network through a device, with its own MTU if mtu is not 0.
func (h *host) route(network, device string, mtu int) {
	h.t.Helper()
	_, dst, err := net.ParseCIDR(network)
	if err == nil {
		err = h.links.RouteReplace(&netlink.Route{Dst: dst, LinkIndex: h.link(device).Attrs().Index, MTU: mtu, Scope: netlink.SCOPE_LINK})
	}
	if err != nil {
		h.t.Fatalf("route %s: %v", network, err)
	}
}

// end is a tunnel of the lab, with its settings.
type end struct {
	*Tunnel
	host     *host
	settings Settings
	log      *recorder
	stop     func() // ends Run, then closes
}

// open opens a tunnel in a host and runs it until the test ends.
func (h *host) open(o Options, s Settings) *end {
	h.t.Helper()
	e := &end{host: h, settings: s, log: &recorder{}}
	if o.Interface == "" {
		o.Interface = "wg-core"
	}
	if o.Implementation == "" {
		o.Implementation = Userspace
	}
	o.Log = slog.New(slog.NewTextHandler(e.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	h.do(func() (err error) { e.Tunnel, err = Open(o); return err })
	e.apply()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	e.stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-done, e.Close()); err != nil {
			h.t.Errorf("tunnel's end: %v", err)
		}
	})
	h.t.Cleanup(e.stop)
	h.t.Cleanup(func() {
		if h.t.Failed() {
			h.t.Logf("log of the tunnel:\n%s", e.log.text())
		}
		e.log.mayNotHold(h.t, e.settings)
	})
	return e
}

// apply applies the settings, and adds the addresses to the device.
func (e *end) apply() {
	e.host.t.Helper()
	if err := e.Apply(context.Background(), e.settings); err != nil {
		e.host.t.Fatal(err)
	}
	for _, a := range e.settings.Addresses {
		e.host.address(e.name, a.String())
	}
}

// wait polls until f is true.
func wait(t testing.TB, what string, f func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !f() {
		if time.Since(began) > patient {
			t.Fatalf("not in %s: %s", patient, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(began)
}

// server is a TCP server in a host that echoes or discards its input.
type server struct {
	address string
	close   func()
}

// serve listens in a host; each connection is handled by f and closed.
func (h *host) serve(address string, f func(*net.TCPConn)) server {
	h.t.Helper()
	var l net.Listener
	h.do(func() (err error) { l, err = listenPlain(address); return err })
	var conns sync.WaitGroup
	var open sync.Map
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Store(c, true)
			conns.Go(func() {
				defer c.Close()
				f(c.(*net.TCPConn))
			})
		}
	})
	s := server{l.Addr().String(), sync.OnceFunc(func() {
		l.Close()
		open.Range(func(c, _ any) bool { c.(net.Conn).Close(); return true })
		conns.Wait()
	})}
	h.t.Cleanup(s.close)
	return s
}

func listenPlain(address string) (net.Listener, error) {
	var c net.ListenConfig
	c.SetMultipathTCP(false)
	return c.Listen(context.Background(), "tcp", address)
}

// dial connects from a host.
func (h *host) dial(address string, timeout time.Duration) (c *net.TCPConn, err error) {
	err = h.space.do(func() error {
		d := net.Dialer{Timeout: timeout}
		conn, err := d.Dial("tcp", address)
		if err == nil {
			c = conn.(*net.TCPConn)
		}
		return err
	})
	return c, err
}

// echo sends back its input. It avoids the kernel's splice, which keeps pipes open until they are
// collected.
func echo(c *net.TCPConn) { _, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c}) }

// transfer sends size bytes over a connection to an echo and compares the result. It returns an
// error if the tunnel does not carry them.
func transfer(c *net.TCPConn, size int) error {
	_ = c.SetDeadline(time.Now().Add(patient))
	sent := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	failed := make(chan error, 1)
	go func() {
		_, err := c.Write(sent)
		failed <- err
	}()
	got := make([]byte, len(sent))
	_, err := io.ReadFull(c, got)
	if err = errors.Join(err, <-failed); err != nil {
		return err
	}
	if !bytes.Equal(got, sent) {
		return errors.New("what came back is not what was sent")
	}
	return nil
}

// passes asserts that TCP and a large transfer pass from a host.
func (h *host) passes(address string, size int) {
	h.t.Helper()
	c, err := h.dial(address, patient)
	if err != nil {
		h.t.Fatalf("dial through the tunnel: %v", err)
	}
	defer c.Close()
	if err := transfer(c, size); err != nil {
		h.t.Fatalf("transfer of %d bytes: %v", size, err)
	}
}

// recorder records log lines.
type recorder struct {
	mutex sync.Mutex
	lines bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.lines.Write(p)
}

func (r *recorder) text() string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.lines.String()
}

func (r *recorder) count(s string) int { return strings.Count(r.text(), s) }

// mayNotHold fails if the log has a secret key, in any notation.
func (r *recorder) mayNotHold(t testing.TB, s Settings) {
	t.Helper()
	keys := []Key{s.PrivateKey}
	for _, p := range s.Peers {
		keys = append(keys, p.Preshared)
	}
	for _, k := range keys {
		if k.IsZero() {
			continue
		}
		for _, form := range []string{string(k.Text()), fmt.Sprintf("%x", k[:]), fmt.Sprint(k[:])} {
			if strings.Contains(r.text(), form) {
				t.Error("the log holds a secret key")
			}
		}
	}
}

// prefixes parses networks.
func prefixes(text ...string) []netip.Prefix {
	var p []netip.Prefix
	for _, s := range text {
		p = append(p, netip.MustParsePrefix(s))
	}
	return p
}

// pair is two connected hosts and settings of a tunnel between them.
type pair struct {
	a, b   *host
	sa, sb Settings
}

// newPair connects two hosts by IPv4 and IPv6; A has B's endpoint, and B learns A's. Inside are
// 10.77.0.1 and .2, fd77::1 and ::2.
func newPair(t testing.TB) *pair {
	t.Helper()
	p := &pair{a: newHost(t), b: newHost(t)}
	cable(p.a, p.b, "eth0", "192.0.2.1/24", "192.0.2.2/24")
	p.a.address("eth0", "2001:db8::1/64")
	p.b.address("eth0", "2001:db8::2/64")
	ka, kb, shared := GenerateKey(), GenerateKey(), GenerateKey()
	p.sa = Settings{
		Addresses: prefixes("10.77.0.1/24", "fd77::1/64"), PrivateKey: ka,
		Peers: []Peer{{
			PublicKey: kb.PublicKey(), Preshared: shared, Endpoint: "192.0.2.2:51820",
			AllowedIPs: prefixes("10.77.0.2/32", "fd77::2/128"), Keepalive: 25 * time.Second,
		}},
	}
	p.sb = Settings{
		Addresses: prefixes("10.77.0.2/24", "fd77::2/64"), PrivateKey: kb, ListenPort: 51820,
		Peers: []Peer{{PublicKey: ka.PublicKey(), Preshared: shared, AllowedIPs: prefixes("10.77.0.1/32", "fd77::1/128")}},
	}
	return p
}

// tcpInfo returns the kernel's information about a connection.
func tcpInfo(t testing.TB, c *net.TCPConn) *unix.TCPInfo {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var info *unix.TCPInfo
	failed := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	if err := errors.Join(failed, err); err != nil {
		t.Fatal(err)
	}
	return info
}
