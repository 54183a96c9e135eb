package anycast

import (
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"anymx/bgp"
	"anymx/edge/operate/api"
)

func TestLine(t *testing.T) {
	s := api.SpeakerStatus{
		Routes: api.Withdrawn, Reason: "by command: new\nMAINPID=1\x1b[2J",
		Peers: []api.SpeakerPeer{{State: "Established"}, {State: "Idle"}},
	}
	if got := line(&s); got != "withdrawn (by command: new MAINPID=1 [2J); 1 of 2 routers connected" {
		t.Errorf("%q", got)
	}
}

func TestPeerStatus(t *testing.T) {
	med := uint32(7)
	got := peerStatus(&bgp.PeerStatus{
		Address: netip.MustParseAddr("198.51.100.1"), ASN: 64500, State: bgp.Established, Since: epoch, HoldTime: 9 * time.Second,
		Sent: []bgp.Path{{
			Prefix: netip.MustParsePrefix("192.0.2.0/24"), NextHop: netip.MustParseAddr("198.51.100.2"), ASPath: []uint32{64512}, MED: &med,
			Communities: []bgp.Community{bgp.GracefulShutdown}, LargeCommunities: []bgp.LargeCommunity{{Global: 64500, Local1: 1, Local2: 2}},
		}},
		Confirmed: true, LastError: errors.New("lost"), LastErrorAt: epoch,
		LastNotification: &bgp.Notification{Code: 6, Subcode: 2, Received: true}, LastNotificationAt: epoch,
	})
	want := api.SpeakerPeer{
		Address: netip.MustParseAddr("198.51.100.1"), ASN: 64500, State: "Established", Since: epoch, HoldTime: api.Seconds(9 * time.Second),
		Advertised: []api.AdvertisedRoute{{
			Prefix: netip.MustParsePrefix("192.0.2.0/24"), NextHop: netip.MustParseAddr("198.51.100.2"), ASPath: []uint32{64512}, MED: &med,
			Communities: []string{"65535:0", "64500:1:2"},
		}},
		Confirmed: true, LastError: "lost", LastErrorAt: epoch,
		LastNotification: "received NOTIFICATION 6/2: administrative shutdown", LastNotificationAt: epoch,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	if idle := peerStatus(&bgp.PeerStatus{}); idle.State != "Idle" || idle.Advertised == nil || idle.LastError != "" {
		t.Errorf("%+v", idle)
	}
}

// The speaker is ready while it attracts traffic.
func TestReady(t *testing.T) {
	a := newTestAnnouncer(t)
	if err := a.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "routes are withdrawn: not healthy") {
		t.Errorf("%v", err)
	}
	healthy(a)
	if err := a.Ready(t.Context()); err == nil || err.Error() != "no router is connected" {
		t.Errorf("%v", err)
	}
}
