package network

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"anymx/tests/kit"
	"anymx/tests/pop"
)

// reloadCase changes one key of a running program and observes the effect.
type reloadCase = pop.Change[*changing]

// changing is a running program whose config changes key by key.
type changing struct {
	t          *testing.T
	node, peer *site
	program    *running
	neighbour  *running // the program of the peer; nil: none
	base       string   // config, without the change of a case
	first      string   // what an observation of this case found first
}

// observed is how long an effect may take. Some appear with the next round or handshake.
const observed = 20 * time.Second

// run goes through cases, one by one.
func (c *changing) run(cases []reloadCase) {
	outer := c.t
	for _, r := range cases {
		outer.Run(r.Key, func(t *testing.T) {
			c.t, c.node.t, c.peer.t, c.program.site.t, c.first = t, t, t, t, ""
			before, after := r.Values()
			c.apply(before)
			c.await("before", r.Observe, r.Before)
			c.apply(after)
			c.await("after "+r.Key+" = "+r.Is, r.Observe, r.After)
		})
	}
	c.t, c.node.t, c.peer.t, c.program.site.t = outer, outer, outer, outer
}

// apply reloads the base config with other values for some keys.
func (c *changing) apply(values map[string]string) {
	c.t.Helper()
	text := pop.WithValues(c.base, values, c.node.dir)
	lines := func() int { return strings.Count(c.program.Output(), "\n") }
	before := lines()
	c.node.write("anymx.toml", text)
	c.program.reload()
	kit.Eventually(c.t, "the program logs its reload", func() bool { return lines() > before })
	if s, err := c.node.status(); err != nil || s.Config.Problem != "" || len(s.Config.Restart) > 0 {
		c.t.Fatalf("reload: %+v, %v", s.Config, err)
	}
}

// await waits until an observation is what is wanted, twice in a row if it is a short one.
func (c *changing) await(when string, observe func(*changing) string, want string) {
	c.t.Helper()
	var got string
	row := 0
	if !kit.Within(observed, func() bool {
		began := time.Now()
		if got = observe(c); got == want {
			row++
		} else {
			row = 0
		}
		return row == 2 || row == 1 && time.Since(began) > 2*time.Second
	}) {
		c.t.Fatalf("%s: %q, want %q", when, got, want)
	}
}

// shows observes what matches a pattern first in what ip prints on the node.
func shows(command, pattern string) func(*changing) string {
	matcher := regexp.MustCompile(pattern)
	return func(c *changing) string { return matcher.FindString(c.node.ip(command)) }
}

// pings observes whether an address answers the site that asks.
func pings(from func(*changing) *site, address string, options ...string) func(*changing) string {
	return func(c *changing) string {
		if from(c).command(append([]string{"ping", "-c", "1", "-W", "1", address}, options...)...).Run() != nil {
			return "silent"
		}
		return "answers"
	}
}

func (c *changing) self() *site  { return c.node }
func (c *changing) other() *site { return c.peer }

var networkCases = []reloadCase{
	{Key: "anycast.addresses", Is: `["192.0.2.26/32", "2001:db8:25::25/128"]`, Observe: shows("-4 -o address show dev lo", `192\.0\.2\.2\d/32`),
		Before: "192.0.2.25/32", After: "192.0.2.26/32"},
	{Key: "egress.source.address", Is: `"198.51.100.11/24"`, Observe: shows("-4 -o address show dev eth0", `198\.51\.100\.1\d/32`),
		Before: "198.51.100.10/32", After: "198.51.100.11/32"},
	{Key: "egress.source.interface", Is: `"eth1"`, Observe: shows("-4 -o address show", `eth\d +inet 198\.51\.100\.10/32`),
		Before: "eth0    inet 198.51.100.10/32", After: "eth1    inet 198.51.100.10/32"},
	{Key: "egress.source.gateway", Is: `"198.51.100.254"`, Observe: shows("-4 route show table all", `via 198\.51\.100\.\d+ dev eth0 table`),
		Before: "via 198.51.100.1 dev eth0 table", After: "via 198.51.100.254 dev eth0 table"},
	{Key: "net.repair", Was: `"1h"`, Is: `"100ms"`, Observe: (*changing).duplicate, Before: "missing", After: "restored"},
	{Key: "tunnel.address", Is: `["10.77.0.4/24", "fd77::2/64"]`, Observe: shows("-4 -o address show dev wg-core", `10\.77\.0\.\d+/24`),
		Before: "10.77.0.2/24", After: "10.77.0.4/24"},
	{Key: "tunnel.listen_port", Is: "51999", Observe: (*changing).ports, Before: "51820", After: "51999"},
	{Key: "tunnel.private_key_file", Is: `"<dir>/other.Key"`, Observe: pings((*changing).self, "10.77.0.1"), Before: "answers", After: "silent"},
	{Key: "tunnel.mtu", Is: "1300", Observe: shows("link show dev wg-core", `mtu \d+`), Before: "mtu 1440", After: "mtu 1300"},
	{Key: "tunnel.peer.public_key", Is: "OTHER", Observe: pings((*changing).self, "10.77.0.1"), Before: "answers", After: "silent"},
	{Key: "tunnel.peer.allowed_ips", Is: `["10.77.0.0/24", "fd77::/64", "10.88.0.0/24"]`, Observe: pings((*changing).self, "10.88.0.1"),
		Before: "silent", After: "answers"},
	{Key: "tunnel.peer.keepalive", Was: `"0s"`, Is: `"1s"`, Observe: (*changing).idleBytes, Before: "still", After: "grow"},
	{Key: "tunnel.peer.preshared_key_file", Is: `"<dir>/psk"`, Observe: (*changing).handshake, Before: "answers", After: "silent"},
	// The last: core is gone after it.
	{Key: "tunnel.peer.endpoint", Is: `"198.51.100.3:51998"`, Observe: (*changing).endpoint, Before: "nothing", After: "heard"},
}

