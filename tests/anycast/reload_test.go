package anycast

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/apiutil"
	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"
	"golang.org/x/sys/unix"

	"anymx/tests/kit"
	"anymx/tests/pop"
)

// reloadCase changes one key of a running speaker and observes the effect.
type reloadCase = pop.Change[*changing]

// changing is a running node whose speaker's config changes key by key.
type changing struct {
	t      *testing.T
	node   *node
	router *router
	base   string // config, without the change of a case
}

// moments is how long an observation waits for something that may not happen. A session is dialled
// again within a second, and a healthy node announced within two.
const moments = 2500 * time.Millisecond

const both = prefix4 + " " + prefix6

// listening has the node dial 127.0.0.4, where only a listener is.
func listening(more ...string) map[string]string {
	with := map[string]string{"bgp.peer.address": `"127.0.0.4"`}
	for i := 0; i < len(more); i += 2 {
		with[more[i]] = more[i+1]
	}
	return with
}

var reloadCases = []reloadCase{
	{Key: "bgp.health.interval", Was: `"1m"`, Is: `"50ms"`, With: map[string]string{"bgp.health.timeout": `"1m"`},
		Observe: (*changing).withoutEdge, Before: "stays", After: "gone"},
	{Key: "bgp.health.timeout", Was: `"1m"`, Is: `"500ms"`, Observe: (*changing).hanging, Before: "stays", After: "gone"},
	{Key: "bgp.health.rise", Is: "1000", Observe: (*changing).recovery, Before: "back", After: "stays away"},
	{Key: "bgp.health.rise_time", Is: `"1h"`, Observe: (*changing).recovery, Before: "back", After: "stays away"},
	{Key: "bgp.health.fall", Is: "1000", Observe: (*changing).withoutAddress, Before: "gone", After: "stays"},
	{Key: "bgp.health.busy", Is: `"10s"`, Observe: (*changing).full, Before: "stays", After: "gone"},
	{Key: "bgp.peer.asn", Is: "64501", Observe: (*changing).table, Before: both, After: ""},
	{Key: "bgp.peer.hold_time", Is: `"6s"`, Observe: (*changing).holdTime, Before: "9s", After: "6s"},
	{Key: "bgp.peer.password_file", Is: `"<dir>/password"`, Observe: (*changing).table, Before: both, After: ""},
	{Key: "bgp.peer.ttl_security", Is: "true", Observe: (*changing).table, Before: both, After: ""},
	{Key: "bgp.peer.multihop", Is: "10", With: listening(), Observe: (*changing).farDial, Before: "nothing", After: "dialled"},
	{Key: "bgp.peer.port", Is: "1179", With: listening(), Observe: (*changing).dialledPort, Before: "179", After: "1179"},
	{Key: "bgp.peer.local_address", Is: `"127.0.0.5"`, With: listening(), Observe: (*changing).dialledFrom, Before: "127.0.0.1", After: "127.0.0.5"},
	{Key: "bgp.peer.connect_retry", Was: `"100ms"`, Is: `"1h"`, With: listening(), Observe: (*changing).dials, Before: "often", After: "seldom"},
	{Key: "bgp.peer.families", Is: `["ipv4"]`, Observe: (*changing).table, Before: both, After: prefix4},
	{Key: "bgp.peer.next_hop4", Is: `"198.51.100.77"`, Observe: attribute(packet.AFI_IP, "hop"), Before: "127.0.0.1", After: "198.51.100.77"},
	{Key: "bgp.peer.next_hop6", Is: `"2001:db8::77"`, Observe: attribute(packet.AFI_IP6, "hop"), Before: "2001:db8::1", After: "2001:db8::77"},
	{Key: "bgp.peer.med", Is: "77", Observe: attribute(packet.AFI_IP, "med"), Before: "", After: "77"},
	{Key: "bgp.peer.prepend", Is: "2", Observe: attribute(packet.AFI_IP, "path"), Before: "1", After: "3"},
}

