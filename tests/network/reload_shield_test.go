package network

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

// Limits that nothing in these tests reaches.
const unlimited = "1000000000"

var shieldCases = []reloadCase{
	{Key: "shield.interfaces", Is: `["eth0", "eth1"]`, Observe: shows("link show dev eth1", `xdp\w*`), Before: "", After: "xdpgeneric"},
	{Key: "shield.mode", Was: `"native"`, Is: `"generic"`, Observe: shows("link show dev eth0", `xdp\w*`), Before: "xdp", After: "xdpgeneric"},
	{Key: "shield.unserved", Is: `"pass"`, Observe: (*changing).datagram, Before: "dropped", After: "arrives"},
	{Key: "shield.unparsable", Is: `"pass"`, With: map[string]string{"shield.unserved": `"drop"`},
		Observe: (*changing).manyHeaders, Before: "dropped", After: "arrives"},
	{Key: "shield.fragments", Is: `"pass"`, Observe: pings((*changing).other, "192.0.2.25", "-s", "3000"), Before: "silent", After: "answers"},
	{Key: "shield.block_file", Is: `"<dir>/wide"`, Observe: pings((*changing).other, "192.0.2.25"), Before: "answers", After: "silent"},
	{Key: "shield.allow_file", Is: `"<dir>/narrow"`, With: map[string]string{"shield.block_file": `"<dir>/wide"`},
		Observe: pings((*changing).other, "192.0.2.25"), Before: "silent", After: "answers"},
	{Key: "shield.connection_rate", Was: "1000000", Is: "1", With: always, Observe: (*changing).connections, Before: "all", After: "few"},
	{Key: "shield.connection_burst", Was: "1000", Is: "1", With: map[string]string{"shield.cookies": `"always"`, "shield.connection_rate": "1"},
		Observe: (*changing).connections, Before: "all", After: "few"},
	{Key: "shield.cookies", Was: `"never"`, Is: `"always"`, Observe: (*changing).reply, Before: "RST", After: "SYN ACK"},
	{Key: "shield.mtu", Is: "1280", With: always, Observe: (*changing).segmentSize, Before: "1460", After: "1240"},
	{Key: "shield.key_file", Is: `"<dir>/shield.key"`, With: always, Observe: (*changing).cookie, Before: "same", After: "changed"},
	{Key: "shield.epoch", Was: `"1h"`, Is: `"4s"`, With: always, Observe: (*changing).cookies, Before: "same", After: "changed"},
	{Key: "shield.syn_rate", Was: unlimited, Is: "1", Observe: (*changing).synFlood, Before: "RST", After: "SYN ACK"},
	{Key: "shield.stray_rate", Was: unlimited, Is: "1", Observe: (*changing).strayFlood, Before: "RST", After: "nothing"},
	// The last: the pressure lasts for an hour.
	{Key: "shield.hold", Was: `"1s"`, Is: `"1h"`, With: map[string]string{"shield.syn_rate": "1"},
		Observe: (*changing).afterFlood, Before: "RST", After: "SYN ACK"},
}

// always makes each SYN get a cookie.
var always = map[string]string{"shield.cookies": `"always"`, "shield.epoch": `"1h"`}

// Each key of the shield is changed while it runs, and what a host sends shows the effect. Most run
// in the generic mode: natively, a veth drops the shield's answers unless its other end has XDP, too.
func TestShieldReloadTakesEffect(t *testing.T) {
	node, host := fence(t)
	node.ip("link add eth1 type veth peer name eth2")
	node.write("wide", "198.51.100.0/24\n")
	node.write("narrow", "198.51.100.3\n")
	node.write("shield.key", "a key of more than sixteen bytes\n")
	node.configure(guarded("mode = \"generic\"\nhold = \"1s\"\nconnection_rate = 0\nsyn_rate = " + unlimited + "\nstray_rate = " + unlimited))
	text, err := os.ReadFile(node.config())
	if err != nil {
		t.Fatal(err)
	}
	c := &changing{t: t, node: node, peer: host, base: string(text)}
	c.program = node.startWith(shielded, on("generic"))
	c.run(shieldCases)
}

// arrives sends something and observes whether it gets to a UDP port of the node.
func (c *changing) arrives(port int, send func()) string {
	var conn *net.UDPConn
	var err error
	c.node.inside(func() { conn, err = net.ListenUDP("udp", &net.UDPAddr{Port: port}) })
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	send()
	_ = conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	if _, _, err := conn.ReadFromUDPAddrPort(make([]byte, 2048)); err != nil {
		return "dropped"
	}
	return "arrives"
}

// datagram sends UDP to a service address, which serves none.
func (c *changing) datagram() string {
	return c.arrives(9999, func() {
		conn := c.peer.udp(0)
		defer conn.Close()
		if _, err := conn.WriteToUDPAddrPort([]byte("hello"), netip.MustParseAddrPort("192.0.2.25:9999")); err != nil {
			c.t.Fatal(err)
		}
	})
}

// manyHeaders sends UDP after more extension headers than the shield follows.
func (c *changing) manyHeaders() string {
	return c.arrives(9999, func() { c.raw().extended("2001:db8:1::3", "2001:db8:25::25", 12, 9999) })
}

// connections observes how many of 20 handshakes in a row get an answer. The shield answers, and
// counts the cookies that come back; no server is needed.
func (c *changing) connections() string {
	p := c.raw()
	for i := range 20 {
		port := uint16(21000 + i)
		a := p.ask(port, flagSYN)
		if a.flags != "SYN ACK" {
			return "few"
		}
		p.complete(port, a)
	}
	return "all"
}

func (c *changing) reply() string { return c.raw().ask(20000, flagSYN).flags }

func (c *changing) segmentSize() string { return fmt.Sprint(c.raw().ask(20001, flagSYN).size) }

// cookie observes whether a SYN gets the same cookie as the first one of this case.
func (c *changing) cookie() string {
	got := fmt.Sprint(c.raw().ask(20002, flagSYN).seq)
	if c.first == "" {
		c.first = got
	}
	if got == c.first {
		return "same"
	}
	return "changed"
}

// cookies observes whether the cookie of a SYN changes within a few seconds.
func (c *changing) cookies() string {
	first := c.raw().ask(20003, flagSYN).seq
	time.Sleep(4500 * time.Millisecond) // the key is about the time
	if c.raw().ask(20003, flagSYN).seq == first {
		return "same"
	}
	return "changed"
}

// flood sends segments from many ports.
func (c *changing) flood(flags byte) *probe {
	p := c.raw()
	for i := range 100 {
		p.send(uint16(30000+i), flags)
	}
	return p
}

// synFlood observes what a SYN gets in the middle of many.
func (c *changing) synFlood() string { return c.flood(flagSYN).ask(20004, flagSYN).flags }

// strayFlood observes what a segment of no connection gets in the middle of many.
func (c *changing) strayFlood() string {
	got := c.flood(flagACK).ask(20005, flagACK).flags
	return strings.TrimSpace(got)
}

// afterFlood observes what a SYN gets some seconds after many.
func (c *changing) afterFlood() string {
	c.flood(flagSYN)
	time.Sleep(2500 * time.Millisecond) // the key is about the time
	return c.raw().ask(20006, flagSYN).flags
}
