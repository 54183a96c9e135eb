package tunnel

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// good returns settings that a device accepts.
func good() Settings {
	return Settings{
		PrivateKey: Key{1}, ListenPort: 51820, Addresses: prefixes("10.77.0.2/24"),
		Peers: []Peer{
			{PublicKey: PublicKey{1}, Endpoint: "192.0.2.1:51820", AllowedIPs: prefixes("10.77.0.0/24"), Keepalive: 25 * time.Second},
			{PublicKey: PublicKey{2}, Endpoint: "core.example.net:51820", AllowedIPs: prefixes("10.78.0.1/24")},
			{PublicKey: PublicKey{3}},
		},
	}
}

func TestSettings(t *testing.T) {
	if err := good().check(); err != nil {
		t.Errorf("good settings are refused: %v", err)
	}
	for name, test := range map[string]struct {
		spoil func(*Settings)
		says  string
	}{
		"no key":              {func(s *Settings) { s.PrivateKey = Key{} }, "private key is missing"},
		"port":                {func(s *Settings) { s.ListenPort = 65536 }, "listen port 65536"},
		"negative port":       {func(s *Settings) { s.ListenPort = -1 }, "listen port -1"},
		"small MTU":           {func(s *Settings) { s.MTU = 575 }, "an MTU of 575"},
		"large MTU":           {func(s *Settings) { s.MTU = 65456 }, "an MTU of 65456"},
		"MTU too small for 6": {func(s *Settings) { s.MTU = 1279; s.Addresses = prefixes("fd77::1/64") }, "not within 1280"},
		"no public key":       {func(s *Settings) { s.Peers[0].PublicKey = PublicKey{} }, "no public key"},
		"twice":               {func(s *Settings) { s.Peers[1].PublicKey = s.Peers[0].PublicKey }, "twice"},
		"itself":              {func(s *Settings) { s.Peers[1].PublicKey = s.PrivateKey.PublicKey() }, "this node itself"},
		"keepalive fraction":  {func(s *Settings) { s.Peers[0].Keepalive = 1500 * time.Millisecond }, "whole number of seconds"},
		"keepalive negative":  {func(s *Settings) { s.Peers[0].Keepalive = -time.Second }, "whole number of seconds"},
		"keepalive long":      {func(s *Settings) { s.Peers[0].Keepalive = 65536 * time.Second }, "whole number of seconds"},
		"endpoint":            {func(s *Settings) { s.Peers[0].Endpoint = "192.0.2.1" }, "not host:port"},
		"behind two":          {func(s *Settings) { s.Peers[1].AllowedIPs = prefixes("10.77.0.9/24") }, "behind two peers"},
		"no network":          {func(s *Settings) { s.Peers[1].AllowedIPs = []netip.Prefix{{}} }, "not a network"},
		"mapped network":      {func(s *Settings) { s.Peers[1].AllowedIPs = prefixes("::ffff:10.0.0.0/104") }, "not a network"},
	} {
		s := good()
		test.spoil(&s)
		if err := s.check(); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want an error that says %q", name, err, test.says)
		}
	}
	all := Settings{ListenPort: -1, MTU: 1, Peers: []Peer{{Endpoint: "x"}}}
	if err := all.check(); err == nil || strings.Count(err.Error(), "\n") != 4 {
		t.Errorf("not every fault is named: %v", err)
	}
}

func TestParseEndpoint(t *testing.T) {
	tests := []struct {
		text string
		want hostPort
		says string
	}{
		{"192.0.2.1:51820", hostPort{addr: netip.MustParseAddr("192.0.2.1"), port: 51820}, ""},
		{"[2001:db8::1]:1", hostPort{addr: netip.MustParseAddr("2001:db8::1"), port: 1}, ""},
		{"[::ffff:192.0.2.1]:65535", hostPort{addr: netip.MustParseAddr("192.0.2.1"), port: 65535}, ""},
		{"core.example.net:51820", hostPort{name: "core.example.net", port: 51820}, ""},
		{"192.0.2.1:0", hostPort{}, "port"},
		{"192.0.2.1:65536", hostPort{}, "port"},
		{"192.0.2.1:smtp", hostPort{}, "port"},
		{"192.0.2.1:", hostPort{}, "port"},
		{":51820", hostPort{}, "has no host"},
		{"2001:db8::1:51820", hostPort{}, "not host:port"},
		{"[fe80::1%eth0]:51820", hostPort{}, "zone"},
		{"", hostPort{}, "not host:port"},
	}
	for _, test := range tests {
		got, err := parseEndpoint(test.text)
		if got != test.want || (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%q: %+v, %v, want %+v, %q", test.text, got, err, test.want, test.says)
		}
	}
}

func FuzzParseEndpoint(f *testing.F) {
	for _, seed := range []string{"192.0.2.1:51820", "[2001:db8::1]:1", "core.example.net:51820", "[fe80::1%eth0]:5", ":", "[]:1", "a:b:c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parseEndpoint(text)
		if err == nil && (p.port == 0 || (p.name == "") == !p.addr.IsValid() || p.addr.Zone() != "" || p.addr.Is4In6()) {
			t.Errorf("%q is taken for %+v", text, p)
		}
	})
}
