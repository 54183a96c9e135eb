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

func TestPeers(t *testing.T) {
	env := testEnv(t, `
communities = ["64500:100", "64500:1:2"]
hold_time = "30s"
port = 1179
local_address = "198.51.100.2"
med = 0
prepend = 2
multihop = 3
ttl_security = true
connect_retry = "1s"
password_file = "credential:bgp"
next_hop4 = "198.51.100.3"
[[bgp.peer]]
address = "2001:db8::1"
asn = 64512
`)
	read := func(name string, most int) ([]byte, error) {
		if name != "credential:bgp" || most != 80 {
			t.Errorf("read %s, at most %d bytes", name, most)
		}
		return []byte("hunter2"), nil
	}
	got, err := peersOf(env.Config, read)
	if err != nil {
		t.Fatal(err)
	}
	zero := uint32(0)
	want := []bgp.Peer{{
		Address: netip.MustParseAddr("198.51.100.1"), Port: 1179, ASN: 64500, LocalAddress: netip.MustParseAddr("198.51.100.2"),
		Families: []bgp.Family{bgp.IPv4, bgp.IPv6}, HoldTime: 30 * time.Second, ConnectRetry: time.Second,
		Password: "hunter2", TTLSecurity: true, Multihop: 3,
		Export: bgp.Export{
			NextHop4: netip.MustParseAddr("198.51.100.3"), NextHop6: netip.MustParseAddr("2001:db8::2"), MED: &zero, Prepend: 2,
			Communities: []bgp.Community{64500<<16 | 100}, LargeCommunities: []bgp.LargeCommunity{{Global: 64500, Local1: 1, Local2: 2}},
		},
	}, {
		Address: netip.MustParseAddr("2001:db8::1"), Port: 179, ASN: 64512, Families: []bgp.Family{bgp.IPv6},
		HoldTime: 9 * time.Second, ConnectRetry: 5 * time.Second, Multihop: 1,
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	if err := bgp.Check(env.Config.BGP.ASN, got, routesOf(env.Config.Anycast.Prefixes, api.Graceful)); err != nil {
		t.Error(err)
	}
	_, err = peersOf(env.Config, func(string, int) ([]byte, error) { return nil, errors.New("no such credential") })
	if err == nil || !strings.Contains(err.Error(), "198.51.100.1: password: no such credential") {
		t.Errorf("%v", err)
	}
}

// Every field of the speaker's peer is set from the config: a new field must be added here.
func TestNoFieldOfAPeerIsForgotten(t *testing.T) {
	if n, m := reflect.TypeFor[bgp.Peer]().NumField(), reflect.TypeFor[bgp.Export]().NumField(); n != 11 || m != 6 {
		t.Errorf("bgp.Peer has %d fields and bgp.Export %d: see peerOf, and TestPeers", n, m)
	}
}

func TestRoutes(t *testing.T) {
	prefixes := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8:25::/48")}
	for routes, want := range map[api.Routes][]bgp.Route{
		api.Announced: {{Prefix: prefixes[0]}, {Prefix: prefixes[1]}},
		api.Graceful: {
			{Prefix: prefixes[0], Communities: []bgp.Community{bgp.GracefulShutdown}},
			{Prefix: prefixes[1], Communities: []bgp.Community{bgp.GracefulShutdown}},
		},
		api.Withdrawn: nil,
	} {
		if got := routesOf(prefixes, routes); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v", routes, got)
		}
	}
}

func TestInformation(t *testing.T) {
	up := api.NetworkStatus{Tunnel: &api.TunnelStatus{Up: true}}
	for name, test := range map[string]struct {
		status api.NetworkStatus
		err    error
		has    expected
		want   string
	}{
		"well":            {up, nil, expected{tunnel: true}, "net ok; tunnel ok; "},
		"no tunnel":       {api.NetworkStatus{}, nil, expected{}, "net ok; "},
		"no tunnel yet":   {api.NetworkStatus{}, nil, expected{tunnel: true}, "net ok; tunnel: anymx-net has no tunnel yet; "},
		"silent tunnel":   {api.NetworkStatus{Tunnel: &api.TunnelStatus{}}, nil, expected{tunnel: true}, "net ok; tunnel: no handshake within three minutes; "},
		"tunnel problem":  {api.NetworkStatus{Tunnel: &api.TunnelStatus{Problem: "no key"}}, nil, expected{tunnel: true}, "net ok; tunnel: no key; "},
		"network problem": {api.NetworkStatus{Problem: "no lo"}, nil, expected{}, "net: no lo; "},
		"unreachable":     {api.NetworkStatus{}, errors.New("nobody answers"), expected{tunnel: true}, "net: nobody answers; tunnel: nobody answers; "},
		"shield":          {api.NetworkStatus{Shield: &api.ShieldStatus{}}, nil, expected{shield: true}, "net ok; shield ok; "},
		"no shield yet":   {up, nil, expected{tunnel: true, shield: true}, "net ok; tunnel ok; shield: anymx-net has no shield yet; "},
		"shield problem":  {api.NetworkStatus{Problem: "shield: off", Shield: &api.ShieldStatus{Problem: "off"}}, nil, expected{shield: true}, "net: shield: off; shield: off; "},
		"shield unasked":  {api.NetworkStatus{}, errors.New("nobody answers"), expected{shield: true}, "net: nobody answers; shield: nobody answers; "},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			for _, c := range informationOf(test.status, test.err, test.has, epoch, time.Second) {
				switch {
				case !c.Information || c.At != epoch || c.Took.Duration() != time.Second:
					t.Errorf("%+v", c)
				case c.OK && c.Reason == "":
					got += c.Name + " ok; "
				case !c.OK:
					got += c.Name + ": " + c.Reason + "; "
				}
			}
			if got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}
