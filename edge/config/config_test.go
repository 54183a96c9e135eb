package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// minimal returns the text of the smallest valid file.
func minimal(t testing.TB) string { return readFile(t, "testdata/good/minimal.toml") }

func readFile(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func glob(t testing.TB, pattern string, atLeast int) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) < atLeast {
		t.Fatalf("%s: %d files, want at least %d (%v)", pattern, len(files), atLeast, err)
	}
	return files
}

// Each bad config is a directory with the file and the exact error text.
func TestBad(t *testing.T) {
	for _, file := range glob(t, "testdata/bad/*/anymx.toml", 20) {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			c, err := Parse("anymx.toml", []byte(readFile(t, file)))
			if err == nil || c != nil {
				t.Fatalf("accepted (%v, %v)", c, err)
			}
			want := strings.TrimSuffix(readFile(t, filepath.Join(dir, "want.txt")), "\n")
			if got := err.Error(); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func TestGood(t *testing.T) {
	for _, file := range glob(t, "testdata/good/*.toml", 4) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			c, err := Load(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Validate(); err != nil {
				t.Errorf("valid when parsed, and not when validated again: %v", err)
			}
			text := "\xef\xbb\xbf" + strings.ReplaceAll(readFile(t, file), "\n", "\r\n")
			if other, err := Parse(file, []byte(text)); err != nil || !reflect.DeepEqual(c, other) {
				t.Errorf("differs with a byte order mark and lines that end in CRLF (%v)", err)
			}
		})
	}
}

// The complete example, value by value.
func TestDesign(t *testing.T) {
	c, err := Load("testdata/good/design.toml", "tunnel", "anycast", "bgp", "shield")
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Node = Node{
		Name: "ams1", Region: "eu-west", Hostname: "mx.example.net",
		StateDir: "/var/lib/anymx", Control: "/run/anymx/edge.sock", Metrics: "127.0.0.1:9925",
		ShutdownGrace: Duration(20 * time.Second),
	}
	want.Ingress.TLSCert, want.Ingress.TLSKey = "/etc/anymx/tls/cert.pem", "/etc/anymx/tls/key.pem"
	want.Domains = []Domain{{Name: "example.net", Recipients: "any"}}
	want.Core.Addresses = []string{"10.77.0.1:2525"}
	want.Tunnel = &Tunnel{
		Interface: "wg-core", Address: prefixes("10.77.0.2/24"), ListenPort: 51820, PrivateKeyFile: "/etc/anymx/wg.key",
		Implementation: "auto", ProbeSize: 16 * KiB, ProbeInterval: Duration(30 * time.Second),
		Peers: []TunnelPeer{{
			PublicKey: c.Tunnel.Peers[0].PublicKey, Endpoint: "203.0.113.9:51820",
			AllowedIPs: prefixes("10.77.0.0/24"), Keepalive: Duration(25 * time.Second),
		}},
	}
	want.Anycast = Anycast{
		Addresses: prefixes("192.0.2.25/32", "2001:db8:25::25/128"),
		Prefixes:  prefixes("192.0.2.0/24", "2001:db8:25::/48"),
	}
	want.BGP = &BGP{
		ASN: 64512, RouterID: netip.MustParseAddr("198.51.100.2"), Control: "/run/anymx/bgp.sock", Metrics: "127.0.0.1:9926",
		Health: BGPHealth{
			Interval: Duration(400 * time.Millisecond), Timeout: Duration(2 * time.Second),
			Rise: 3, RiseTime: Duration(10 * time.Second), Fall: 2, Busy: Duration(5 * time.Minute),
		},
		Peers: []BGPPeer{{
			Address: netip.MustParseAddr("198.51.100.1"), ASN: 64500, HoldTime: Duration(9 * time.Second),
			Port: 179, Multihop: 1, ConnectRetry: Duration(5 * time.Second),
		}},
	}
	want.Shield = &Shield{
		Interfaces: []string{"eth0"}, Mode: "auto", Epoch: Duration(2 * time.Minute), Cookies: "adaptive",
		SYNRate: 1000, StrayRate: 1000, Hold: Duration(10 * time.Second), ConnectionRate: 100,
		Fragments: "drop", Unparsable: "drop", Unserved: "drop", Pins: "/sys/fs/bpf/anymx", MTU: 1500,
	}
	if !reflect.DeepEqual(*c, want) {
		t.Errorf("got:\n%+v\nwant:\n%+v", *c, want)
	}
	if got := c.Tunnel.Peers[0].PublicKey.String(); got != "4o27ZQHi0OLYyPDzeP4hSG28XAN5jUDLw0v3Q0XbZkE=" {
		t.Errorf("public key %s", got)
	}
}

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range texts {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}

