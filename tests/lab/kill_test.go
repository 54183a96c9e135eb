package lab

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"anymx/tests/kit"
)

// steady returns the load that runs during crashes.
func steady(recipient string) Load {
	return Load{Sessions: 40, Each: 10, Pause: 200 * time.Millisecond, Recipient: recipient}
}

// gone is how long a router may still send to a PoP after its mail program or its speaker has died
// (promise 5).
const gone = time.Second

// The death of anymx-edge withdraws the routes within a second; the sessions stay up.
func TestKilledEdge(t *testing.T) {
	l := inService(t)
	load := l.Send(t.Context(), steady("killed-edge"))
	defer load.Stop()
	must(t, load.AwaitMore(t.Context(), 200, time.Minute))
	before4, before6 := since(t, l.R1, "pop_a4"), since(t, l.R1, "pop_a6")

	killed := time.Now()
	l.A.Program(Edge).Kill()
	left := leftBoth(t, l, killed)
	t.Logf("r1 no longer sends to PoP a %s after kill -9 of anymx-edge", left.Sub(killed).Round(time.Millisecond))
	if left.Sub(killed) > gone {
		t.Errorf("that is more than %s", gone)
	}
	must(t, load.AwaitMore(t.Context(), 200, time.Minute))
	must(t, l.A.Start(t.Context()))
	started := time.Now()
	if _, err := l.R1.Routes.Await(t.Context(), Prefix4, A4, time.Minute); err != nil {
		t.Fatal(err)
	}
	t.Logf("r1 sends to PoP a again %s after its start", time.Since(started).Round(time.Millisecond))
	if a4, a6 := since(t, l.R1, "pop_a4"), since(t, l.R1, "pop_a6"); !a4.same(before4) || !a6.same(before6) {
		t.Errorf("sessions flapped: %s and %s, before %s and %s", a4, a6, before4, before6)
	}
	awaitOpened(t, load, l.A.Host, started)
	settled(t, l, load, "killed-edge", time.Minute)
}

// The death of anymx-bgp drops its sessions and with them the routes. After a restart it announces
// again.
func TestKilledSpeaker(t *testing.T) {
	l := inService(t)
	load := l.Send(t.Context(), steady("killed-speaker"))
	defer load.Stop()
	must(t, load.AwaitMore(t.Context(), 200, time.Minute))

	killed := time.Now()
	l.A.Program(BGP).Kill()
	left := leftBoth(t, l, killed)
	t.Logf("r1 no longer sends to PoP a %s after kill -9 of anymx-bgp", left.Sub(killed).Round(time.Millisecond))
	if left.Sub(killed) > gone {
		t.Errorf("that is more than %s", gone)
	}
	for _, session := range []string{"pop_a4", "pop_a6"} {
		if text, err := l.R1.Ask("show protocols " + session); err != nil || strings.Contains(text, "Established") {
			t.Errorf("the session is still there (%v):\n%s", err, text)
		}
	}
	if s := status(t, l.A); !s.Ready.OK {
		t.Errorf("the mail program minds: %s", s.Ready.Reason)
	}
	must(t, load.AwaitMore(t.Context(), 200, time.Minute))
	must(t, l.A.Start(t.Context()))
	started := time.Now()
	for prefix, gateway := range map[string]string{Prefix4: A4, Prefix6: A6} {
		if _, err := l.R1.Routes.Await(t.Context(), prefix, gateway, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("r1 sends to PoP a again %s after its start", time.Since(started).Round(time.Millisecond))
	settled(t, l, load, "killed-speaker", time.Minute)
}

// The death of anymx-net leaves addresses and routes in place: mail is accepted and queued, and
// delivered once the program is back. With the kernel's WireGuard it isn't even delayed.
func TestKilledNet(t *testing.T) {
	l := inService(t)
	load := l.Send(t.Context(), steady("killed-net"))
	defer load.Stop()
	must(t, load.AwaitMore(t.Context(), 200, time.Minute))
	capture, err := l.A.Namespace.Capture()
	must(t, err)
	defer capture.Close()
	before := status(t, l.A)

	killed := time.Now()
	l.A.Program(Net).Kill()
	lo, err := l.A.Namespace.Output(t.Context(), "ip", "address", "show", "dev", "lo")
	must(t, err)
	for _, address := range []string{Service4, Service6} {
		if !strings.Contains(lo, address) {
			t.Errorf("the service address %s is gone:\n%s", address, lo)
		}
	}
	must(t, load.AwaitMore(t.Context(), 500, time.Minute))
	waiting := status(t, l.A)
	t.Logf("%s after kill -9 of anymx-net: phase %s, %d messages in the spool (%d before)",
		time.Since(killed).Round(time.Millisecond), waiting.Phase, waiting.Spool.Messages, before.Spool.Messages)
	for prefix, gateway := range map[string]string{Prefix4: A4, Prefix6: A6} {
		if at, ok := l.R1.Routes.Left(prefix, gateway, killed); ok {
			t.Errorf("%s left r1 %s after the kill", prefix, at.Sub(killed))
		}
	}
	must(t, l.A.Start(t.Context()))
	started := time.Now()
	must(t, kit.Poll(t.Context(), time.Minute, func(context.Context) error {
		s, err := l.A.Client.Status(t.Context())
		if err == nil && len(s.Core) > 0 && s.Core[0].Delivered <= waiting.Core[0].Delivered {
			err = fmt.Errorf("nothing was handed over since: %+v", s.Core[0])
		}
		return err
	}))
	t.Logf("mail goes on %s after its start", time.Since(started).Round(time.Millisecond))
	settled(t, l, load, "killed-net", 90*time.Second)
	checkTunneled(t, capture)
}

// checkTunneled checks that a capture saw no packet to core outside of the tunnel, and that it would
// have seen one.
func checkTunneled(t *testing.T, capture *Capture) {
	t.Helper()
	seen, err := capture.Close()
	must(t, err)
	if seen.Outside > 0 || seen.Lost > 0 || seen.Inside == 0 || seen.Encrypted == 0 {
		t.Errorf("packets: %+v", seen)
	}
	t.Logf("of %d packets %d were to or from core inside of the tunnel, %d the tunnel's own, %d to or from core outside of it",
		seen.All, seen.Inside, seen.Encrypted, seen.Outside)
}

// A SIGTERM runs all steps of a drain before the program ends.
func TestTerminatedEdge(t *testing.T) {
	l := inService(t)
	load := l.Send(t.Context(), steady("terminated-edge"))
	defer load.Stop()
	must(t, load.AwaitMore(t.Context(), 200, time.Minute))

	told := time.Now()
	edge := l.A.Program(Edge)
	must(t, edge.Signal(unix.SIGTERM))
	left := leftBoth(t, l, told)
	if !edge.Running() {
		t.Error("the program ended before the routes were withdrawn")
	}
	must(t, load.AwaitMore(t.Context(), 100, time.Minute))
	must(t, edge.Ended(time.Minute))
	ended := time.Now()
	t.Logf("r1 no longer sent to PoP a %s after SIGTERM, the program ended after %s", left.Sub(told).Round(time.Millisecond), ended.Sub(told).Round(time.Millisecond))
	must(t, l.A.Start(t.Context()))
	if _, err := l.R1.Routes.Await(t.Context(), Prefix4, A4, time.Minute); err != nil {
		t.Fatal(err)
	}
	ledger, _ := settled(t, l, load, "terminated-edge", time.Minute)
	onlyB(t, l, ledger, left, ended)
}