// Each key is changed on a running node, and its kernel or core shows the effect.
func TestReloadTakesEffect(t *testing.T) {
	node, core := pair(t)
	node.ip("link add eth1 type veth peer name eth2")
	node.ip("link set eth1 up")
	core.ip("address add 10.88.0.1/32 dev lo")
	other := node.key() // a key pair that core does not know
	kept, err := os.ReadFile(node.dir + "/wg.key")
	if err != nil {
		t.Fatal(err)
	}
	node.write("other.Key", string(kept))
	node.write("psk", string(kept))
	coreText, err := os.ReadFile(core.config())
	if err != nil {
		t.Fatal(err)
	}
	nodeText, err := os.ReadFile(node.config())
	if err != nil {
		t.Fatal(err)
	}
	public := node.key()
	core.write("anymx.toml", regexp.MustCompile(`public_key = .*`).ReplaceAllString(string(coreText), fmt.Sprintf("public_key = %q", public)))
	c := &changing{t: t, node: node, peer: core, base: string(nodeText)}
	c.neighbour = core.start(well)
	c.program = node.start(up)
	cases := append([]reloadCase(nil), networkCases...)
	for i := range cases {
		if cases[i].Is == "OTHER" {
			cases[i].Is = fmt.Sprintf("%q", other)
		}
	}
	c.run(cases)
}

// duplicate observes whether an address that another host had comes back. The kernel reports
// nothing when the other host gives it up.
func (c *changing) duplicate() string {
	const address = "2001:db8:1::10"
	present := func() bool {
		out := c.node.ip("-6 -o address show dev eth0 to " + address)
		return strings.Contains(out, address) && !strings.Contains(out, "tentative") && !strings.Contains(out, "dadfailed")
	}
	kit.Within(5*time.Second, present) // a reload puts it there
	c.peer.ip("-6 address add " + address + "/64 dev eth0 nodad")
	_ = c.node.command("ip", "-6", "address", "del", address+"/64", "dev", "eth0").Run() // it may be absent
	kit.Eventually(c.t, "the node notices the duplicate", func() bool {
		return !present()
	})
	time.Sleep(1500 * time.Millisecond) // duplicate address detection takes a second
	c.peer.ip("-6 address del " + address + "/64 dev eth0")
	if kit.Within(5*time.Second, present) {
		return "restored"
	}
	return "missing"
}

// ports returns which of the two ports of the case the node's tunnel listens on.
func (c *changing) ports() string {
	out, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/udp", c.node.pid))
	if err != nil {
		c.t.Fatal(err)
	}
	var ports []string
	for _, port := range []int{51820, 51999} {
		if strings.Contains(string(out), fmt.Sprintf(":%04X ", port)) {
			ports = append(ports, fmt.Sprint(port))
		}
	}
	return strings.Join(ports, " ")
}

// endpoint observes whether something arrives at another port of core. Core itself is silent: its
// packets would tell the node the right port.
func (c *changing) endpoint() string {
	c.neighbour.Kill()
	conn := c.peer.udp(51998)
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(6 * time.Second))
	if _, _, err := conn.ReadFromUDPAddrPort(make([]byte, 2048)); err != nil {
		return "nothing"
	}
	return "heard"
}

// idleBytes observes whether core receives anything while there is no traffic.
func (c *changing) idleBytes() string {
	count := func() string {
		return regexp.MustCompile(`anymx_tunnel_bytes_total\{direction="received".*`).FindString(c.peer.metrics())
	}
	before := count()
	time.Sleep(2500 * time.Millisecond) // the key is about the time between two packets
	if count() == before {
		return "still"
	}
	return "grow"
}

// handshake observes whether core answers after a new handshake, which core's restart causes.
func (c *changing) handshake() string {
	c.neighbour.Kill()
	c.peer.t = c.t
	c.neighbour = c.peer.start(well)
	if kit.Within(7*time.Second, func() bool { return pings((*changing).self, "10.77.0.1")(c) == "answers" }) {
		return "answers"
	}
	return "silent"
}
