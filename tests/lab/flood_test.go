package lab

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
)

// A network stack accepts each frame of a flood: its source is unique and its checksums are
// correct.
func TestForgedFrames(t *testing.T) {
	to, from := net.HardwareAddr{2, 0, 0, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 2}
	for name, flags := range map[string]byte{"SYN": SYN, "ACK": ACK} {
		b, seen := newBed(flags, to, from), make(map[netip.AddrPort]bool)
		targets := make(map[netip.AddrPort]int)
		for range 200 {
			b.vary(batch)
			for _, f := range b.frames {
				s, ok := parseSegment(f.bytes)
				if !ok || s.flags != flags || !Forged4.Contains(s.from.Addr()) && !Forged6.Contains(s.from.Addr()) {
					t.Fatalf("%s: % x", name, f.bytes)
				}
				seen[s.from] = true
				targets[s.to]++
				if again := s.frame(); !bytes.Equal(again, f.bytes) {
					t.Fatalf("%s: rebuilt from its fields\n% x is\n% x", name, f.bytes, again)
				}
			}
		}
		if len(seen) < 200*batch*99/100 || len(targets) != 4 {
			t.Errorf("%s: %d sources, targets %v", name, len(seen), targets)
		}
	}
}

// A receiver accepts the checksums of a segment.
func TestSegmentChecksums(t *testing.T) {
	for _, s := range []segment{
		{from: netip.MustParseAddrPort("203.0.113.9:4000"), to: netip.MustParseAddrPort("192.0.2.25:25"), seq: 1, flags: SYN, options: linux},
		{from: netip.MustParseAddrPort("[3fff::1]:4000"), to: netip.MustParseAddrPort("[2001:db8:25::25]:25"), ack: 7, flags: ACK, data: []byte("odd")},
	} {
		s.toMAC, s.fromMAC = make(net.HardwareAddr, 6), make(net.HardwareAddr, 6)
		b := s.frame()
		// A receiver adds up everything that a checksum covers and gets all ones (RFC 1071).
		if at := s.tcpAt(); fold(s.pseudo(len(b)-at)+sum(b[at:])) != 0xffff {
			t.Errorf("TCP's checksum in % x", b)
		}
		if s.to.Addr().Is4() && fold(sum(b[ethernetSize:ethernetSize+ipv4Size])) != 0xffff {
			t.Errorf("IP's checksum in % x", b)
		}
	}
}
