package bgp

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"anymx/tests/kit"
)

// bird is a BIRD daemon on loopback addresses. It touches no kernel routes.
type bird struct {
	t       *testing.T
	control string
}

// birdConfig has two neighbors: one outside with TCP MD5, one inside with TTL
// security. Static routes make next hops resolve.
const birdConfig = `
log stderr all;
router id 127.0.0.8;
protocol device { }
protocol static { ipv4; route 192.0.2.0/24 unreachable; }
protocol static { ipv6; route 2001:db8::/32 unreachable; }
protocol bgp outside {
	local 127.0.0.8 port %[1]d as 64512;
	neighbor 127.0.0.1 as %[3]d;
	multihop 2;
	passive on;
	password "correct horse";
	ipv4 { import all; export none; };
	ipv6 { import all; export none; };
}
protocol bgp inside {
	local 127.0.0.9 port %[2]d as %[3]d;
	neighbor 127.0.0.6 as %[3]d;
	multihop 1;
	ttl security on;
	passive on;
	ipv4 { import all; export none; };
}
`

func startBIRD(t *testing.T, config string) *bird {
	t.Helper()
	program, err := exec.LookPath("bird")
	if err != nil {
		program, err = exec.LookPath("/usr/sbin/bird")
	}
	if err != nil {
		t.Skip("BIRD is not installed (package bird2):", err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "bird.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	b := &bird{t: t, control: filepath.Join(dir, "bird.ctl")}
	cmd := exec.Command(program, "-f", "-c", file, "-s", b.control, "-P", filepath.Join(dir, "bird.pid"))
	p := kit.StartFor(t, cmd, "BIRD")
	err = p.Await(t.Context(), kit.Patience, func(context.Context) error {
		_, err := b.ask("show status")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ask is what birdc prints for a command.
func (b *bird) ask(command string) (string, error) {
	program, err := exec.LookPath("birdc")
	if err != nil {
		program = "/usr/sbin/birdc"
	}
	out, err := exec.Command(program, "-r", "-s", b.control, command).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("birdc %s: %w: %s", command, err, out)
	}
	if strings.Contains(string(out), "Unable to connect") {
		return "", errors.New(string(out))
	}
	return string(out), nil
}

// routes is what BIRD shows of the routes that a neighbor told it.
func (b *bird) routes(neighbor string) string {
	b.t.Helper()
	out, err := b.ask("show route all protocol " + neighbor)
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

// want waits until BIRD shows each of these lines in the routes from a
// neighbor.
func (b *bird) want(neighbor string, lines ...string) {
	b.t.Helper()
	var got string
	missing := ""
	if !kit.Within(kit.Patience, func() bool {
		got = b.routes(neighbor)
		missing = ""
		for _, line := range lines {
			if !regexp.MustCompile(`(?m)^\s*` + line + `\s*$`).MatchString(got) {
				missing = line
				return false
			}
		}
		return true
	}) {
		b.t.Fatalf("BIRD does not show %q, but\n%s", missing, got)
	}
}

func (b *bird) wantGone(neighbor, prefix string) {
	b.t.Helper()
	var got string
	if !kit.Within(kit.Patience, func() bool { got = b.routes(neighbor); return !strings.Contains(got, prefix) }) {
		b.t.Fatalf("BIRD still shows %s:\n%s", prefix, got)
	}
}

func TestBIRD(t *testing.T) {
	outside := Peer{
		Address: addr("127.0.0.8"), Port: freePort(t, "127.0.0.8"), ASN: 64512, LocalAddress: addr("127.0.0.1"),
		Multihop: 2, Password: "correct horse", ConnectRetry: 100 * time.Millisecond,
		Families: []Family{IPv4, IPv6},
		Export: Export{
			NextHop4: addr("192.0.2.1"), NextHop6: addr("2001:db8::1"), MED: ptr(uint32(30)), Prepend: 1,
			Communities: []Community{64512<<16 | 7}, LargeCommunities: []LargeCommunity{{64512, 8, 9}},
		},
	}
	inside := Peer{
		Address: addr("127.0.0.9"), Port: freePort(t, "127.0.0.9"), ASN: ourASN, LocalAddress: addr("127.0.0.6"),
		TTLSecurity: true, ConnectRetry: 100 * time.Millisecond, HoldTime: 30 * time.Second,
		Export: Export{NextHop4: addr("192.0.2.1")},
	}
	b := startBIRD(t, fmt.Sprintf(birdConfig, outside.Port, inside.Port, ourASN))
	s := newSpeaker(t, ourASN, nil)
	setRoutes(t, s, ours()...)
	setPeers(t, s, outside, inside)

	b.want("outside",
		`192\.0\.2\.0/24 .*AS4200000100i?\]?`,
		`198\.51\.100\.128/25 .*`,
		`2001:db8:25::/48 .*`,
		`BGP\.origin: IGP`,
		`BGP\.as_path: 4200000100 4200000100`,
		`BGP\.next_hop: 192\.0\.2\.1`,
		`BGP\.next_hop: 2001:db8::1`,
		`BGP\.med: 30`,
		`BGP\.community: \(64500,100\) \(64512,7\)`,
		`BGP\.community: \(64512,7\)`,
		`BGP\.large_community: \(64512, 8, 9\) \(4200000100, 1, 2\)`,
	)
	b.want("inside", `198\.51\.100\.128/25 .*`, `BGP\.as_path:`, `BGP\.local_pref: 100`, `BGP\.community: \(64500,100\)`)
	if text := b.routes("inside"); strings.Contains(text, "2001:") || strings.Contains(text, "BGP.med") {
		t.Errorf("the iBGP neighbor was told too much:\n%s", text)
	}

	setRoutes(t, s, ours(GracefulShutdown)[1:]...)
	b.want("outside", `BGP\.community: \(64512,7\) \(65535,0\)`)
	b.want("inside", `BGP\.local_pref: 0`, `BGP\.community: \(65535,0\)`)
	b.wantGone("outside", "192.0.2.0/24")

	setRoutes(t, s)
	b.wantGone("outside", "/")
	b.wantGone("inside", "/")
	flush(t, s)

	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, neighbor := range []string{"outside", "inside"} {
		out, err := b.ask("show protocols all " + neighbor)
		if err != nil || !strings.Contains(out, "Administrative shutdown") {
			t.Errorf("BIRD thinks of the end of the session: %v\n%s", err, out)
		}
	}
	if p := s.Status().Peers; p[0].Counters.Sessions != 1 || p[1].Counters.Sessions != 1 {
		t.Errorf("sessions: %+v", p)
	}
}