// The less common notations, and 0 where it has a meaning.
func TestForms(t *testing.T) {
	c, err := Load("testdata/good/forms.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct{ what, got, want any }{
		{"domains", c.Domains, []Domain{{Name: "example.net", Recipients: "any"}, {Name: "*.example.net", Recipients: "file:/etc/anymx/recipients"}}},
		{"jitter", c.Queue.Jitter, 0.0},
		{"retry", c.Queue.Retry, []Duration{Duration(90 * time.Second)}},
		{"metrics", c.Node.Metrics, ""},
		{"max_message_size", c.Ingress.MaxMessageSize, Size(10e6)},
		{"min_rate", c.Ingress.MinRate, 2 * KiB},
		{"idle_timeout", c.Core.IdleTimeout, Duration(0)},
		{"connect_timeout", c.Core.ConnectTimeout, Duration(10 * time.Second)},
		{"proxy_protocol_from", c.Ingress.ProxyProtocolFrom, prefixes("10.1.2.3/32", "2001:db8::/32")},
		{"disk_reserve", c.Spool.DiskReserve, GiB},
		{"console", c.Console, Console{Mode: ConsoleView}},
		{"asn", c.BGP.ASN, uint32(4200000000)},
		{"peer 0 hold_time", c.BGP.Peers[0].HoldTime, Duration(9 * time.Second)},
		{"peer 1 hold_time", c.BGP.Peers[1].HoldTime, Duration(90 * time.Second)},
		{"anycast", c.Anycast.Addresses, prefixes("192.0.2.25/32")},
		{"tunnel", c.Tunnel, (*Tunnel)(nil)},
	} {
		if !reflect.DeepEqual(x.got, x.want) {
			t.Errorf("%s: got %v, want %v", x.what, x.got, x.want)
		}
	}
}

// The network keys with values that differ from their defaults.
func TestNetworkForms(t *testing.T) {
	c, err := Load("testdata/good/anycast.toml", "tunnel", "bgp", "net", "egress")
	if err != nil {
		t.Fatal(err)
	}
	number := func(n uint32) *uint32 { return &n }
	first, second := c.BGP.Peers[0], c.BGP.Peers[1]
	for _, x := range []struct{ what, got, want any }{
		{"health", c.BGP.Health, BGPHealth{
			Interval: Duration(50 * time.Millisecond), Timeout: Duration(2001 * time.Millisecond), Rise: 1, Fall: 1000, Busy: Duration(5 * time.Minute),
		}},
		{"med of 0", first.MED, number(0)},
		{"largest med", second.MED, number(4294967295)},
		{"families", first.Families, []string{"ipv6", "ipv4"}},
		{"no families", second.Families, []string(nil)},
		{"next_hop6", first.NextHop6, netip.MustParseAddr("2001:db8:ffff::2")},
		{"empty local_address", second.LocalAddress, netip.Addr{}},
		{"port", first.Port, uint16(1179)},
		{"default port", second.Port, uint16(179)},
		{"default multihop", second.Multihop, 1},
		{"preshared_key_file", c.Tunnel.Peers[0].PresharedKeyFile, "/etc/anymx/wg.psk"},
		{"probe_size", c.Tunnel.ProbeSize, KiB},
		{"probe_interval", c.Tunnel.ProbeInterval, Duration(0)},
		{"allowed_ips", c.Tunnel.Peers[0].AllowedIPs, prefixes("10.77.0.1/32", "fd77::1/128")},
		{"drain", c.Drain, Drain{Sessions: Day, Silence: Duration(10 * time.Second), Flush: 30 * Day}},
		{"net", c.Net, Net{Control: "/run/anymx/n.sock", Metrics: "[::1]:9927", Repair: Duration(time.Hour)}},
		{"source", c.Egress.Sources[2], EgressSource{
			Name: "a3", Address: netip.MustParsePrefix("2001:db8:ffff::10/64"), Interface: "eth0", Gateway: netip.MustParseAddr("fe80::1"),
		}},
		{"source without a gateway", c.Egress.Sources[3].Gateway, netip.Addr{}},
		{"points", fmt.Sprint(c.ServicePoints()), "[192.0.2.25:25 192.0.2.25:8025 [2001:db8:25::25]:25]"},
	} {
		if !reflect.DeepEqual(x.got, x.want) {
			t.Errorf("%s: got %v, want %v", x.what, x.got, x.want)
		}
	}
}

// A missing section within a present one has its defaults, as an empty one has, and a section with
// a single key keeps the defaults of the others.
func TestNestedDefaults(t *testing.T) {
	text := readFile(t, "testdata/good/design.toml")
	want := defaultOf[BGPHealth]()
	for _, add := range []string{"", "[bgp.health]\n", "[bgp.health]\nrise = 3\n"} {
		if c, err := Parse("f", []byte(text+add)); err != nil || c.BGP.Health != want {
			t.Errorf("%q: got %+v (%v)", add, c, err)
		}
	}
	c, err := Parse("f", []byte(text+"[bgp.health]\nrise = 1\n"))
	want.Rise = 1
	if err != nil || c.BGP.Health != want {
		t.Errorf("got %+v (%v)", c, err)
	}
	if c, err := Parse("f", []byte(minimal(t))); err != nil || c.BGP != nil || c.Drain != Default().Drain || c.Net.Repair == 0 {
		t.Errorf("got %+v (%v)", c, err)
	}
}

