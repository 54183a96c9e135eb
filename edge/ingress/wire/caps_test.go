package wire

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"anymx/edge/ingress/own"
	"anymx/edge/mail"
	"anymx/tests/kit"
)

// The wider a network, the smaller its part of what its narrower ones could have.
func TestCapOf(t *testing.T) {
	for _, tt := range []struct {
		limits Limits
		want   string
	}{
		{Limits{MaxConnections: 20_000, MaxPerPrefix: 50, MaxShare: 25}, "/64:50 /56:1250 /48:2500 /32:5000 /24:50 /16:5000"},
		{Limits{MaxConnections: 100, MaxPerPrefix: 50, MaxShare: 25}, "/64:50 /56:50 /48:50 /32:50 /24:50 /16:50"},
		{Limits{MaxConnections: 2, MaxShare: 25}, "/64:0 /56:1 /48:1 /32:1 /24:0 /16:1"},
		{Limits{MaxPerPrefix: 7, MaxShare: 25}, "/64:7 /56:0 /48:0 /32:0 /24:7 /16:0"},
		{Limits{}, "/64:0 /56:0 /48:0 /32:0 /24:0 /16:0"},
	} {
		var got []string
		for _, bits := range append(append([]int(nil), lengths6...), lengths4...) {
			got = append(got, fmt.Sprintf("/%d:%d", bits, tt.limits.capOf(bits)))
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%+v: %s, want %s", tt.limits, s, tt.want)
		}
	}
}

// No network can take all places: not a /48 by its /64s, nor a /32 by its /48s.
func TestOneNetworkCannotTakeAll(t *testing.T) {
	limits := &Limits{MaxConnections: 2000, MaxPerPrefix: 50, MaxShare: 25}
	for _, tt := range []struct {
		network string
		vary    []int // bytes of the address that clients vary
		want    int
	}{
		{"2001:db8:1:2::1", nil, 50},
		{"2001:db8:1:2::1", []int{7}, 125},
		{"2001:db8:1:2::1", []int{6, 7}, 250},
		{"2001:db8:1:2::1", []int{4, 5, 6, 7}, 500},
		{"192.0.2.1", []int{3}, 50},
		{"192.0.2.1", []int{2, 3}, 500},
	} {
		var c caps
		random := rand.New(rand.NewPCG(1, 2))
		joined := 0
		for range 20_000 {
			b := netip.MustParseAddr(tt.network).AsSlice()
			for _, i := range tt.vary {
				b[i] = byte(random.IntN(256))
			}
			addr, _ := netip.AddrFromSlice(b)
			if !c.enter(limits, false) {
				t.Fatalf("%s, varied at %v: took all places", tt.network, tt.vary)
			}
			if c.join(addr, limits) == 0 {
				joined++
			} else {
				c.leave(addr, false, limits)
			}
		}
		if joined != tt.want {
			t.Errorf("%s, varied at %v: has %d connections, want %d", tt.network, tt.vary, joined, tt.want)
		}
	}
}

// After any sequence of coming and going all counters are back at zero.
func TestCapsReturnToZero(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	limits := &Limits{MaxConnections: 200, MaxPerPrefix: 5, MaxShare: 20, Reserved: 10, Crowded: 50}
	var c caps
	type client struct {
		addr   netip.Addr
		joined bool
	}
	var open []client
	for range 100_000 {
		if len(open) > 0 && random.IntN(2) == 0 {
			i := random.IntN(len(open))
			c.leave(open[i].addr, open[i].joined, limits)
			open[i] = open[len(open)-1]
			open = open[:len(open)-1]
			continue
		}
		addr := netip.AddrFrom4([4]byte{10, byte(random.IntN(3)), byte(random.IntN(20)), byte(random.IntN(4))})
		if random.IntN(2) == 0 {
			addr = netip.AddrFrom16([16]byte{0x20, 1, 0, byte(random.IntN(2)), 0, byte(random.IntN(3)), 0, byte(random.IntN(9))})
		}
		if !c.enter(limits, random.IntN(2) == 0) {
			continue
		}
		open = append(open, client{addr, c.join(addr, limits) == 0})
		if c.total != len(open) || c.total > limits.MaxConnections {
			t.Fatalf("%d are counted, %d are open", c.total, len(open))
		}
	}
	for _, o := range open {
		c.leave(o.addr, o.joined, limits)
	}
	if c.total != 0 || len(c.by) != 0 || c.crowded.Load() {
		t.Errorf("%d, %v, crowded %v", c.total, c.by, c.crowded.Load())
	}
}

// The table is crowded from its mark on, and not at each connection that comes and goes there.
func TestCrowded(t *testing.T) {
	limits := &Limits{MaxConnections: 100, Crowded: 80}
	var c caps
	at := func(n int) bool {
		for c.total < n {
			c.enter(limits, true)
		}
		for c.total > n {
			c.leave(netip.Addr{}, false, limits)
		}
		return c.crowded.Load()
	}
	for i, tt := range []struct {
		open int
		want bool
	}{{79, false}, {80, true}, {71, true}, {70, true}, {69, false}, {79, false}, {80, true}, {0, false}} {
		if got := at(tt.open); got != tt.want {
			t.Errorf("%d: with %d connections crowded is %v", i, tt.open, got)
		}
	}
}

// Networks are remembered for a time, and only so many.
func TestKnown(t *testing.T) {
	var k known
	now := time.Unix(1e9, 0)
	network := func(n int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n >> 8), byte(n), 0}), 24)
	}
	k.add(network(1), now)
	for _, tt := range []struct {
		after time.Duration
		want  bool
	}{{0, true}, {14 * 24 * time.Hour, true}, {16 * 24 * time.Hour, true}, {60 * 24 * time.Hour, false}} {
		if got := k.has(network(1), now.Add(tt.after)); got != tt.want {
			t.Errorf("after %s: known %v", tt.after, got)
		}
	}
	for n := range 5 * maxKnown {
		k.add(netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(n >> 16), byte(n >> 8), byte(n), 0}), 24), now)
		if len(k.newer)+len(k.older) > maxKnown {
			t.Fatalf("%d networks are known", len(k.newer)+len(k.older))
		}
	}
}

