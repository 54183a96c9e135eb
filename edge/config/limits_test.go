package config

import (
	"regexp"
	"strings"
	"testing"
)

// replaced returns the text of a file with another value of one key, in the first section of that
// name.
func replaced(t *testing.T, text, section, key, value string) string {
	t.Helper()
	before, rest, found := strings.Cut(text, "\n["+section+"]")
	if !found {
		t.Fatalf("no section %s", section)
	}
	body, after := rest, ""
	if next := regexp.MustCompile(`\n\[`).FindStringIndex(rest); next != nil {
		body, after = rest[:next[0]], rest[next[0]:]
	}
	line := regexp.MustCompile(`(?m)^` + key + ` += .*$`)
	if !line.MatchString(body) {
		t.Fatalf("no key %s in %s", key, section)
	}
	return before + "\n[" + section + "]" + line.ReplaceAllLiteralString(body, key+" = "+value) + after
}

// The lowest and highest allowed values are accepted; those beyond are refused with an error about
// their key only.
func TestLimits(t *testing.T) {
	complete := fence(t, "toml complete")
	for _, x := range []struct {
		section, key string
		good, bad    []string
	}{
		{"tunnel", "mtu", []string{"0", "1280", "65455"}, []string{"-1", "1", "1279", "65456"}},
		{"tunnel", "probe_size", []string{"1024", `"46KiB"`}, []string{"0", "1023", "47105"}},
		{"tunnel", "probe_interval", []string{"0", `"100ms"`, `"1d"`}, []string{`"99ms"`, `"24h1s"`}},
		{"tunnel", "implementation", []string{`"auto"`, `"kernel"`, `"userspace"`}, []string{`""`, `"Kernel"`}},
		{"tunnel", "private_key_file", []string{`"/k"`, `"credential:k"`, `"credential:.k"`}, []string{
			`""`, `"k"`, `"credential:"`, `"credential:a:b"`, `"credential:a b"`, `"credential:../k"`, `"credential:é"`,
		}},
		{"[tunnel.peer]", "preshared_key_file", []string{`""`, `"/k"`, `"credential:k"`}, []string{`"k"`, `"credential:."`}},
		{"bgp", "metrics", []string{`""`, `"127.0.0.1:0"`}, []string{`"9926"`, `"127.0.0.1:9925"`, `"127.0.0.1:25"`}},
		{"bgp.health", "interval", []string{`"50ms"`, `"2s"`}, []string{"0", `"49ms"`, `"61s"`}},
		{"bgp.health", "timeout", []string{`"400ms"`, `"10m"`}, []string{"0", `"399ms"`, `"10m1s"`}},
		{"bgp.health", "rise", []string{"1", "1000"}, []string{"0", "-1", "1001"}},
		{"bgp.health", "rise_time", []string{"0", `"1h"`}, []string{`"1h1s"`, "10"}},
		{"bgp.health", "fall", []string{"1", "1000"}, []string{"0", "-1", "1001"}},
		{"[bgp.peer]", "port", []string{"1", "65535"}, []string{"0", "-1", "65536"}},
		{"[bgp.peer]", "med", []string{"0", "4294967295"}, []string{"-1", "4294967296", "1.5", `""`}},
		{"[bgp.peer]", "prepend", []string{"0", "20"}, []string{"-1", "21"}},
		{"[bgp.peer]", "multihop", []string{"1", "255"}, []string{"0", "256"}},
		{"[bgp.peer]", "connect_retry", []string{`"100ms"`, `"1h"`}, []string{"0", `"99ms"`, `"61m"`}},
		{"[bgp.peer]", "local_address", []string{`""`, `"127.0.0.1"`, `"::ffff:198.51.100.2"`}, []string{
			`"2001:db8::1"`, `"192.0.2.25"`, `"198.51.100.1"`, `"169.254.0.1"`,
		}},
		{"[bgp.peer]", "next_hop4", []string{`""`, `"198.51.100.1"`}, []string{`"::1"`, `"0.0.0.0"`, `"127.0.0.1"`, `"224.0.0.1"`, `"192.0.2.25"`}},
		{"[bgp.peer]", "next_hop6", []string{`"2001:db8::1"`, `"fd00::1"`}, []string{
			`"198.51.100.2"`, `"::"`, `"::1"`, `"ff02::1"`, `"fe80::1"`, `"fe80::1%eth0"`, `"2001:db8:25::25"`,
		}},
		{"[bgp.peer]", "families", []string{"[]", `["ipv4"]`, `["ipv6", "ipv4"]`}, []string{`"ipv4"`, `[4]`}},
		{"drain", "graceful", []string{"0", `"1h"`}, []string{`"1h1s"`, `"-1s"`}},
		{"drain", "confirm", []string{"0", `"10m"`}, []string{`"601s"`}},
		{"drain", "converge", []string{"0", `"1h"`}, []string{`"1h1s"`}},
		{"drain", "sessions", []string{"0", `"1d"`}, []string{`"1d1s"`}},
		{"drain", "flush", []string{"0", `"30d"`}, []string{`"30d1s"`}},
		{"net", "control", []string{`"/n"`}, []string{`""`, `"n"`, `"/run/anymx/edge.sock"`, `"/run/anymx/bgp.sock"`, `"/` + strings.Repeat("n", 107) + `"`}},
		{"net", "metrics", []string{`""`, `"[::1]:9926"`}, []string{`"127.0.0.1:9926"`, `":9925"`, `"0.0.0.0:8025"`}},
		{"net", "repair", []string{`"100ms"`, `"1h"`}, []string{"0", `"99ms"`, `"61m"`}},
		{"[egress.source]", "name", []string{`"a-1"`}, []string{`""`, `"a_1"`, `"-a"`, `"A"`}},
		{"[egress.source]", "address", []string{`"198.51.100.10/31"`, `"198.51.100.254/24"`}, []string{
			`""`, `"198.51.100.0/24"`, `"198.51.100.255/24"`, `"192.0.2.26/24"`, `"10.77.0.2/24"`, `"0.0.0.0/0"`, `"fe80::1/64"`, `"::1"`,
		}},
		{"[egress.source]", "interface", []string{`"eth0.100"`}, []string{`""`, `"wg-core"`, `"eth 0"`, `"a-name-too-long-"`}},
		{"[egress.source]", "gateway", []string{`""`, `"198.51.100.254"`}, []string{`"198.51.100.10"`, `"198.51.101.1"`, `"fe80::1"`, `"192.0.2.25"`}},
		{"shield", "interfaces", []string{`["eth0", "eth1"]`, `["a-name-of-15-oc"]`}, []string{"[]", `["eth0", "eth0"]`, `["eth 0"]`, `["wg-core"]`, `"eth0"`}},
		{"shield", "mode", []string{`"auto"`, `"native"`, `"generic"`, `"off"`}, []string{`""`, `"Auto"`, `"on"`}},
		{"shield", "key_file", []string{`""`, `"/k"`, `"credential:shield.key"`}, []string{`"k"`, `"credential:"`, `"/k/"`}},
		{"shield", "epoch", []string{`"4s"`, `"1h"`}, []string{"0", `"3999ms"`, `"1h1s"`}},
		{"shield", "cookies", []string{`"adaptive"`, `"always"`, `"never"`}, []string{`""`, `"on"`, "true"}},
		{"shield", "syn_rate", []string{"1", "1000000000"}, []string{"0", "-1", "1000000001", `"1000"`}},
		{"shield", "stray_rate", []string{"1", "1000000000"}, []string{"0", "-1", "1000000001"}},
		{"shield", "hold", []string{`"1s"`, `"1h"`}, []string{"0", `"999ms"`, `"61m"`}},
		{"shield", "connection_rate", []string{"0", "1", "1000000000"}, []string{"-1", "1000000001", "0.5"}},
		{"shield", "connection_burst", []string{"0", "1", "1000000000"}, []string{"-1", "1000000001"}},
		{"shield", "fragments", []string{`"drop"`, `"pass"`}, []string{`""`, `"Drop"`, "false"}},
		{"shield", "unparsable", []string{`"drop"`, `"pass"`}, []string{`""`, `"count"`}},
		{"shield", "unserved", []string{`"drop"`, `"pass"`}, []string{`""`, `"reset"`}},
		{"shield", "block_file", []string{`""`, `"/b"`}, []string{`"b"`, `"/b/"`, `"credential:b"`}},
		{"shield", "allow_file", []string{`""`, `"/a"`}, []string{`"a"`, `"/etc/anymx/shield.block"`}},
		{"shield", "pins", []string{`"/p"`}, []string{`""`, `"p"`, `"/p/"`}},
		{"shield", "mtu", []string{"1280", "65535"}, []string{"0", "-1", "1279", "65536"}},
	} {
		text := complete
		if x.key == "address" { // the gateway would no longer fit it
			text = replaced(t, text, x.section, "gateway", `""`)
		}
		for _, value := range x.good {
			if _, err := Parse("f", []byte(replaced(t, text, x.section, x.key, value))); err != nil {
				t.Errorf("[%s] %s = %s: %v", x.section, x.key, value, err)
			}
		}
		path := strings.ReplaceAll(strings.Trim(x.section, "[]"), ".", `\.`) + `(\[0\])?\.` + x.key + `(\[\d\])?`
		only := regexp.MustCompile(`^f:\d+:` + path + `: .*$`)
		for _, value := range x.bad {
			_, err := Parse("f", []byte(replaced(t, text, x.section, x.key, value)))
			if err == nil || !only.MatchString(err.Error()) {
				t.Errorf("[%s] %s = %s: got %v", x.section, x.key, value, err)
			}
		}
	}
}
