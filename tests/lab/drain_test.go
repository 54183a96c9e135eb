package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"anymx/edge/operate/api"
	"anymx/tests/kit"
)

// riseTime is how long a node must be healthy before it announces its routes (bgp.health.rise_time
// of the nodes).
const riseTime = 3 * time.Second

// busy returns the load that runs during drains.
func busy(recipient string) Load {
	return Load{Sessions: 100, Each: 20, Pause: 100 * time.Millisecond, Recipient: recipient}
}

// A node that is drained while a hundred sessions send loses no message, and comes back after its
// health check has passed for riseTime.
func TestDrainUnderLoad(t *testing.T) {
	l := inService(t)
	load := l.Send(t.Context(), busy("drain"))
	defer load.Stop()
	must(t, load.AwaitMore(t.Context(), 500, time.Minute))

	began := time.Now()
	progress := command(t, l.A, "drain", "--wait", "2m", "--reason", "test of the lab")
	took := time.Since(began)
	t.Logf("anymx drain, %s:\n%s", took.Round(10*time.Millisecond), progress)
	if s := status(t, l.A); s.Phase != api.Drained || s.Spool.Messages != 0 || s.Drain == nil || s.Drain.Reason != "test of the lab" {
		t.Errorf("after the drain: phase %s, %d messages, %+v", s.Phase, s.Spool.Messages, s.Drain)
	}
	left := leftBoth(t, l, began)
	t.Logf("r1 sends to PoP b %s after the beginning", left.Sub(began).Round(time.Millisecond))
	if text, err := l.R1.Ask("show route protocol pop_a4"); err != nil || strings.Contains(text, "/24") {
		t.Errorf("r1 has a route from the drained PoP (%v):\n%s", err, text)
	}
	must(t, load.AwaitMore(t.Context(), 300, time.Minute))

	resumed := time.Now()
	t.Logf("anymx resume:\n%s", command(t, l.A, "resume"))
	if _, err := l.R1.Routes.Await(t.Context(), Prefix4, A4, time.Minute); err != nil {
		t.Fatal(err)
	}
	for prefix, gateway := range map[string]string{Prefix4: A4, Prefix6: A6} {
		for _, c := range l.R1.Routes.Changes(prefix, resumed) {
			if c.Gateway.String() == gateway && !c.Gone && c.At.Sub(resumed) < riseTime {
				t.Errorf("%s was announced %s after the resume, before the health checks passed", prefix, c.At.Sub(resumed))
			}
		}
	}
	back := awaitOpened(t, load, l.A.Host, resumed)
	t.Logf("PoP a takes mail again %s after the resume", back.At.Sub(resumed).Round(time.Millisecond))

	ledger, account := settled(t, l, load, "drain", time.Minute)
	onlyB(t, l, ledger, left, resumed)
	if account.Acknowledged < 1000 {
		t.Errorf("only %d messages were acknowledged, this proves little", account.Acknowledged)
	}
}

// leftBoth returns when r1 stopped sending either prefix to PoP a.
func leftBoth(t *testing.T, l *Lab, since time.Time) time.Time {
	t.Helper()
	var last time.Time
	for prefix, gateway := range map[string]string{Prefix4: A4, Prefix6: A6} {
		at, err := l.R1.Routes.AwaitLeft(t.Context(), prefix, gateway, since, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if at.After(last) {
			last = at
		}
	}
	return last
}

// onlyB checks that all connections opened between two times reached PoP b.
func onlyB(t *testing.T, l *Lab, ledger Ledger, from, to time.Time) {
	t.Helper()
	opened, wrong := 0, 0
	for _, o := range ledger.Opened {
		if o.At.After(from) && o.At.Before(to) {
			if opened++; o.Host != l.B.Host {
				wrong++
			}
		}
		if o.Client == "b" && o.Host != l.B.Host {
			t.Errorf("a connection from client-b reached %s", o.Host)
		}
	}
	if wrong > 0 || opened < 10 {
		t.Errorf("of %d connections opened while PoP a announced nothing, %d reached it", opened, wrong)
	}
	t.Logf("%d connections were opened while PoP a announced nothing, %d reached PoP b", opened, opened-wrong)
}

// awaitOpened waits for a connection that a node greets and that was dialed after the given time.
func awaitOpened(t *testing.T, load *Running, host string, after time.Time) (first Opened) {
	t.Helper()
	must(t, kit.Poll(t.Context(), time.Minute, func(context.Context) error {
		load.mu.Lock()
		defer load.mu.Unlock()
		for _, o := range load.ledger.Opened {
			if o.Host == host && o.At.After(after) {
				first = o
				return nil
			}
		}
		return fmt.Errorf("no connection has reached %s", host)
	}))
	return first
}

// A drained node stays drained when all its programs are restarted.
func TestDrainedSurvivesARestart(t *testing.T) {
	l := inService(t)
	began := time.Now()
	t.Logf("anymx drain --now:\n%s", command(t, l.A, "drain", "--now", "--wait", "1m"))
	leftBoth(t, l, began)
	must(t, l.A.Stop(30*time.Second))
	restarted := time.Now()
	must(t, l.A.Start(t.Context()))
	if s := status(t, l.A); s.Phase != api.Drained {
		t.Errorf("after the restart the node is %s", s.Phase)
	}
	// Wait twice as long as a node needs before it may announce.
	if _, err := l.R1.Routes.Await(t.Context(), Prefix4, A4, 2*riseTime); !errors.Is(err, errStill) {
		t.Errorf("the drained node announces again: %v", err)
	}
	s, err := l.A.Speaker.Status(t.Context())
	must(t, err)
	if s.Routes != api.Withdrawn || s.Desired.Routes != api.Withdrawn {
		t.Errorf("the speaker tells %s, by the order %+v", s.Routes, s.Desired)
	}
	if established := peersUp(s); established != 2 {
		t.Errorf("%d sessions are established; a drained node keeps them", established)
	}
	for _, c := range l.R1.Routes.Changes(Prefix4, restarted) {
		if c.Gateway.String() == A4 && !c.Gone {
			t.Errorf("the route came back %s after the restart", c.At.Sub(restarted))
		}
	}
	command(t, l.A, "resume")
	if _, err := l.R1.Routes.Await(t.Context(), Prefix4, A4, time.Minute); err != nil {
		t.Fatal(err)
	}
}

func peersUp(s api.SpeakerStatus) int {
	_, established := s.Confirmed()
	return established
}
