package lab

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"anymx/tests/kit"
)

// byHand is a client in client-a's network whose segments the test builds itself. No kernel answers
// for its address.
type byHand struct {
	t        *testing.T
	fd       int
	from, to netip.AddrPort
	mac      [2]net.HardwareAddr // own, the router's
	stamp    uint32              // its own last timestamp
	echo     uint32              // the peer's last timestamp
}

// hands has the addresses of such clients.
var hands = map[string]string{Service4: "10.64.1.77", Service6: "2001:db8:1::77"}

// newByHand creates a client of a service address.
func newByHand(t *testing.T, l *Lab, service string, port uint16) *byHand {
	t.Helper()
	c := &byHand{t: t, fd: -1, stamp: 1000,
		from: netip.AddrPortFrom(netip.MustParseAddr(hands[service]), port), to: netip.AddrPortFrom(netip.MustParseAddr(service), 25)}
	var err error
	c.mac[0], err = l.ClientA.hardware("eth0")
	must(t, err)
	c.mac[1], err = l.R1.Namespace.hardware("client-a")
	must(t, err)
	must(t, l.R1.Namespace.IP(t.Context(), "neighbour", "replace", hands[service], "lladdr", c.mac[0].String(), "dev", "client-a", "nud", "permanent"))
	must(t, l.ClientA.Do(func() error {
		all := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL))
		c.fd, err = packetSocket("eth0", all)
		return err
	}))
	t.Cleanup(func() { _ = unix.Close(c.fd) })
	return c
}

// send sends a segment with timestamps and, if it is a SYN, with its options.
func (c *byHand) send(s segment) {
	c.t.Helper()
	c.stamp++
	s.toMAC, s.fromMAC, s.from, s.to = c.mac[1], c.mac[0], c.from, c.to
	if s.flags == SYN {
		s.options = append([]byte(nil), linux...)
		binary.BigEndian.PutUint32(s.options[8:], c.stamp)
	} else {
		s.options = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32([]byte{1, 1, 8, 10}, c.stamp), c.echo)
	}
	if _, err := unix.Write(c.fd, s.frame()); err != nil {
		c.t.Fatal(err)
	}
}

// await returns the next segment for this client that has the flags and, if data is set, a payload.
func (c *byHand) await(limit time.Duration, flags byte, data bool) (s segment, ok bool) {
	c.t.Helper()
	b := make([]byte, 1<<16)
	for end := time.Now().Add(limit); ; {
		left := time.Until(end)
		if left <= 0 {
			return s, false
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if n == 0 || errors.Is(err, unix.EINTR) {
			continue
		}
		size, _, err := unix.Recvfrom(c.fd, b, 0)
		if err != nil {
			c.t.Fatal(err)
		}
		s, ok = parseSegment(b[:size])
		if ok && s.from == c.to && s.to == c.from && s.flags&flags == flags && (!data || len(s.data) > 0) {
			c.echo, _ = s.timestamp()
			return s, true
		}
	}
}

// open sends a SYN and returns the ACK for the reply, without sending it.
func (c *byHand) open() segment {
	c.t.Helper()
	const first = 0x10000000
	c.send(segment{flags: SYN, seq: first})
	back, ok := c.await(kit.Patience, SYN|ACK, false)
	if !ok || back.ack != first+1 {
		c.t.Fatalf("the SYN to %s was not answered: %v", c.to, back)
	}
	return segment{flags: ACK, seq: back.ack, ack: back.seq + 1}
}

// banner returns the greeting that arrives within limit, or "". It then resets the connection.
func (c *byHand) banner(limit time.Duration) string {
	c.t.Helper()
	s, ok := c.await(limit, ACK, true)
	if !ok {
		return ""
	}
	c.send(segment{flags: RST | ACK, seq: s.ack, ack: s.seq + uint32(len(s.data))})
	return string(s.data)
}

// move makes r1 send traffic for the service addresses to PoP b, or stop doing so.
func move(t *testing.T, l *Lab, how string) {
	t.Helper()
	must(t, l.R1.Namespace.IP(t.Context(), "route", how, Service4+"/32", "via", R2ToR1))
	must(t, l.R1.Namespace.IP(t.Context(), "-6", "route", how, Service6+"/128", "via", "2001:db8:12::2"))
}

// A flow whose SYN was answered by PoP a and whose ACK reaches PoP b, because the route changed in
// between, connects if both have the same key.
func TestFlowMovesDuringItsHandshake(t *testing.T) {
	l := inService(t)
	const always = `cookies = "always"`
	for _, n := range []*Node{l.A, l.B} {
		shielded(t, n, always)
	}
	port := uint16(42000)
	for _, service := range []string{Service4, Service6} {
		port++
		c := newByHand(t, l, service, port)
		c.send(c.open())
		if got := c.banner(kit.Patience); !strings.Contains(got, l.A.Host) {
			t.Errorf("%s without a move: the banner is %q", service, got)
		}
	}
	handshake := func(service string, limit time.Duration) string {
		port++
		c := newByHand(t, l, service, port)
		last := c.open()
		move(t, l, "add")
		defer move(t, l, "delete")
		c.send(last)
		return c.banner(limit)
	}
	for _, service := range []string{Service4, Service6} {
		if got := handshake(service, kit.Patience); !strings.Contains(got, l.B.Host) {
			t.Errorf("%s with the same key: the banner is %q, not that of PoP b", service, got)
		}
	}
	t.Cleanup(func() { must(t, l.B.ShareKey(sharedKey)) })
	must(t, l.B.ShareKey("another key, which PoP a does not have"))
	must(t, l.B.Shield(t.Context(), always))
	for _, service := range []string{Service4, Service6} {
		before, err := l.B.Verdicts(t.Context())
		must(t, err)
		got := handshake(service, time.Second)
		after, err := l.B.Verdicts(t.Context())
		must(t, err)
		if got != "" || after["bogus"] == before["bogus"] {
			t.Errorf("%s with different keys: the banner is %q, %d segments were bogus", service, got, after["bogus"]-before["bogus"])
		}
	}
}

// Below the threshold the stack completes the handshakes: a client whose last ACK is lost gets the
// SYN-ACK again and then its banner. A cookie is sent only once, which is why none are used below
// the threshold.
func TestLostACKInPeace(t *testing.T) {
	l := inService(t)
	shielded(t, l.A, "")
	for i, service := range []string{Service4, Service6} {
		c := newByHand(t, l, service, uint16(43000+i))
		c.open() // the ACK it returns is lost
		again, ok := c.await(kit.Patience, SYN|ACK, false)
		if !ok {
			t.Fatalf("%s: the SYN-ACK did not come again", service)
		}
		c.send(segment{flags: ACK, seq: again.ack, ack: again.seq + 1})
		if got := c.banner(kit.Patience); !strings.Contains(got, l.A.Host) {
			t.Errorf("%s: the banner is %q", service, got)
		}
	}
	must(t, l.A.Shield(t.Context(), `cookies = "always"`))
	c := newByHand(t, l, Service4, 43010)
	c.open()
	if again, ok := c.await(2500*time.Millisecond, SYN|ACK, false); ok {
		t.Errorf("a cookie was sent twice: %v", again)
	}
}
