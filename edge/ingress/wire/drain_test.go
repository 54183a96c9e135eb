package wire

import (
	"anymx/edge/ingress/own"
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"anymx/tests/kit"
)

// talker is a client that has a deadline.
type talker struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func (s *server) talk(text string, replies int) *talker {
	t := s.t.(*testing.T)
	t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	c := &talker{t, conn, bufio.NewReader(conn)}
	c.say(text, replies)
	return c
}

// say sends text and returns the last line of what is answered.
func (c *talker) say(text string, replies int) (line string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, text); err != nil {
		c.t.Fatal(err)
	}
	for replies > 0 {
		var err error
		if line, err = c.r.ReadString('\n'); err != nil {
			c.t.Fatal(err)
		}
		if line[3] == ' ' {
			replies--
		}
	}
	return line
}

// gone holds that the client is told line, and then that the other side closes.
func (c *talker) gone(line string) {
	c.t.Helper()
	if got := c.say("", 1); !strings.HasPrefix(got, line) {
		c.t.Errorf("told %q, not %q", got, line)
	}
	if rest, err := io.ReadAll(c.r); err != nil || len(rest) > 0 {
		c.t.Errorf("then %q, %v", rest, err)
	}
	_ = c.conn.Close()
}

const opened = "EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<b@mx.test>\r\n"

// TestDrainAndBack takes a service out and back with its listener open all the
// time, twice, since the first client alone has no lobby.
func TestDrainAndBack(t *testing.T) {
	s := serve(t, Settings{}, false)
	for range 2 {
		silent, busy := s.talk("EHLO c.test\r\n", 2), s.talk(opened, 4)
		left := make(chan int)
		go func() { left <- s.registry.Drain(t.Context()) }()
		silent.gone("421 4.3.2 ")
		s.talk("", 0).gone("421 4.3.2 ")
		busy.say("DATA\r\n", 1)
		if got := busy.say("x\r\n.\r\n", 1); !strings.HasPrefix(got, "250 ") {
			t.Errorf("message in flight: %q", got)
		}
		busy.gone("421 4.3.2 ")
		if n := <-left; n != 0 {
			t.Errorf("%d are left", n)
		}
		if _, ok := s.backend.next(); !ok {
			t.Error("nothing was delivered")
		}
		s.talk("", 0).gone("421 4.3.2 ")
		s.registry.SetDraining(false)
	}
	back := s.talk(opened, 4)
	back.say("DATA\r\n", 1)
	if got := back.say("x\r\n.\r\nQUIT\r\n", 1); !strings.HasPrefix(got, "250 ") {
		t.Errorf("after the drain: %q", got)
	}
	back.gone("221 ")
}

// TestDrainOfTheSilent does not wait for clients in a transaction that say
// nothing more: their packets go elsewhere now, and nobody tells us.
func TestDrainOfTheSilent(t *testing.T) {
	s := serve(t, Settings{Limits: Limits{DrainSilence: 50 * time.Millisecond}}, false)
	s.openLobby()
	between, inside := s.talk(opened, 4), s.talk(opened+"DATA\r\n", 5)
	inside.say("Subject: x\r\n", 0)
	began := time.Now()
	if n := s.registry.Drain(t.Context()); n != 0 {
		t.Errorf("%d are left", n)
	}
	if took := time.Since(began); took < 50*time.Millisecond {
		t.Errorf("they had %s to go on", took)
	}
	between.gone("421 4.3.2 ")
	inside.gone("421 4.4.2 ")
	if _, ok := s.backend.next(); ok {
		t.Error("half a message was delivered")
	}
}

// TestDrainDoesNotDelay tells 421 at once where a banner would be waited for.
func TestDrainDoesNotDelay(t *testing.T) {
	s := serve(t, Settings{Limits: Limits{BannerDelay: 5 * time.Second}}, false)
	s.registry.SetDraining(true)
	began := time.Now()
	s.talk("", 0).gone("421 4.3.2 ")
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("told after %s", took)
	}
}

// TestDrainIsGivenUp lets a client in a transaction end it, and then go, though
// others are served again.
func TestDrainIsGivenUp(t *testing.T) {
	s := serve(t, Settings{}, false)
	s.openLobby()
	busy := s.talk(opened, 4)
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan int)
	go func() { left <- s.registry.Drain(ctx) }()
	kit.Eventually(t, "the registry drains", s.registry.draining.Load)
	cancel()
	if n := <-left; n != 1 {
		t.Errorf("%d are left, not 1", n)
	}
	s.registry.SetDraining(false)
	other := s.talk("EHLO c.test\r\n", 2)
	busy.say("RCPT TO:<c@mx.test>\r\nDATA\r\n", 2)
	busy.say("x\r\n.\r\n", 1)
	busy.gone("421 4.3.2 ")
	if got := other.say("NOOP\r\n", 1); !strings.HasPrefix(got, "250 ") {
		t.Errorf("another client: %q", got)
	}
	_ = other.conn.Close()
}