// dialFrom connects from an address of loopback, and returns the first line.
func dialFrom(t *testing.T, l net.Listener, from string) (net.Conn, string) {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: kit.Patience}
	conn, err := d.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(kit.Patience))
	return conn, line(t, conn)
}

// line reads one, byte by byte: what follows is for others to read.
func line(t *testing.T, conn net.Conn) string {
	t.Helper()
	var b []byte
	for one := make([]byte, 1); !strings.HasSuffix(string(b), "\n"); b = append(b, one[0]) {
		if _, err := io.ReadFull(conn, one); err != nil {
			t.Fatalf("after %q: %v", b, err)
		}
	}
	return string(b)
}

// While one network takes all that it can get, others are served, in place of those of it that have been
// idle longest; who has a transaction open keeps its place, and the speaker's probe always finds one.
func TestEviction(t *testing.T) {
	probes := new(own.Connections)
	probes.Probed([]netip.Addr{netip.MustParseAddr("127.0.0.1")})
	busy := mail.Reply{Code: 421, Text: "full"}
	set := Settings{Full: busy, NetworkFull: busy, Own: probes, Limits: Limits{
		MaxConnections: 100, MaxShare: 100, Reserved: 10, Crowded: 80, CrowdedTimeout: time.Hour,
	}}
	registry, l := listen(t, set, 0)
	flood, refused := 0, 0
	dial := func() {
		_, banner := dialFrom(t, l, fmt.Sprintf("127.1.%d.%d", flood%8, 2+flood%200))
		if flood++; strings.HasPrefix(banner, "421") {
			refused++
		}
	}
	first, _ := dialFrom(t, l, "127.1.0.1")
	for range 300 {
		dial()
	}
	if n := registry.Open(); n > 90 {
		t.Errorf("%d connections are open, and 10 of 100 places are reserved", n)
	}
	// One connection goes every 100 ms at most, and that is not the first one at once.
	var got []byte
	kit.Eventually(t, "the connection that has waited longest is evicted", func() bool {
		dial()
		_ = first.SetReadDeadline(time.Now().Add(time.Millisecond))
		b := make([]byte, 512)
		n, _ := first.Read(b)
		got = append(got, b[:n]...)
		return bytes.HasSuffix(got, []byte("\n"))
	})
	if !strings.HasPrefix(string(got), "500 "+ErrCrowded.Error()) {
		t.Errorf("the connection that has waited longest reads %q", got)
	}
	for i := range 20 {
		kit.Eventually(t, "another network gets in", func() bool {
			conn, banner := dialFrom(t, l, fmt.Sprintf("127.%d.0.1", 2+i))
			if !strings.HasPrefix(banner, "220") {
				return false
			}
			say(t, l, conn, "QUIT\r\n", "221")
			return true
		})
	}
	if _, banner := dialFrom(t, l, "127.0.0.1"); !strings.HasPrefix(banner, "220") {
		t.Errorf("the probe reads %q", banner)
	}
	if n := testutil.ToFloat64(registry.metrics.evicted); n == 0 {
		t.Error("nobody was evicted")
	}
	t.Logf("%d of %d were refused, %v evicted", refused, flood, testutil.ToFloat64(registry.metrics.evicted))
	ctx, cancel := context.WithTimeout(t.Context(), kit.Patience)
	defer cancel()
	registry.Close(ctx)
}

// The largest network gives first, within it the largest narrower one, and there the one that has been
// idle longest without a transaction.
func TestIdleOrder(t *testing.T) {
	small, large := [4]int{10, 5, 5, 5}, [4]int{500, 250, 20, 10}
	larger := [4]int{500, 250, 200, 50}
	for i, tt := range []struct{ first, second idle }{
		{idle{weights: large, since: 9}, idle{weights: small, since: 1}},
		{idle{weights: larger, since: 9}, idle{weights: large, since: 1}},
		{idle{weights: large, since: 1}, idle{weights: large, since: 2}},
		{idle{weights: large, since: 9}, idle{weights: large, since: 1, open: true}},
	} {
		if tt.first.before(tt.second) >= 0 || tt.second.before(tt.first) <= 0 {
			t.Errorf("%d: wrong order", i)
		}
	}
}

// A network that has delivered finds a place where others don't.
func TestReserved(t *testing.T) {
	busy := mail.Reply{Code: 421, Text: "full"}
	registry, l := listen(t, Settings{Full: busy, Limits: Limits{MaxConnections: 10, Reserved: 20}}, 0)
	conn, _ := dialFrom(t, l, "127.9.0.1")
	registry.mu.Lock()
	for c := range registry.conns {
		c.Delivered()
	}
	registry.mu.Unlock()
	_ = conn.Close()
	kit.Eventually(t, "the connection has ended", func() bool { return registry.Open() == 0 })
	for range 8 {
		if _, banner := dialFrom(t, l, "127.1.0.1"); !strings.HasPrefix(banner, "220") {
			t.Fatalf("%q", banner)
		}
	}
	for from, want := range map[string]string{"127.1.0.1": "421", "127.2.0.1": "421", "127.9.0.99": "220"} {
		if _, banner := dialFrom(t, l, from); !strings.HasPrefix(banner, want) {
			t.Errorf("from %s: %q", from, banner)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), kit.Patience)
	defer cancel()
	registry.Close(ctx)
}
