package smtpd

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"anymx/edge/ingress/own"
	"anymx/edge/ingress/wire"
	"anymx/edge/maillog"
	"anymx/tests/kit"
)

// probed are the node's own connections where the speaker probes address.
func probed(address string) *own.Connections {
	c := new(own.Connections)
	c.Probed([]netip.Addr{netip.MustParseAddr(address)})
	return c
}

// probes plays connections on loopback, and checks which of them are counted as probes. What stands
// before a "|" is sent before the banner.
func probes(t *testing.T, set Settings, ours *own.Connections, texts map[string]bool) {
	t.Helper()
	s := newStageWith(t, set, Options{Own: ours})
	want, commands := 0.0, 0.0
	for text, is := range texts {
		header, rest, ok := strings.Cut(text, "|")
		if !ok {
			header, rest = "", text
		}
		c := s.talk(header, 1)
		c.say(rest, 0)
		if _, err := io.ReadAll(c.r); err != nil {
			t.Fatal(err)
		}
		_ = c.conn.Close()
		s.settled(0)
		commands += float64(strings.Count(rest, "\r\n"))
		kit.Eventually(t, "the connection is counted", func() bool {
			return testutil.ToFloat64(s.server.metrics.commands) >= commands
		})
		if is { // it is counted after the commands
			want++
			kit.Eventually(t, "a probe", func() bool { return testutil.ToFloat64(s.server.metrics.probes) >= want })
		}
		if got := testutil.ToFloat64(s.server.metrics.probes); got != want {
			t.Errorf("%q: %v probes, want %v", text, got, want)
			want = got
		}
	}
}

// The node's own probes are told from clients, also from those on the same host.
func TestProbe(t *testing.T) {
	texts := map[string]bool{
		"QUIT\r\n":                          true,
		"EHLO x\r\nQUIT\r\n":                true,
		"EHLO x\r\nNOOP\r\nQUIT\r\n":        false,
		opened + "QUIT\r\n":                 false,
		"EHLO x\r\nVRFY a\r\nQUIT\r\n":      false,
		"EHLO x\r\nRCPT TO:<a>\r\nQUIT\r\n": false,
	}
	probes(t, dialogueSettings(), probed("127.0.0.1"), texts)
	for text := range texts {
		texts[text] = false
	}
	probes(t, dialogueSettings(), probed("192.0.2.1"), texts)
}

// A LOCAL header leaves a connection its own addresses, and a header that names them is never believed.
func TestProbeBehindProxy(t *testing.T) {
	const local = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
	proxied := limited(wire.Limits{ProxyFrom: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	probes(t, proxied, probed("127.0.0.1"), map[string]bool{
		local + "|EHLO x\r\nQUIT\r\n":                                   true,
		"PROXY UNKNOWN\r\n|EHLO x\r\nQUIT\r\n":                          true,
		"PROXY TCP4 127.0.0.1 127.0.0.1 5 25\r\n|EHLO x\r\nQUIT\r\n":    false,
		"PROXY TCP4 198.51.100.1 127.0.0.1 5 25\r\n|EHLO x\r\nQUIT\r\n": false,
	})
}

// Probes get through where no client would.
func TestProbeHasNoNetwork(t *testing.T) {
	s := newStageWith(t, limited(wire.Limits{MaxPerPrefix: 1}), Options{Own: probed("127.0.0.1")})
	for range 3 {
		c := s.talk("EHLO x\r\n", 2)
		defer c.conn.Close()
	}
}

// TestProbesAreNotLogged, several in a second: the node's own, that is, and
// those that want nothing else.
func TestProbesAreNotLogged(t *testing.T) {
	set := settings()
	set.LogSessions = true
	ours := new(own.Connections)
	ours.Probed([]netip.Addr{netip.MustParseAddr("127.0.0.1")})
	var lines bytes.Buffer
	log := maillog.New(&lines, maillog.Options{})
	server := New(Options{Settings: set, MailLog: log, Own: ours})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	f := &front{t: t, address: l.Addr().String(), server: server}
	for _, session := range []string{"QUIT\r\n", "EHLO speaker\r\nQUIT\r\n", "EHLO sender\r\nNOOP\r\nQUIT\r\n"} {
		p := f.dial()
		p.send(session)
		for range strings.Count(session, "\n") {
			p.want("2.*")
		}
		p.gone()
	}
	_ = l.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	server.Registry().Close(ctx)
	log.Close()
	if got := lines.String(); strings.Count(got, "event=session") != 1 || !strings.Contains(got, "helo=sender") {
		t.Errorf("logged:\n%s", got)
	}
}
