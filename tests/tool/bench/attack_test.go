package main

import (
	"net"
	"strings"
	"testing"
	"time"
)

// Each client of an attack has a network of its own, inside the network that is routed to loopback.
func TestAttackAddresses(t *testing.T) {
	_, network, err := net.ParseCIDR(attackNetwork)
	if err != nil {
		t.Fatal(err)
	}
	_, good, err := net.ParseCIDR(goodNetwork)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, a := range attacks {
		for n := range a.clients {
			ip := a.from(n)
			seen[a.name+ip.String()] = true
			if ip.To4() == nil && (!network.Contains(ip) || good.Contains(ip)) || ip.To4() != nil && !ip.IsLoopback() {
				t.Fatalf("%s: client %d has %s", a.name, n, ip)
			}
		}
		if len(seen) != a.clients {
			t.Errorf("%s: %d addresses for %d clients", a.name, len(seen), a.clients)
		}
		clear(seen)
	}
	for n := range goodClients {
		ip := goodAddress(n)
		seen[ip.String()] = true
		if ip.To4() == nil && (!good.Contains(ip) || network.Contains(ip)) {
			t.Errorf("good client %d has %s", n, ip)
		}
	}
	if len(seen) != goodClients {
		t.Errorf("%d addresses for %d good clients", len(seen), goodClients)
	}
}

// The longest legal ORCPT has 500 characters (RFC 3461 section 4.2).
func TestLongEnvelope(t *testing.T) {
	_, rest, _ := strings.Cut(longEnvelope(), " ORCPT=")
	value, _, _ := strings.Cut(rest, "\r\n")
	if len(value) != 500 || strings.Count(longEnvelope(), "RCPT TO:") != 500 {
		t.Errorf("ORCPT of %d characters", len(value))
	}
}

// A message that was not accepted counts as never in the times, and as missing in the shares.
func TestAttackCells(t *testing.T) {
	all := []attackResult{
		{Sent: 200, First: 100, Late: 50, P50: 20 * time.Millisecond, P99: never, Memory: 5 << 20, Killed: 2},
		{Sent: 200, First: 200, P50: 40 * time.Millisecond, P99: never, Memory: 7 << 20, Unready: 3},
	}
	want := "75.0% | 87.5% | 30 ms | never | 7 MiB | 3 | 2 | 0"
	if got := strings.Join(cells(all), " | "); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
