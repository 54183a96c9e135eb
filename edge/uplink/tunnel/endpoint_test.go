package tunnel

import (
	"errors"
	"net/netip"
	"testing"
	"time"
)

var (
	addr1 = netip.MustParseAddr("192.0.2.1")
	addr2 = netip.MustParseAddr("192.0.2.2")
	addr3 = netip.MustParseAddr("2001:db8::3")
)

func at(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, 51820) }

// tells asserts which endpoint is set on the device.
func tells(t *testing.T, f *peerEndpoint, now time.Time, have netip.AddrPort, handshake time.Time, want netip.AddrPort) {
	t.Helper()
	got, ok := f.nextEndpoint(now, have, handshake, 25*time.Second)
	if ok != want.IsValid() || ok && got != want {
		t.Errorf("the device is told %v (%t), want %v", got, ok, want)
	}
}

func TestFarAddress(t *testing.T) {
	now, never := time.Unix(1e9, 0), time.Time{}
	f := newPeerEndpoint("192.0.2.1:51820")
	if f.due(now, never) {
		t.Error("an address is looked up")
	}
	tells(t, f, now, netip.AddrPort{}, never, at(addr1))
	tells(t, f, now.Add(time.Hour), at(addr1), never, netip.AddrPort{})
	// The peer roamed, and works there; then it becomes silent.
	worked := now.Add(2 * time.Hour)
	tells(t, f, worked.Add(time.Minute), at(addr2), worked, netip.AddrPort{})
	tells(t, f, worked.Add(alive+time.Second), at(addr2), worked, at(addr1))
	// The device was recreated.
	tells(t, f, worked.Add(alive+2*time.Second), netip.AddrPort{}, never, at(addr1))
}

func TestFarSilentPeerIsLeftAlone(t *testing.T) {
	now := time.Unix(1e9, 0)
	f := newPeerEndpoint("192.0.2.1:51820")
	f.nextEndpoint(now, netip.AddrPort{}, time.Time{}, 0)
	if got, ok := f.nextEndpoint(now.Add(time.Hour), at(addr2), now, 0); ok {
		t.Errorf("a peer without keepalive, silent where it roamed to, is called back to %v", got)
	}
}

func TestFarTakenOver(t *testing.T) {
	now := time.Unix(1e9, 0)
	f := newPeerEndpoint("192.0.2.1:51820")
	tells(t, f, now, at(addr2), now.Add(-time.Minute), netip.AddrPort{}) // it works in its current place
	f = newPeerEndpoint("192.0.2.1:51820")
	tells(t, f, now, at(addr2), now.Add(-time.Hour), at(addr1)) // it does not
	f = newPeerEndpoint("192.0.2.1:51820")
	f.changed = true
	tells(t, f, now, at(addr2), now.Add(-time.Minute), at(addr1)) // the settings moved it
}

func TestFarName(t *testing.T) {
	now, never := time.Unix(1e9, 0), time.Time{}
	f := newPeerEndpoint("core.example.net:51820")
	tells(t, f, now, netip.AddrPort{}, never, netip.AddrPort{})

	// Without an answer it is retried after 5, 10, 20, 40 s, then every minute.
	for _, pause := range []time.Duration{0, 5, 10, 20, 40, 60, 60} {
		pause *= time.Second
		if pause > 0 && f.due(now.Add(pause-time.Millisecond), never) {
			t.Errorf("looked up again before %s", pause)
		}
		now = now.Add(pause)
		if !f.due(now, never) {
			t.Errorf("not looked up again after %s", pause)
		}
		f.answer(now, nil, errors.New("no such host"))
		if f.err == nil {
			t.Error("the failure is not kept")
		}
	}

	// With an answer the first address is attempted, then the next, in rotation.
	now = now.Add(time.Minute)
	f.answer(now, []netip.Addr{addr1, netip.AddrFrom16(addr1.As16()), addr3}, nil)
	if f.err != nil {
		t.Error("the failure outlives the answer")
	}
	tells(t, f, now, netip.AddrPort{}, never, at(addr1))
	tells(t, f, now.Add(chance-time.Second), at(addr1), never, netip.AddrPort{})
	tells(t, f, now.Add(chance), at(addr1), never, at(addr3))
	tells(t, f, now.Add(2*chance), at(addr3), never, at(addr1))

	// After a handshake there is no look-up and no change; then the peer becomes silent and has
	// moved.
	now = now.Add(3 * chance)
	tells(t, f, now, at(addr1), now, netip.AddrPort{})
	if f.due(now.Add(time.Minute), now) {
		t.Error("a name is looked up while its peer works")
	}
	silent := now.Add(alive + time.Second)
	if !f.due(silent, now) {
		t.Error("a name is not looked up while its peer is silent")
	}
	f.answer(silent, []netip.Addr{addr2}, nil)
	tells(t, f, silent, at(addr1), now, at(addr2))

	// A name that no longer resolves keeps its address.
	f.answer(silent.Add(time.Minute), nil, nil)
	if f.err == nil || len(f.answers) != 1 {
		t.Errorf("an empty answer: %v, %v", f.err, f.answers)
	}
}

func TestFarUnknown(t *testing.T) {
	f := newPeerEndpoint("")
	now := time.Unix(1e9, 0)
	if f.due(now, time.Time{}) {
		t.Error("no name is looked up")
	}
	tells(t, f, now, at(addr1), time.Time{}, netip.AddrPort{})
}