// Each key is changed on a running speaker, and a router's table or what arrives at a listener shows
// the effect.
func TestReloadTakesEffect(t *testing.T) {
	r := newRouter(t, "127.0.0.2")
	n := newNode(t, settings{routers: []string{"127.0.0.2"}, ingress: "max_connections = 20\nmax_connections_per_prefix = 20"})
	if err := os.WriteFile(filepath.Join(n.dir, "password"), []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(n.config)
	if err != nil {
		t.Fatal(err)
	}
	n.start()
	r.await(long, prefix4, prefix6)
	c := &changing{node: n, router: r, base: string(text)}
	for _, test := range reloadCases {
		t.Run(test.Key, func(t *testing.T) {
			c.t = t
			c.apply(nil)
			r.await(long, prefix4, prefix6)
			before, after := test.Values()
			c.apply(before)
			c.await("before", test.Observe, test.Before)
			c.apply(after)
			c.await("after "+test.Key+" = "+test.Is, test.Observe, test.After)
		})
	}
}

// apply reloads the base config with other values for some keys.
func (c *changing) apply(values map[string]string) {
	c.t.Helper()
	text := pop.WithValues(c.base, values, c.node.dir)
	if err := os.WriteFile(c.node.config, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
	lines := func() int { return strings.Count(c.node.bgp.Log(), "msg=reloaded") }
	before := lines()
	c.node.reload()
	if !kit.Within(long, func() bool { return lines() > before }) {
		c.t.Fatalf("no reload:\n%s", c.node.bgp.Tail(5))
	}
}

// await waits until an observation is what is wanted.
func (c *changing) await(when string, observe func(*changing) string, want string) {
	c.t.Helper()
	var got string
	if !kit.Within(long, func() bool { got = observe(c); return got == want }) {
		c.t.Fatalf("%s: %q, want %q", when, got, want)
	}
}

// prefixes returns what the router has at the moment.
func (c *changing) prefixes() string {
	c.router.mu.Lock()
	defer c.router.mu.Unlock()
	if len(c.router.past) == 0 {
		return ""
	}
	return strings.Join(c.router.past[len(c.router.past)-1].table, " ")
}

// table returns what the router has; nothing only if that lasts longer than a new session takes.
func (c *changing) table() string {
	kit.Within(moments, func() bool { return c.prefixes() != "" })
	return c.prefixes()
}

// gone observes whether the routes are withdrawn within a few seconds.
func (c *changing) gone() string {
	if kit.Within(moments, func() bool { return c.prefixes() == "" }) {
		return "gone"
	}
	return "stays"
}

// withoutAddress observes the routes while the node lacks a service address.
func (c *changing) withoutAddress() string {
	c.router.await(long, prefix4, prefix6)
	address(c.t, service6, false)
	defer address(c.t, service6, true)
	return c.gone()
}

// withoutEdge observes the routes after the death of the edge.
func (c *changing) withoutEdge() string {
	c.router.await(long, prefix4, prefix6)
	c.node.edge.Kill()
	defer c.node.startEdge()
	return c.gone()
}

// hanging observes the routes while the edge hangs.
func (c *changing) hanging() string {
	c.router.await(long, prefix4, prefix6)
	c.node.edge.Signal(syscall.SIGSTOP)
	defer c.node.edge.Signal(syscall.SIGCONT)
	return c.gone()
}

// recovery observes whether the routes come back with a service address.
func (c *changing) recovery() string {
	address(c.t, service6, false)
	kit.Eventually(c.t, "the routes are withdrawn", func() bool { return c.prefixes() == "" })
	address(c.t, service6, true)
	if kit.Within(moments, func() bool { return c.prefixes() == both }) {
		return "back"
	}
	return "stays away"
}

// full observes the routes while the node answers its speaker with 421.
func (c *changing) full() string {
	c.node.edge.Kill()
	s := newStandIn(c.t, c.node)
	defer c.node.startEdge()
	defer s.close()
	c.router.await(long, prefix4, prefix6)
	s.full.Store(true)
	c.node.awaitBusy()
	return c.gone()
}

// holdTime is what the router and the node agreed on.
func (c *changing) holdTime() string {
	hold := ""
	err := c.router.ListPeer(context.Background(), &api.ListPeerRequest{}, func(p *api.Peer) {
		hold = fmt.Sprintf("%ds", p.GetTimers().GetState().GetNegotiatedHoldTime())
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return hold
}

// attribute observes an attribute of the router's path of a family: the next hop, the MED or the
// length of the path.
func attribute(afi uint16, name string) func(*changing) string {
	return func(c *changing) string {
		values := map[string]string{}
		request := &api.ListPathRequest{TableType: api.TableType_GLOBAL, Family: apiutil.ToApiFamily(afi, packet.SAFI_UNICAST)}
		err := c.router.ListPath(context.Background(), request, func(d *api.Destination) {
			for _, p := range d.Paths {
				attributes, err := apiutil.GetNativePathAttributes(p)
				if err != nil {
					c.t.Error(err)
				}
				for _, a := range attributes {
					switch a := a.(type) {
					case *packet.PathAttributeNextHop:
						values["hop"] = a.Value.String()
					case *packet.PathAttributeMpReachNLRI:
						values["hop"] = a.Nexthop.String()
					case *packet.PathAttributeMultiExitDisc:
						values["med"] = fmt.Sprint(a.Value)
					case *packet.PathAttributeAsPath:
						n := 0
						for _, segment := range a.Value {
							n += segment.ASLen()
						}
						values["path"] = fmt.Sprint(n)
					}
				}
			}
		})
		if err != nil {
			c.t.Error(err)
		}
		return values[name]
	}
}

// listen opens 127.0.0.4 at a port, for packets that may still go over at least so many hops.
func (c *changing) listen(port, hops int) *net.TCPListener {
	c.t.Helper()
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		failed := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MINTTL, hops) })
		if failed != nil {
			return failed
		}
		return err
	}}
	l, err := config.Listen(c.t.Context(), "tcp4", fmt.Sprintf("127.0.0.4:%d", port))
	if err != nil {
		c.t.Fatal(err)
	}
	return l.(*net.TCPListener)
}