// TestDrainIsOver though clients keep coming: each of them is told, and none is
// waited for.
func TestDrainIsOver(t *testing.T) {
	s := serve(t, Settings{}, false)
	s.openLobby()
	busy := s.talk(opened, 4)
	left := make(chan int)
	go func() { left <- s.registry.Drain(t.Context()) }()
	kit.Eventually(t, "the registry drains", s.registry.draining.Load)
	strays := make([]*talker, 20)
	for i := range strays {
		strays[i] = s.talk("", 1) // told, and lingering
	}
	_ = busy.conn.Close()
	select {
	case n := <-left:
		if n != 0 {
			t.Errorf("%d are left", n)
		}
	case <-time.After(500 * time.Millisecond): // strays linger for a second
		t.Error("the drain waits for those that came after it began")
	}
	for _, c := range strays {
		_ = c.conn.Close()
	}
}

// TestCut ends those that a drain has told and that do not end.
func TestCut(t *testing.T) {
	s := serve(t, Settings{}, false)
	s.openLobby()
	busy := s.talk(opened, 4)
	if cut := s.registry.Cut(); cut != 0 {
		t.Errorf("%d were cut before they were told", cut)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if n := s.registry.Drain(ctx); n != 1 {
		t.Errorf("%d are left, not 1", n)
	}
	if cut := s.registry.Cut(); cut != 1 || s.registry.Open() != 0 {
		t.Errorf("%d were cut, %d are open", cut, s.registry.Open())
	}
	if _, err := busy.r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	s.registry.SetDraining(false)
	s.registry.Close(t.Context())
	s.registry.SetDraining(false)
	s.talk("", 0).gone("421 4.3.2 ") // there is no way back from Close
}

// probed are the node's own connections where the speaker probes address.
func probed(address netip.Addr) *own.Connections {
	c := new(own.Connections)
	c.Probed([]netip.Addr{address})
	return c
}

// probes plays connections on loopback and says which of them were probes.
func probes(t *testing.T, settings Settings, texts map[string]bool) {
	t.Helper()
	s := serve(t, settings, false)
	s.openLobby()
	want := 0.0
	for text, is := range texts {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		header, rest, ok := strings.Cut(text, "|")
		if !ok {
			header, rest = "", text
		}
		if _, err := io.WriteString(conn, header); err != nil {
			t.Fatal(err)
		}
		readReplies(t, bufio.NewReader(conn), 1)
		if _, err := io.WriteString(conn, rest); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(conn); err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		s.settled(0)
		if is {
			want++
		}
		if got := testutil.ToFloat64(s.registry.metrics.probes); got != want {
			t.Errorf("%q: %v probes, want %v", text, got, want)
			want = got
		}
	}
}

// TestProbe tells the node's own probes from clients, also from those on the
// same host.
func TestProbe(t *testing.T) {
	texts := map[string]bool{
		"QUIT\r\n":                          true,
		"EHLO x\r\nQUIT\r\n":                true,
		"EHLO x\r\nNOOP\r\nQUIT\r\n":        false,
		opened + "QUIT\r\n":                 false,
		"EHLO x\r\nVRFY a\r\nQUIT\r\n":      false,
		"EHLO x\r\nRCPT TO:<a>\r\nQUIT\r\n": false,
	}
	probes(t, Settings{Own: probed(loopback.Addr().Next())}, texts)
	for text := range texts {
		texts[text] = false
	}
	probes(t, Settings{Own: probed(netip.MustParseAddr("192.0.2.1"))}, texts)
}

// TestProbeBehindProxy takes a LOCAL header for the connection's own addresses,
// and never believes a header that names them.
func TestProbeBehindProxy(t *testing.T) {
	const local = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
	probes(t, Settings{Own: probed(loopback.Addr().Next()), Limits: Limits{ProxyFrom: []netip.Prefix{loopback}}}, map[string]bool{
		local + "|EHLO x\r\nQUIT\r\n":                                   true,
		"PROXY UNKNOWN\r\n|EHLO x\r\nQUIT\r\n":                          true,
		"PROXY TCP4 127.0.0.1 127.0.0.1 5 25\r\n|EHLO x\r\nQUIT\r\n":    false,
		"PROXY TCP4 198.51.100.1 127.0.0.1 5 25\r\n|EHLO x\r\nQUIT\r\n": false,
	})
}

// TestProbeHasNoPrefix holds that probes get through where no client would, and
// take no client's place.
func TestProbeHasNoPrefix(t *testing.T) {
	full := Settings{Limits: Limits{MaxPerPrefix: 1}, Own: probed(loopback.Addr().Next())}
	s := serve(t, full, false)
	for range 3 {
		if got := s.talk("", 0).say("EHLO x\r\n", 2); !strings.HasPrefix(got, "250 ") {
			t.Errorf("probe: %q", got)
		}
	}
	s.registry.caps.mu.Lock()
	defer s.registry.caps.mu.Unlock()
	if n := len(s.registry.caps.by); n != 0 {
		t.Errorf("%d prefixes are counted", n)
	}
}
