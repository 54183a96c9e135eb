package bgp

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"anymx/tests/kit"
)

// frr is FRR's bgpd alone, on loopback addresses: it has no zebra, and so
// touches no kernel routes.
type frr struct {
	t      *testing.T
	dir    string
	config string
}

// frrConfig has three neighbors: one with TCP MD5 some hops away, one with TTL
// security, one over IPv6.
const frrConfig = `
hostname far
router bgp 64512
 bgp router-id 127.0.0.8
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 bgp disable-ebgp-connected-route-check
 neighbor 127.0.0.1 remote-as %[1]d
 neighbor 127.0.0.1 passive
 neighbor 127.0.0.1 password correct-horse
 neighbor 127.0.0.1 ebgp-multihop 2
 neighbor 127.0.0.6 remote-as %[1]d
 neighbor 127.0.0.6 passive
 neighbor 127.0.0.6 ttl-security hops 1
 neighbor ::1 remote-as %[1]d
 neighbor ::1 passive
 address-family ipv4 unicast
  neighbor 127.0.0.1 activate
  neighbor 127.0.0.6 activate
 exit-address-family
 address-family ipv6 unicast
  neighbor 127.0.0.1 activate
  neighbor ::1 activate
 exit-address-family
`

// startFRR runs bgpd on the addresses and one port.
func startFRR(t *testing.T, port uint16, addresses ...string) *frr {
	t.Helper()
	const program = "/usr/lib/frr/bgpd"
	if _, err := os.Stat(program); err != nil {
		t.Skip("FRR is not installed (package frr):", err)
	}
	if os.Getuid() != 0 {
		t.Skip("FRR's bgpd wants root")
	}
	dir, err := os.MkdirTemp("", "frr") // a unix socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	f := &frr{t: t, dir: dir, config: filepath.Join(dir, "bgpd.conf")}
	if err := os.WriteFile(f.config, fmt.Appendf(nil, frrConfig, ourASN), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-f", f.config, "--vty_socket", dir, "-i", filepath.Join(dir, "bgpd.pid"), "-P", "0",
		"-S", "-n", "-Z", "--log", "stdout", "-p", fmt.Sprint(port)}
	for _, a := range addresses {
		args = append(args, "-l", a)
	}
	cmd := exec.Command(program, args...)
	p := kit.StartFor(t, cmd, "FRR")
	err = p.Await(t.Context(), kit.Patience, func(context.Context) error {
		_, err := f.ask("show bgp summary json")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// ask is what vtysh prints for a command.
func (f *frr) ask(command string) ([]byte, error) {
	program, err := exec.LookPath("vtysh")
	if err != nil {
		program = "/usr/bin/vtysh"
	}
	out, err := exec.Command(program, "--vty_socket", f.dir, "-d", "bgpd", "-c", command).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("vtysh %s: %w: %s", command, err, out)
	}
	return out, nil
}

// frrPath is a path as FRR shows it.
type frrPath struct {
	Origin    string
	Metric    *uint32
	ASPath    struct{ String string }
	Community struct {
		String string
	}
	LargeCommunity struct{ String string }
	NextHops       []struct {
		IP, Scope string
	}
}

// from is the path that a neighbor has told of a prefix; nil: none.
func (f *frr) from(neighbor, prefix string) *frrPath {
	f.t.Helper()
	family := "ipv4"
	if strings.Contains(prefix, ":") {
		family = "ipv6"
	}
	out, err := f.ask(fmt.Sprintf("show bgp %s unicast %s json", family, prefix))
	if err != nil {
		f.t.Fatal(err)
	}
	var all struct {
		Paths []struct {
			frrPath
			Peer struct{ PeerID string }
		}
	}
	if err := json.Unmarshal(out, &all); err != nil {
		f.t.Fatalf("%v in %s", err, out)
	}
	for _, p := range all.Paths {
		if p.Peer.PeerID == neighbor {
			return &p.frrPath
		}
	}
	return nil
}

// wellKnown takes back the name that FRR gives a community: not all of its
// versions agree on it.
var wellKnown = strings.NewReplacer("graceful-shutdown", "65535:0", "gracefulShutdown", "65535:0")

// want waits until a neighbor has told the path as described by text: AS path,
// MED, next hop, communities and large communities.
func (f *frr) want(neighbor, prefix, text string) {
	f.t.Helper()
	got := ""
	if !kit.Within(kit.Patience, func() bool {
		p := f.from(neighbor, prefix)
		got = "none"
		if p == nil {
			return got == text
		}
		med, hop := "-", "-"
		if p.Metric != nil {
			med = fmt.Sprint(*p.Metric)
		}
		for _, h := range p.NextHops {
			if h.Scope != "link-local" {
				hop = h.IP
			}
		}
		got = fmt.Sprintf("%s | %s | %s | %s | %s | %s", p.Origin, p.ASPath.String, med, hop, p.Community.String, p.LargeCommunity.String)
		got = wellKnown.Replace(got)
		return got == text
	}) {
		f.t.Fatalf("FRR has of %s from %s\n%s, want\n%s", prefix, neighbor, got, text)
	}
}

func TestFRR(t *testing.T) {
	port := freePort(t, "127.0.0.8")
	addresses := []string{"127.0.0.8", "127.0.0.9"}
	over6 := false
	if l, err := newLoopback6(); err == nil {
		l.Close()
		over6 = true
		addresses = append(addresses, "::1")
	} else {
		t.Log("without a session over IPv6:", err)
	}
	f := startFRR(t, port, addresses...)
	distant := Peer{
		Address: addr("127.0.0.8"), Port: port, ASN: 64512, LocalAddress: addr("127.0.0.1"),
		Multihop: 2, Password: "correct-horse", ConnectRetry: 100 * time.Millisecond,
		Families: []Family{IPv4, IPv6},
		Export: Export{
			NextHop4: addr("192.0.2.1"), NextHop6: addr("2001:db8::1"), MED: ptr(uint32(30)), Prepend: 2,
			Communities: []Community{64512<<16 | 7}, LargeCommunities: []LargeCommunity{{64512, 8, 9}},
		},
	}
	secure := Peer{
		Address: addr("127.0.0.9"), Port: port, ASN: 64512, LocalAddress: addr("127.0.0.6"),
		TTLSecurity: true, ConnectRetry: 100 * time.Millisecond, Export: Export{NextHop4: addr("192.0.2.1")},
	}
	peers := []Peer{distant, secure}
	if over6 {
		peers = append(peers, Peer{
			Address: addr("::1"), Port: port, ASN: 64512, LocalAddress: addr("::1"), ConnectRetry: 100 * time.Millisecond,
			Export: Export{NextHop6: addr("2001:db8::6")},
		})
	}
	s := newSpeaker(t, ourASN, nil)
	setRoutes(t, s, ours()...)

	// Without its password a peer gets no session. (What FRR makes of packets that
	// came before it had set their least TTL is its own affair.)
	wrong := distant
	wrong.Password = "battery-staple"
	setPeers(t, s, wrong)
	counters := func() Counters { return peerStatus(t, s, distant.Address).Counters }
	kit.Eventually(t, "a dial", func() bool { return counters().Dials > 0 })
	if kit.Within(2*time.Second, func() bool { return counters().Sessions > 0 }) {
		t.Fatal("a session without the password")
	}

	setPeers(t, s, peers...)
	const path = "4200000100 4200000100 4200000100"
	f.want("127.0.0.1", "192.0.2.0/24", "IGP | "+path+" | 30 | 192.0.2.1 | 64500:100 64512:7 | 64512:8:9 4200000100:1:2")
	f.want("127.0.0.1", "198.51.100.128/25", "IGP | "+path+" | 30 | 192.0.2.1 | 64512:7 | 64512:8:9")
	f.want("127.0.0.1", "2001:db8:25::/48", "IGP | "+path+" | 30 | 2001:db8::1 | 64512:7 | 64512:8:9")
	f.want("127.0.0.6", "192.0.2.0/24", "IGP | 4200000100 | - | 192.0.2.1 | 64500:100 | 4200000100:1:2")
	f.want("127.0.0.6", "2001:db8:25::/48", "none")
	if over6 {
		f.want("::1", "2001:db8:25::/48", "IGP | 4200000100 | - | 2001:db8::6 |  | ")
	}

	setRoutes(t, s, ours(GracefulShutdown)[1:]...)
	f.want("127.0.0.1", "192.0.2.0/24", "none")
	f.want("127.0.0.1", "198.51.100.128/25", "IGP | "+path+" | 30 | 192.0.2.1 | 64512:7 65535:0 | 64512:8:9")
	setRoutes(t, s)
	for _, neighbor := range []string{"127.0.0.1", "127.0.0.6", "::1"} {
		for _, prefix := range []string{"192.0.2.0/24", "198.51.100.128/25", "2001:db8:25::/48"} {
			f.want(neighbor, prefix, "none")
		}
	}
	flush(t, s)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, p := range s.Status().Peers {
		if p.Counters.Sessions != 1 {
			t.Errorf("%s had %d sessions", p.Address, p.Counters.Sessions)
		}
	}
	out, err := f.ask("show bgp neighbors 127.0.0.1 json")
	if err != nil || !strings.Contains(string(out), `Cease\/Administrative Shutdown`) {
		t.Errorf("FRR thinks of the end of the session: %v\n%s", err, out)
	}
}
