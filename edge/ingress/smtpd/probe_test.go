package smtpd

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"anymx/edge/ingress/own"
	"anymx/edge/maillog"
)

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
