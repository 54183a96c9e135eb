package config

import (
	"reflect"
	"testing"
)

func TestChange(t *testing.T) {
	load := func() *Config {
		c, err := Load("testdata/good/design.toml")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, x := range []struct {
		name             string
		edit             func(*Config)
		changed, restart []string
	}{
		{"nothing", func(*Config) {}, nil, nil},
		{"limit", func(c *Config) { c.Ingress.MaxConnections++ }, []string{"ingress.max_connections"}, nil},
		{"domain", func(c *Config) { c.Domains = append(c.Domains, Domain{Name: "example.org"}) }, []string{"domain"}, nil},
		{"listen", func(c *Config) { c.Ingress.Listen = c.Ingress.Listen[:1] }, []string{"ingress.listen"}, []string{"ingress.listen"}},
		{"several", func(c *Config) {
			c.Node.StateDir, c.Node.Region, c.Log.Level = "/srv", "us", "debug"
		}, []string{"node.region", "node.state_dir", "log.level"}, []string{"node.state_dir"}},
		{"inside a section that may be absent", func(c *Config) {
			c.BGP.ASN, c.BGP.Peers[0].HoldTime = 1, 1
		}, []string{"bgp.asn", "bgp.peer"}, []string{"bgp.asn"}},
		{"inside a section of a section", func(c *Config) {
			c.BGP.Health.Rise, c.BGP.Health.Interval, c.BGP.Metrics = 5, 1, ""
		}, []string{"bgp.metrics", "bgp.health.interval", "bgp.health.rise"}, []string{"bgp.metrics"}},
		{"an optional number that comes", func(c *Config) { c.BGP.Peers[0].MED = new(uint32) }, []string{"bgp.peer"}, nil},
		{"the tunnel's device", func(c *Config) {
			c.Tunnel.Interface, c.Tunnel.Implementation, c.Tunnel.MTU, c.Tunnel.ListenPort = "wg1", "kernel", 1400, 1
		}, []string{"tunnel.interface", "tunnel.listen_port", "tunnel.implementation", "tunnel.mtu"}, []string{"tunnel.interface", "tunnel.implementation"}},
		{"what is applied live", func(c *Config) {
			c.Anycast.Prefixes, c.Drain.Flush, c.Net.Repair = nil, 1, 1
			c.Egress.Sources = []EgressSource{{Name: "a1"}}
		}, []string{"anycast.prefixes", "drain.flush", "net.repair", "egress.source"}, nil},
		{"the sockets of anymx-net", func(c *Config) {
			c.Net.Control, c.Net.Metrics = "/run/n.sock", ""
		}, []string{"net.control", "net.metrics"}, []string{"net.control", "net.metrics"}},
		{"the shield", func(c *Config) {
			c.Shield.Interfaces, c.Shield.Mode, c.Shield.KeyFile, c.Shield.SYNRate, c.Shield.Pins = nil, "off", "/k", 1, "/p"
		}, []string{"shield.interfaces", "shield.mode", "shield.key_file", "shield.syn_rate", "shield.pins"}, []string{"shield.pins"}},
		{"sections that go", func(c *Config) { c.Tunnel, c.Shield = nil, nil }, []string{"tunnel", "shield"}, []string{"tunnel", "shield"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			before, after := load(), load()
			x.edit(after)
			for _, pair := range [][2]*Config{{before, after}, {after, before}} {
				if got := pair[0].Changed(pair[1]); !reflect.DeepEqual(got, x.changed) {
					t.Errorf("changed %q, want %q", got, x.changed)
				}
				if got := pair[0].NeedsRestart(pair[1]); !reflect.DeepEqual(got, x.restart) {
					t.Errorf("needs restart %q, want %q", got, x.restart)
				}
			}
		})
	}
}

// Keys that need a restart keep their values, the others change, and a second reload reports the
// same.
func TestReloaded(t *testing.T) {
	now, next := Default(), Default()
	now.BGP, next.BGP = &BGP{ASN: 1}, &BGP{ASN: 2}
	next.Node.StateDir, next.Ingress.MaxErrors, next.Shield = "/elsewhere", 3, &Shield{}
	taken := now.Reloaded(&next)
	if taken.Ingress.MaxErrors != 3 || taken.Node.StateDir != now.Node.StateDir || taken.Shield != nil || taken.BGP.ASN != 1 {
		t.Errorf("taken: %+v", taken)
	}
	if next.BGP.ASN != 2 {
		t.Error("the new config itself was changed")
	}
	want := now.NeedsRestart(&next)
	if got := taken.NeedsRestart(&next); !reflect.DeepEqual(got, want) || len(want) != 3 {
		t.Errorf("needs restart %q, want %q", got, want)
	}
}

// A section within an optional section is merged key by key, and the caller's new config is
// unchanged.
func TestReloadedNested(t *testing.T) {
	now, next := Default(), Default()
	now.BGP, next.BGP = &BGP{Metrics: "a", Health: BGPHealth{Rise: 1}}, &BGP{Metrics: "b", Health: BGPHealth{Rise: 2}}
	taken := now.Reloaded(&next)
	if taken.BGP.Metrics != "a" || taken.BGP.Health.Rise != 2 {
		t.Errorf("taken: %+v", taken.BGP)
	}
	if now.BGP.Health.Rise != 1 || next.BGP.Metrics != "b" {
		t.Errorf("changed: %+v, %+v", now.BGP, next.BGP)
	}
}

// An optional number is compared and copied by value, not by pointer; absent is not 0.
func TestOptionalNumber(t *testing.T) {
	type section struct {
		Live *uint32 `toml:"live"`
		Kept *uint32 `toml:"kept" change:"restart"`
	}
	number := func(n uint32) *uint32 { return &n }
	for _, x := range []struct {
		name string
		a, b *uint32
		same bool
	}{
		{"both absent", nil, nil, true},
		{"equal", number(7), number(7), true},
		{"both 0", number(0), number(0), true},
		{"different", number(7), number(8), false},
		{"absent and 0", nil, number(0), false},
		{"0 and absent", number(0), nil, false},
	} {
		now, next := section{x.a, x.a}, section{x.b, x.b}
		var changed []string
		compare(reflect.ValueOf(now), reflect.ValueOf(next), "", func(key string, restart bool) {
			if restart != (key == "kept") {
				t.Errorf("%s: %s needs a restart: %v", x.name, key, restart)
			}
			changed = append(changed, key)
		})
		if same := changed == nil; same != x.same || !same && len(changed) != 2 {
			t.Errorf("%s: changed %q", x.name, changed)
		}
		taken := next
		keep(reflect.ValueOf(&taken).Elem(), reflect.ValueOf(now))
		if !reflect.DeepEqual(taken, section{x.b, x.a}) {
			t.Errorf("%s: taken %v", x.name, taken)
		}
		if x.a != nil && x.b != nil && (next.Kept != x.b || x.a == x.b) {
			t.Errorf("%s: what was compared is changed", x.name)
		}
	}
}
