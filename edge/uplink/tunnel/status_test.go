package tunnel

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

func TestReport(t *testing.T) {
	now := time.Unix(1e9, 0)
	endpoint := net.UDPAddrFromAddrPort(at(addr1))
	spoken := Peer{PublicKey: PublicKey{1}, Endpoint: "192.0.2.1:51820", Keepalive: 25 * time.Second}
	quiet := Peer{PublicKey: PublicKey{1}, Endpoint: "192.0.2.1:51820"}
	learnt := Peer{PublicKey: PublicKey{1}, Keepalive: 25 * time.Second}
	passive := Peer{PublicKey: PublicKey{1}}
	tests := []struct {
		name  string
		want  Peer
		have  wgtypes.Peer
		known *peerEndpoint
		up    bool   // the tunnel
		says  string // the peer's problem
	}{
		{"works", spoken, wgtypes.Peer{Endpoint: endpoint, LastHandshakeTime: now.Add(-alive)}, nil, true, ""},
		{"silent", spoken, wgtypes.Peer{Endpoint: endpoint, LastHandshakeTime: now.Add(-alive - time.Second)}, nil, false, "no handshake for 3m1s"},
		{"never", spoken, wgtypes.Peer{Endpoint: endpoint}, nil, false, "no valid packet from 192.0.2.1:51820"},
		{"answers wrongly", spoken, wgtypes.Peer{Endpoint: endpoint, ReceiveBytes: 92}, nil, false, "wrong key or preshared key"},
		{"idle without keepalive", quiet, wgtypes.Peer{Endpoint: endpoint, LastHandshakeTime: now.Add(-time.Hour)}, nil, false, ""},
		{"not heard yet", learnt, wgtypes.Peer{}, nil, false, "has not sent anything yet"},
		{"nobody speaks to it", passive, wgtypes.Peer{}, nil, false, ""},
		{"name", spoken, wgtypes.Peer{}, &peerEndpoint{err: errors.New("no such host")}, false, "no such host"},
		{"route", spoken, wgtypes.Peer{Endpoint: endpoint}, &peerEndpoint{route: errors.New("no route")}, false, "no route; no handshake"},
	}
	for _, test := range tests {
		test.have.PublicKey = wgtypes.Key{1}
		s := report(now, &wgtypes.Device{ListenPort: 7, Peers: []wgtypes.Peer{test.have}},
			Settings{Peers: []Peer{test.want}}, map[PublicKey]*peerEndpoint{{1}: test.known}, nil)
		problem := s.Peers[0].Problem
		if s.Up != test.up || (problem == "") != (test.says == "") || !strings.Contains(problem, test.says) || s.ListenPort != 7 {
			t.Errorf("%s: up %t, problem %q, want %t, %q", test.name, s.Up, problem, test.up, test.says)
		}
		if (s.Problem == "") != (problem == "") || !strings.Contains(s.Problem, problem) {
			t.Errorf("%s: the tunnel's problem is %q, the peer's %q", test.name, s.Problem, problem)
		}
	}
}

// TestReportOfAll has peers of each sort: a single peer that is down makes the tunnel down.
func TestReportOfAll(t *testing.T) {
	now := time.Unix(1e9, 0)
	want := Settings{Peers: []Peer{
		{PublicKey: PublicKey{1}, Keepalive: time.Second},
		{PublicKey: PublicKey{2}, Keepalive: time.Second},
		{PublicKey: PublicKey{3}},
	}}
	have := &wgtypes.Device{Peers: []wgtypes.Peer{
		{PublicKey: wgtypes.Key{2}, LastHandshakeTime: now, ReceiveBytes: 5, TransmitBytes: 6},
		{PublicKey: wgtypes.Key{1}, LastHandshakeTime: now},
	}}
	s := report(now, have, want, nil, nil)
	if !s.Up || len(s.Peers) != 3 || s.Peers[1].Received != 5 || s.Peers[1].Sent != 6 || s.PublicKey != (PublicKey{}) {
		t.Errorf("status %+v", s)
	}
	have.Peers[1].LastHandshakeTime = now.Add(-time.Hour)
	if s := report(now, have, want, nil, errors.New("a\nb")); s.Up || !strings.HasPrefix(s.Problem, "a; b; peer ") {
		t.Errorf("status %+v", s)
	}
	if s := report(now, &wgtypes.Device{}, Settings{}, nil, nil); s.Up || s.Peers == nil {
		t.Errorf("a tunnel without peers: %+v", s)
	}
}
