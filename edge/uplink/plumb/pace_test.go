package plumb

import (
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

func TestPace(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	const most = 30 * time.Second
	var p pace
	if now.Before(p.next()) {
		t.Fatal("the first time waits")
	}
	var pauses []time.Duration
	for range 10 { // removed as soon as it is restored
		now = now.Add(p.pause)
		contested := p.count(now, most)
		pauses = append(pauses, p.pause)
		if contested != (len(pauses) >= manyTimes) {
			t.Errorf("contested %v after %d times", contested, len(pauses))
		}
		if got := p.next().Sub(now); got != p.pause {
			t.Errorf("next after %s, want %s", got, p.pause)
		}
	}
	want := []time.Duration{200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000}
	for i := range want {
		if pauses[i] != want[i]*time.Millisecond {
			t.Fatalf("pauses %s", pauses)
		}
	}
	now = now.Add(2*most + time.Second)
	if p.contested(now) {
		t.Error("contested although it was present for long")
	}
	if p.count(now, most); p.pause != firstPause {
		t.Errorf("after a calm time the pause is %s, want %s", p.pause, firstPause)
	}
}

// A contest is reported however short the pauses are.
func TestPace_short(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	var p pace
	for n := 1; n <= manyTimes; n++ {
		if contested := p.count(now, time.Second); contested != (n == manyTimes) {
			t.Errorf("contested %v after %d times", contested, n)
		}
		now = now.Add(p.pause)
	}
}

// Foreign routes must not wake us: they may change thousands of times a second.
func TestMatters(t *testing.T) {
	route := func(kind, flags uint16, protocol uint8) syscall.NetlinkMessage {
		body := &nl.RtMsg{RtMsg: unix.RtMsg{Protocol: protocol}}
		return syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: kind, Flags: flags}, Data: body.Serialize()}
	}
	to := func(prefix string) syscall.NetlinkMessage {
		p := prefixOf(prefix)
		m := route(unix.RTM_NEWROUTE, unix.NLM_F_REPLACE, unix.RTPROT_BIRD)
		header := &nl.RtMsg{RtMsg: unix.RtMsg{Protocol: unix.RTPROT_BIRD, Family: familyOf(p), Dst_len: uint8(p.Bits())}}
		m.Data = append(header.Serialize(), nl.NewRtAttr(unix.RTA_DST, p.Addr().AsSlice()).Serialize()...)
		return m
	}
	ours := map[netip.Prefix]bool{prefixOf("10.77.0.0/24"): true, prefixOf("fd77::/64"): true}
	for name, test := range map[string]struct {
		message syscall.NetlinkMessage
		want    bool
	}{
		"an address":                    {syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: unix.RTM_DELADDR}}, true},
		"a device":                      {syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: unix.RTM_NEWLINK}}, true},
		"a rule":                        {syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: unix.RTM_DELRULE}}, true},
		"our route goes":                {route(unix.RTM_DELROUTE, 0, Protocol), true},
		"another's route comes":         {route(unix.RTM_NEWROUTE, unix.NLM_F_CREATE, unix.RTPROT_BIRD), false},
		"another's route goes":          {route(unix.RTM_DELROUTE, 0, unix.RTPROT_BIRD), false},
		"a foreign route replaces ours": {to("10.77.0.0/24"), true},
		"the same in IPv6":              {to("fd77::/64"), true},
		"another's takes another's":     {to("10.77.0.0/25"), false},
		"another's new default route":   {route(unix.RTM_NEWROUTE, unix.NLM_F_REPLACE, unix.RTPROT_BIRD), false},
	} {
		if got := matters(test.message, ours); got != test.want {
			t.Errorf("%s: matters %v, want %v", name, got, test.want)
		}
	}
}
