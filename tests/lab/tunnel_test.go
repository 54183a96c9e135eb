package lab

import (
	"context"
	"fmt"
	"testing"
	"time"

	"anymx/tests/kit"
)

// cut is how long core is unreachable.
const cut = 30 * time.Second

// Cutting the link to core under load only costs time: mail is accepted and queued, no packet
// reaches core another way, and the backlog is delivered when the link is back.
func TestLinkToCoreCut(t *testing.T) {
	l := inService(t)
	var captures []*Capture
	for _, n := range []*Node{l.A, l.B} {
		c, err := n.Namespace.Capture()
		must(t, err)
		defer c.Close()
		captures = append(captures, c)
	}
	load := l.Send(t.Context(), steady("cut"))
	defer load.Stop()
	must(t, load.AwaitMore(t.Context(), 200, time.Minute))

	must(t, l.Core.Cut(t.Context()))
	away := time.Now()
	acknowledged := load.Acknowledged()
	pause(t.Context(), cut)
	backlog := status(t, l.A).Spool.Messages + status(t, l.B).Spool.Messages
	taken := load.Acknowledged() - acknowledged
	t.Logf("in %s without core %d messages were taken, %d wait", time.Since(away).Round(time.Second), taken, backlog)
	if backlog == 0 || taken < 200 {
		t.Error("this proves nothing: was core away at all?")
	}
	for prefix, gateway := range map[string]string{Prefix4: A4, Prefix6: A6} {
		if at, ok := l.R1.Routes.Left(prefix, gateway, away); ok {
			t.Errorf("%s left r1 %s after core did", prefix, at.Sub(away))
		}
	}
	must(t, l.Core.Mend(t.Context()))
	back := time.Now()
	awaitHandedOver(t, l, back)
	settled(t, l, load, "cut", time.Minute)
	for _, c := range captures {
		checkTunneled(t, c)
	}
}

// awaitHandedOver waits until the spools of both nodes hold only what is in transit.
func awaitHandedOver(t *testing.T, l *Lab, back time.Time) {
	t.Helper()
	must(t, kit.Poll(t.Context(), 2*time.Minute, func(ctx context.Context) error {
		for _, n := range []*Node{l.A, l.B} {
			s, err := n.Client.Status(ctx)
			if err != nil {
				return err
			}
			if s.Spool.Messages > 50 {
				return fmt.Errorf("PoP %s has %d messages; core: %+v", n.Role, s.Spool.Messages, s.Core)
			}
		}
		return nil
	}))
	t.Logf("the backlog was handed over %s after core was back", time.Since(back).Round(100*time.Millisecond))
}

// Without the tunnel's device, mail waits: the remaining routes lead nowhere near core and are not
// used.
func TestTunnelTakenAway(t *testing.T) {
	l := inService(t)
	capture, err := l.A.Namespace.Capture()
	must(t, err)
	defer capture.Close()
	load := l.Send(t.Context(), steady("taken-away"))
	defer load.Stop()
	must(t, load.AwaitMore(t.Context(), 200, time.Minute))

	must(t, l.A.Program(Net).Stop(20*time.Second))
	must(t, l.A.Namespace.IP(t.Context(), "link", "delete", l.A.Device))
	away := time.Now()
	delivered := status(t, l.A).Core[0].Delivered
	pause(t.Context(), 8*time.Second)
	must(t, load.AwaitMore(t.Context(), 100, time.Minute))
	s := status(t, l.A)
	t.Logf("%s without a tunnel: %d messages wait; core: %s", time.Since(away).Round(time.Second), s.Spool.Messages, s.Core[0].LastError)
	if s.Spool.Messages == 0 || s.Core[0].Delivered > delivered+20 { // some were in progress
		t.Errorf("mail went on without a tunnel: %+v, %d delivered before", s, delivered)
	}
	must(t, l.A.Start(t.Context()))
	back := time.Now()
	awaitHandedOver(t, l, back)
	settled(t, l, load, "taken-away", time.Minute)
	checkTunneled(t, capture)
}
