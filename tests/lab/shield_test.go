package lab

import (
	"context"
	"errors"
	"testing"
	"time"
)

// enough is the share of real clients that must get their banner within a second.
const enough = 0.995

// besiege floods PoP a for some time while strangers call it.
func besiege(t *testing.T, l *Lab, s Siege) Besieged {
	t.Helper()
	s.Calls = 150
	b, err := l.Besiege(t.Context(), s)
	must(t, err)
	t.Log(b)
	if b.Flooded.Packets < 50_000 || b.Called.Calls < 100 {
		t.Error("this proves nothing: no flood, or no calls")
	}
	return b
}

// underSiege returns a lab in service whose PoP a knows none of the clients.
func underSiege(t *testing.T) *Lab {
	t.Helper()
	l := inService(t)
	must(t, l.A.Strangers(t.Context(), true))
	t.Cleanup(func() { must(t, l.A.Strangers(context.WithoutCancel(t.Context()), false)) })
	return l
}

// shielded loads a node's shield until the test ends.
func shielded(t *testing.T, n *Node, keys string) {
	t.Helper()
	t.Cleanup(func() { must(t, n.Unshield(context.WithoutCancel(t.Context()))) })
	must(t, n.Shield(t.Context(), keys))
}

// served checks that PoP a greeted enough clients and was announced all the time.
func served(t *testing.T, l *Lab, b Besieged) {
	t.Helper()
	if share := b.Called.Share(l.A.Host); share < enough {
		t.Errorf("%.2f%% of the clients had PoP a's banner within a second; enough are %.1f%%", share*100, enough*100)
	}
	for prefix, gateway := range map[string]string{Prefix4: A4, Prefix6: A6} {
		if at, ok := l.R1.Routes.Left(prefix, gateway, b.Began); ok {
			t.Errorf("%s left r1 %s after the flood began", prefix, at.Sub(b.Began))
		}
	}
}

// rates are the rates of the floods, by name.
var rates = map[string]int{"200,000 a second": 200_000, "all that the machine gives": 0}

// Under a flood of SYNs from forged sources, real clients are greeted, mail reaches core, and a
// change of the cookie key breaks no handshake.
func TestSYNFlood(t *testing.T) {
	l := underSiege(t)
	const epoch = 4 * time.Second
	shielded(t, l.A, `epoch = "4s"`)
	load := l.Send(t.Context(), Load{Sessions: 16, Each: 2, Pause: 100 * time.Millisecond, Recipient: "syn-flood"})
	defer load.Stop()
	must(t, load.AwaitMore(t.Context(), 50, time.Minute))

	for name, rate := range rates {
		t.Run(name, func(t *testing.T) {
			before := load.Acknowledged()
			b := besiege(t, l, Siege{Flood: Flood{Flags: SYN, Rate: rate}, Took: 2 * epoch})
			served(t, l, b)
			if b.Verdicts["syn-answered"] < uint64(b.Flooded.Packets)*9/10 || b.Verdicts["admitted"] == 0 {
				t.Errorf("it was not the shield that answered: %v", b.Verdicts)
			}
			sent, keys := load.Acknowledged()-before, b.Began.Add(b.Flooded.Took).Truncate(epoch).Sub(b.Began.Truncate(epoch))/epoch
			t.Logf("%d messages acknowledged meanwhile, %d new keys", sent, keys)
			if sent < 50 || keys < 1 {
				t.Error("this proves nothing: no mail, or no new key")
			}
		})
	}
	ledger, _ := settled(t, l, load, "syn-flood", time.Minute)
	hosts := make(map[string]int)
	for _, host := range ledger.Acknowledged {
		hosts[host]++
	}
	if hosts[l.A.Host] < 100 || hosts[l.B.Host] < 100 {
		t.Errorf("messages by node: %v", hosts)
	}
}

// Under a flood of ACKs from forged sources, the shield keeps the stack from sending more than a
// few resets; without it, the stack sends one for each ACK.
func TestACKFlood(t *testing.T) {
	l := underSiege(t)
	shielded(t, l.A, "")
	for name, rate := range rates {
		t.Run(name, func(t *testing.T) {
			b := besiege(t, l, Siege{Flood: Flood{Flags: ACK, Rate: rate}, Took: 3 * time.Second})
			served(t, l, b)
			// The first ones, up to stray_rate, are still answered.
			if b.Returned.Resets > 1000 {
				t.Errorf("%d resets for %d ACKs", b.Returned.Resets, b.Flooded.Packets)
			}
		})
	}
	must(t, l.A.Unshield(t.Context()))
	b := besiege(t, l, Siege{Flood: Flood{Flags: ACK, Rate: 200_000}, Took: 2 * time.Second})
	if b.Returned.Resets < uint64(b.Flooded.Packets)*9/10 {
		t.Errorf("this proves nothing: without the shield %d resets for %d ACKs", b.Returned.Resets, b.Flooded.Packets)
	}
}

// Without the shield and the kernel's own cookies, the same flood locks clients out. This shows
// that the results of the other tests come from the shield.
func TestSYNFloodWithoutShield(t *testing.T) {
	for name, rate := range rates {
		t.Run(name, func(t *testing.T) {
			l := underSiege(t)
			t.Cleanup(func() {
				must(t, l.A.KernelCookies(true))
				l.A.Program(Edge).Kill() // this also discards its queues
			})
			must(t, l.A.KernelCookies(false))
			b := besiege(t, l, Siege{Flood: Flood{Flags: SYN, Rate: rate}, Took: 4 * time.Second})
			// A PoP that notices that it greets nobody withdraws, and PoP b takes over.
			if share := b.Called.Share(l.A.Host); share > 0.5 {
				t.Errorf("%.1f%% of the clients had PoP a's banner", share*100)
			}
		})
	}
}

// The shield works without anymx-net: killing and restarting it during a flood goes unnoticed.
func TestKilledNetDuringFlood(t *testing.T) {
	l := underSiege(t)
	shielded(t, l.A, "")
	b := besiege(t, l, Siege{Flood: Flood{Flags: SYN, Rate: 200_000}, Took: 6 * time.Second, Meanwhile: func(ctx context.Context) error {
		pause(ctx, time.Second)
		l.A.Program(Net).Kill()
		pause(ctx, 2*time.Second)
		before := time.Now()
		return errors.Join(l.A.Start(ctx, Net), l.A.AwaitShield(ctx, "native", before))
	}})
	served(t, l, b)
	if b.Verdicts["syn-answered"] < uint64(b.Flooded.Packets)*9/10 {
		t.Errorf("it was not the shield that answered all the time: %v", b.Verdicts)
	}
}
