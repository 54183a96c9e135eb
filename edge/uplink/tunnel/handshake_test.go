package tunnel

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// TestHandshake follows the dates of handshakes while the wall clock is set. A row is a check of
// the device: how much time has passed, by how much the clock was set just before, and the device's
// date by the clock at that check.
func TestHandshake(t *testing.T) {
	const year = 365 * 24 * time.Hour
	type look struct {
		after, step time.Duration
		made        bool // a handshake was made just now
		want        bool
	}
	for name, looks := range map[string][]look{
		"alive":                      {{0, 0, true, true}, {time.Minute, 0, false, true}, {alive - time.Minute, 0, false, true}, {time.Second, 0, false, false}},
		"back, and dead":             {{0, 0, true, true}, {time.Minute, -5 * time.Hour, false, true}, {2*time.Minute + time.Second, 0, false, false}, {4 * time.Hour, 0, false, false}},
		"back, and alive":            {{0, 0, true, true}, {time.Minute, -year, false, true}, {time.Minute, 0, true, true}, {alive, 0, false, true}, {time.Second, 0, false, false}},
		"ahead, and dead":            {{0, 0, true, true}, {time.Minute, year, false, true}, {2*time.Minute + time.Second, 0, false, false}},
		"ahead, and alive":           {{0, 0, true, true}, {time.Minute, year, false, true}, {time.Minute, 0, true, true}},
		"back and forth":             {{0, 0, true, true}, {time.Minute, -year, false, true}, {time.Minute, year, false, true}, {2 * time.Minute, 0, false, false}},
		"none":                       {{0, 0, false, false}, {time.Minute, year, false, false}, {time.Minute, -2 * year, false, false}},
		"long silent, then it comes": {{0, 0, true, true}, {time.Hour, 0, false, false}, {time.Hour, -year, false, false}, {time.Minute, 0, true, true}},
	} {
		t.Run(name, func(t *testing.T) {
			// wall is the clock of the device's dates; the clock of the checks never steps.
			now, off, date := time.Unix(1e9, 0), time.Duration(0), time.Time{}
			h := &handshake{}
			for i, l := range looks {
				now, off = now.Add(l.after), off+l.step
				if l.made {
					date = now.Add(off)
				}
				if got := h.fresh(now, date); got != l.want {
					t.Errorf("look %d: fresh is %v", i, got)
				}
			}
		})
	}
}

// A program that starts after the clock was set back finds a date in the future.
func TestHandshakeOfTheFuture(t *testing.T) {
	now := time.Now()
	for _, ahead := range []time.Duration{2 * time.Second, time.Hour, 24 * 365 * time.Hour} {
		h := &handshake{}
		date := now.Add(ahead).Round(0)
		if h.fresh(now, date) || h.fresh(now.Add(ahead), date) {
			t.Errorf("a handshake in %v is taken for fresh", ahead)
		}
		if shown := h.shown(now); shown.After(now) {
			t.Errorf("shown as %v, which is still to come", shown)
		}
	}
}

// The name of a dead peer is resolved again, and its next address attempted, although its last
// handshake has a date in the future.
func TestNameAfterTheClockWasSetBack(t *testing.T) {
	now := time.Now()
	f := newPeerEndpoint("core.example.net:51820")
	f.answer(now, []netip.Addr{addr1}, nil)
	made := now.Add(5 * time.Hour) // before the clock was set back
	f.nextEndpoint(now, at(addr1), made, 25*time.Second)
	if now = now.Add(time.Minute); !f.due(now, made) {
		t.Fatal("not looked up")
	}
	f.answer(now, []netip.Addr{addr2}, nil)
	if got, ok := f.nextEndpoint(now, at(addr1), made, 25*time.Second); !ok || got != at(addr2) {
		t.Errorf("told %v, %v", got, ok)
	}
}

// The clock is named among the possible causes of a missing handshake.
func TestClockIsNamed(t *testing.T) {
	now := time.Now()
	const clock = "it is not synchronised"
	key := wgtypes.Key{1}
	want := Settings{Peers: []Peer{{PublicKey: PublicKey(key), Endpoint: "192.0.2.1:51820", Keepalive: 25 * time.Second}}}
	have := wgtypes.Peer{PublicKey: key, Endpoint: &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 51820}}
	for _, tt := range []struct {
		shook time.Duration
		clock string
		named bool
	}{
		{0, "", false}, {0, clock, true}, {time.Hour, clock, true}, {time.Hour, "", false}, {time.Minute, clock, false},
	} {
		f := newPeerEndpoint("192.0.2.1:51820")
		f.clock = tt.clock
		if have.LastHandshakeTime = (time.Time{}); tt.shook > 0 {
			have.LastHandshakeTime = now.Add(-tt.shook)
		}
		s := report(now, &wgtypes.Device{Peers: []wgtypes.Peer{have}}, want, map[PublicKey]*peerEndpoint{PublicKey(key): f}, errors.New("x"))
		if named := strings.Contains(s.Problem, clock); named != tt.named {
			t.Errorf("%+v: %s", tt, s.Problem)
		}
	}
}
