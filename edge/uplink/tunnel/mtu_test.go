package tunnel

import (
	"net/netip"
	"strings"
	"testing"
)

func TestMTU(t *testing.T) {
	four := func(mtu int) path { return path{netip.MustParseAddr("192.0.2.1"), mtu} }
	six := func(mtu int) path { return path{netip.MustParseAddr("2001:db8::1"), mtu} }
	inside6 := prefixes("fd77::1/64")
	tests := []struct {
		name  string
		s     Settings
		paths []path
		last  int
		want  int
		says  string
	}{
		{"Ethernet, IPv4", Settings{}, []path{four(1500)}, 0, 1440, "the route to 192.0.2.1 has an MTU of 1500"},
		{"Ethernet, IPv6", Settings{}, []path{six(1500)}, 0, 1420, "the route to 2001:db8::1 has an MTU of 1500"},
		{"the narrowest decides", Settings{}, []path{four(9000), four(1400), six(1500)}, 0, 1340, "has an MTU of 1400"},
		{"narrow once wrapped", Settings{}, []path{four(1500), six(1510)}, 0, 1430, "has an MTU of 1510"},
		{"PPPoE", Settings{Addresses: inside6}, []path{six(1492)}, 0, 1412, "has an MTU of 1492"},
		{"set", Settings{MTU: 1300}, []path{four(1500)}, 1440, 1300, "set"},
		{"no way", Settings{}, nil, 0, 1420, "default"},
		{"no way any more", Settings{}, nil, 1372, 1372, "unchanged"},
		{"IPv6 inside needs 1280", Settings{Addresses: inside6}, []path{four(1300)}, 0, 1280, "the inner minimum is 1280"},
		{"IPv6 behind a peer too", Settings{Peers: []Peer{{AllowedIPs: inside6}}}, []path{four(1300)}, 0, 1280, "the inner minimum is 1280"},
		{"IPv4 inside does not", Settings{Addresses: prefixes("10.77.0.1/24")}, []path{four(1300)}, 0, 1240, "has an MTU of 1300"},
		{"just enough for IPv6", Settings{Addresses: inside6}, []path{four(1340)}, 0, 1280, "has an MTU of 1340"},
		{"a way too narrow for anything", Settings{}, []path{four(576)}, 0, 576, "the inner minimum is 576"},
		{"loopback", Settings{}, []path{four(65536)}, 0, 65455, "the inner maximum is 65455"},
	}
	for _, test := range tests {
		mtu, why := test.s.mtu(test.paths, test.last)
		if mtu != test.want || !strings.Contains(why, test.says) {
			t.Errorf("%s: %d (%s), want %d (%s)", test.name, mtu, why, test.want, test.says)
		}
	}
}
