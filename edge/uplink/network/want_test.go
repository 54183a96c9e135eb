package network

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"anymx/edge/config"
	"anymx/edge/service"
	"anymx/edge/uplink/tunnel"
)

// parse parses a config of this program's part. DIR means a directory.
func parse(t *testing.T, dir, text string) *config.Config {
	t.Helper()
	c, err := config.Parse("anymx.toml", []byte(strings.ReplaceAll(`[node]
name = "ams1"
hostname = "mx.example.net"
`+text, "DIR", dir)), Sections...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const whole = `[core]
addresses = ["10.77.0.1:2525"]
[anycast]
addresses = ["192.0.2.25/32"]
prefixes = ["192.0.2.0/24"]
[[egress.source]]
name = "a"
address = "198.51.100.10/24"
interface = "eth0"
gateway = "198.51.100.1"
[tunnel]
interface = "wg-core"
address = ["10.77.0.2/24"]
private_key_file = "DIR/wg.key"
listen_port = 51821
[[tunnel.peer]]
public_key = "nu3w0BDmZggUo7bveA2iLy1u9NgHLhkBfo16Ih2QpSI="
preshared_key_file = "DIR/psk"
endpoint = "core.example.net:51820"
allowed_ips = ["10.77.0.0/24"]
keepalive = "25s"
[[tunnel.peer]]
public_key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
allowed_ips = ["10.78.0.0/24"]
`

func TestWants(t *testing.T) {
	for name, test := range map[string]struct {
		config string
		want   []string
	}{
		"nothing": {config: "[core]\naddresses = [\"192.0.2.1:25\"]\n"},
		"all": {config: whole, want: []string{
			"service: 192.0.2.25/32 dev lo scope host",
			"source: 198.51.100.10/32 dev eth0",
			"source: 198.51.100.0/24 dev eth0 metric 3999999999",
			"source: unreachable default table 3325256714 metric 4000000000",
			"source: default via 198.51.100.1 dev eth0 onlink table 3325256714",
			"source: from 198.51.100.10 lookup 3325256714 priority 2550",
			"tunnel: unreachable 10.77.0.0/24 metric 4000000000",
			"tunnel: to 10.77.0.0/24 lookup main priority 2500",
			"tunnel: 10.77.0.0/24 dev wg-core",
			"tunnel: unreachable 10.78.0.0/24 metric 4000000000",
			"tunnel: to 10.78.0.0/24 lookup main priority 2500",
			"tunnel: 10.78.0.0/24 dev wg-core",
			"tunnel: 10.77.0.2/24 dev wg-core noprefixroute",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, w := range wants(parse(t, "/nowhere", test.config)) {
				got = append(got, w.Purpose+": "+w.String())
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("wants\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
}

func TestSettings(t *testing.T) {
	dir := t.TempDir()
	private, preshared := tunnel.GenerateKey(), tunnel.GenerateKey()
	write := func(name string, text []byte, mode os.FileMode) {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
	}
	c := parse(t, dir, whole)
	for _, step := range []struct {
		name    string
		do      func()
		problem string // "": the settings are valid
	}{
		{"no private key", func() {}, "tunnel.private_key_file: "},
		{"no key in the file", func() { write("wg.key", []byte("not a key"), 0o600) }, "tunnel.private_key_file: " + dir + "/wg.key: a key has 44 base64 characters, this one has 9"},
		{"no preshared key", func() { write("wg.key", private.Text(), 0o600) }, "tunnel.peer[0].preshared_key_file: "},
		{"all there", func() { write("psk", append(preshared.Text(), '\n'), 0o640) }, ""},
		{"readable by others", func() { write("psk", preshared.Text(), 0o644) }, "tunnel.peer[0].preshared_key_file: "},
	} {
		t.Run(step.name, func(t *testing.T) {
			step.do()
			s, err := new(keys).settings(c.Tunnel)
			if step.problem != "" {
				if err == nil || !strings.HasPrefix(err.Error(), step.problem) {
					t.Fatalf("error %v, want %q", err, step.problem)
				}
				if strings.Contains(err.Error(), string(preshared.Text())) {
					t.Fatal("the error shows a key")
				}
				if strings.Contains(step.problem, "preshared") && (s.PrivateKey != private || len(s.Peers) != 1 || s.Peers[0].PublicKey != tunnel.PublicKey(c.Tunnel.Peers[1].PublicKey)) {
					t.Errorf("the other peer is not alone in the tunnel: %+v", s)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			first := s.Peers[0]
			if s.PrivateKey != private || s.ListenPort != 51821 || len(s.Peers) != 2 || !slices.Equal(s.Addresses, c.Tunnel.Address) ||
				first.Preshared != preshared || first.Endpoint != "core.example.net:51820" || first.Keepalive.Seconds() != 25 ||
				!first.AllowedIPs[0].Contains(c.Tunnel.Address[0].Addr()) || !s.Peers[1].Preshared.IsZero() {
				t.Errorf("settings %+v", s)
			}
		})
	}
}

// A key file that breaks while it is in use does not affect the key.
func TestSettingsRemembered(t *testing.T) {
	dir := t.TempDir()
	private, preshared := tunnel.GenerateKey(), tunnel.GenerateKey()
	for name, text := range map[string][]byte{"wg.key": private.Text(), "psk": preshared.Text()} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := parse(t, dir, whole)
	k := new(keys)
	before, err := k.settings(c.Tunnel)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"wg.key", "psk"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	after, err := k.settings(c.Tunnel)
	alone, rest := service.SplitAlone(err)
	if rest != nil || alone["tunnel.private_key_file"] == nil || alone["tunnel.peer[0].preshared_key_file"] == nil || len(alone) != 2 {
		t.Errorf("%v, %v", alone, rest)
	}
	if !reflect.DeepEqual(after, before) {
		t.Errorf("%+v\nwant %+v", after, before)
	}
}