// An invalid number is not stored, and a section with an invalid key is not dropped.
func TestFaultyPointer(t *testing.T) {
	tree, problems := readDocument([]byte("[bgp]\nasn = \"x\"\npeer = [{ med = -1 }]\n[tunnel]\nmtu = true\n"))
	c := Default()
	d := newDecoder(problems)
	d.document(tree, &c)
	if len(d.problems) != 3 || c.BGP == nil || c.Tunnel == nil || c.BGP.Peers[0].MED != nil {
		t.Errorf("got %+v, %+v, %v", c.BGP, c.Tunnel, d.problems)
	}
}

// An empty list, an absent key and the default are the same value, so that no reload sees a change.
func TestEmptyListIsNil(t *testing.T) {
	c, err := Parse("f", []byte(minimal(t)+"[ingress]\nproxy_protocol_from = []\n[anycast]\naddresses = []\n"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Ingress.ProxyProtocolFrom != nil || c.Anycast.Addresses != nil {
		t.Error("an empty list is not nil")
	}
}

func TestNeed(t *testing.T) {
	_, err := Parse("f", []byte(minimal(t)), "node", "bgp", "tunnel")
	want := "f:1:bgp: missing: this program needs a [bgp] section\nf:1:tunnel: missing: this program needs a [tunnel] section"
	if fmt.Sprint(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestLoad(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "absent.toml")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent file: %v", err)
	}
	if _, err := Load(t.TempDir()); err == nil {
		t.Error("a directory was read")
	}
	if _, err := Load("/dev/zero"); err == nil || !strings.Contains(err.Error(), "larger than 16MiB") {
		t.Errorf("endless file: %v", err)
	}
	file := filepath.Join(t.TempDir(), "a.toml")
	if err := os.WriteFile(file, []byte("[node]\nname = 5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var errs *Errors
	if _, err := Load(file); !errors.As(err, &errs) {
		t.Errorf("not an *Errors: %v", err)
	} else if p := errs.Problems[1]; p.File != file || p.Line != 1 || p.Key != "node.hostname" {
		t.Errorf("problem %+v", p)
	}
	var first Problem
	if _, err := Load(file); !errors.As(err, &first) {
		t.Errorf("no Problem inside: %v", err)
	}
}

func TestColumn(t *testing.T) {
	_, err := Parse("f", []byte("node = { name = \"A\" }\ncore.addresses = [\n  \"10.0.0.1:25\",\n\t\"x\" ]\n"))
	var errs *Errors
	if !errors.As(err, &errs) {
		t.Fatal(err)
	}
	var got []string
	for _, p := range errs.Problems {
		got = append(got, fmt.Sprintf("%s %d:%d", p.Key, p.Line, p.Column))
	}
	want := []string{"node.hostname 1:1", "node.name 1:10", "core.addresses[1] 4:2"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The errors of a config built in code name no file.
func TestValidateInCode(t *testing.T) {
	c := Default()
	c.Node.Name, c.Node.Hostname = "ams1", "mx.example.net"
	c.Core.Addresses = []string{"127.0.0.1:2525"}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	c.Core.MaxConnections = 0
	if err := c.Validate(); fmt.Sprint(err) != "core.max_connections: must be greater than 0" {
		t.Errorf("got %v", err)
	}
	c.Core.MaxConnections = 1
	c.Anycast = Anycast{prefixes("192.0.2.25/32"), prefixes("192.0.2.0/24")}
	c.BGP = &BGP{ASN: 64512, RouterID: netip.MustParseAddr("198.51.100.2"), Control: "/b", Peers: make([]BGPPeer, 1)}
	c.BGP.Health = defaultOf[BGPHealth]()
	p := &c.BGP.Peers[0]
	*p = defaultOf[BGPPeer]()
	p.Address, p.ASN, p.Families = netip.MustParseAddr("198.51.100.1"), 64500, []string{"ipv5"}
	want := `bgp.peer[0].families[0]: "ipv5" is unknown; write one of "ipv4", "ipv6"`
	if err := c.Validate(); fmt.Sprint(err) != want {
		t.Errorf("got %v", err)
	}
}

// Errors never repeat the value of a secret key.
func TestNoSecretInErrors(t *testing.T) {
	const secret = "4o27ZQHi0OLYyPDzeP4hSG28XAN5jUDLw0v3Q0XbZk"
	text := minimal(t) + `
[ingress]
tls_cert = "` + secret + `"
tls_key = "` + secret + `"
[tunnel]
private_key_file = "` + secret + `"
[[tunnel.peer]]
public_key = "` + secret + `"
preshared_key_file = "` + secret + `"
[bgp]
[[bgp.peer]]
password_file = "` + secret + `"
[[bgp.peer]]
password_file = "credential:` + secret + `="
`
	_, err := Parse("f", []byte(text))
	if err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("got %v", err)
	}
	if n := strings.Count(fmt.Sprint(err), "absolute path"); n != 5 {
		t.Errorf("%d of 5 paths refused: %v", n, err)
	}
}
