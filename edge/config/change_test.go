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

// What needs a restart stays, the rest is taken, and a second reload says the same again.
func TestTake(t *testing.T) {
	now, next := Default(), Default()
	now.BGP, next.BGP = &BGP{ASN: 1}, &BGP{ASN: 2}
	next.Node.StateDir, next.Ingress.MaxErrors, next.Shield = "/elsewhere", 3, &Shield{}
	taken := now.Take(&next)
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