// accepted returns where the first connection within some seconds comes from, "" if there is none.
func accepted(l *net.TCPListener) string {
	_ = l.SetDeadline(time.Now().Add(moments))
	conn, err := l.Accept()
	if err != nil {
		return ""
	}
	defer conn.Close()
	return conn.RemoteAddr().(*net.TCPAddr).IP.String()
}

// farDial observes whether packets of the node would reach a router that is some hops away.
func (c *changing) farDial() string {
	l := c.listen(179, 5)
	defer l.Close()
	if accepted(l) == "" {
		return "nothing"
	}
	return "dialled"
}

// dialledPort returns which of two ports the node dials.
func (c *changing) dialledPort() string {
	var ports []string
	for _, port := range []int{179, 1179} {
		l := c.listen(port, 1)
		if accepted(l) != "" {
			ports = append(ports, fmt.Sprint(port))
		}
		l.Close()
	}
	return strings.Join(ports, " ")
}

// dialledFrom returns the address that the node dials from.
func (c *changing) dialledFrom() string {
	l := c.listen(179, 1)
	defer l.Close()
	return accepted(l)
}

// dials observes how often a router is dialled that ends each connection.
func (c *changing) dials() string {
	l := c.listen(179, 1)
	defer l.Close()
	n := 0
	for end := time.Now().Add(moments); time.Now().Before(end); {
		if accepted(l) != "" {
			n++
		}
	}
	if n >= 10 {
		return "often"
	}
	return "seldom"
}
