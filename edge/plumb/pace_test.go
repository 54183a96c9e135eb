package plumb

import (
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
	for range 10 { // taken away as soon as it is put back
		now = now.Add(p.pause)
		fought := p.count(now, most)
		pauses = append(pauses, p.pause)
		if fought != (p.pause >= longFight) {
			t.Errorf("fought for %v with a pause of %s", fought, p.pause)
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
	if p.fought(now) {
		t.Error("it is fought for although it has stood for long")
	}
	if p.count(now, most); p.pause != firstPause {
		t.Errorf("after a calm time the pause is %s, want %s", p.pause, firstPause)
	}
}

// Routes of others must not wake us: there may be thousands of changes a second.
func TestMatters(t *testing.T) {
	route := func(kind, flags uint16, protocol uint8) syscall.NetlinkMessage {
		body := &nl.RtMsg{RtMsg: unix.RtMsg{Protocol: protocol}}
		return syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: kind, Flags: flags}, Data: body.Serialize()}
	}
	for name, test := range map[string]struct {
		message syscall.NetlinkMessage
		want    bool
	}{
		"an address":                  {syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: unix.RTM_DELADDR}}, true},
		"a device":                    {syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: unix.RTM_NEWLINK}}, true},
		"a rule":                      {syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: unix.RTM_DELRULE}}, true},
		"our route goes":              {route(unix.RTM_DELROUTE, 0, Protocol), true},
		"another's route comes":       {route(unix.RTM_NEWROUTE, unix.NLM_F_CREATE, unix.RTPROT_BIRD), false},
		"another's route goes":        {route(unix.RTM_DELROUTE, 0, unix.RTPROT_BIRD), false},
		"another's route takes place": {route(unix.RTM_NEWROUTE, unix.NLM_F_REPLACE, unix.RTPROT_BIRD), true},
	} {
		if got := matters(test.message); got != test.want {
			t.Errorf("%s: matters %v, want %v", name, got, test.want)
		}
	}
}
