package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"anymx/tests/kit"
)

// r2Config gives PoP b one session for both address families, with TTL security.
const r2Config = `
hostname r2
bgp community-list standard graceful seq 5 permit 65535:0
route-map from-pop permit 10
 match community graceful
 set local-preference 0
route-map from-pop permit 20
router bgp 64502
 bgp router-id 10.64.12.2
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 neighbor 198.51.100.130 remote-as 64512
 neighbor 198.51.100.130 timers 3 9
 neighbor 198.51.100.130 timers connect 1
 neighbor 198.51.100.130 ttl-security hops 1
 neighbor 10.64.12.1 remote-as 64501
 neighbor 10.64.12.1 timers 3 9
 neighbor 10.64.12.1 timers connect 1
 neighbor 2001:db8:12::1 remote-as 64501
 neighbor 2001:db8:12::1 timers 3 9
 neighbor 2001:db8:12::1 timers connect 1
 address-family ipv4 unicast
  redistribute connected
  neighbor 198.51.100.130 activate
  neighbor 198.51.100.130 route-map from-pop in
  neighbor 10.64.12.1 activate
 exit-address-family
 address-family ipv6 unicast
  redistribute connected
  neighbor 198.51.100.130 activate
  neighbor 198.51.100.130 route-map from-pop in
  neighbor 2001:db8:12::1 activate
 exit-address-family
`

// FRR is a router that runs zebra, which manages the kernel's routes, and bgpd.
type FRR struct {
	Namespace   *Namespace
	Zebra, BGPd *kit.Process
	Routes      *Watch // of the router's kernel
	dir         string
}

// startFRR runs FRR with a config and waits until it answers.
func (l *Lab) startFRR(ctx context.Context, n *Namespace, config string) (*FRR, error) {
	f := &FRR{Namespace: n, dir: l.file("frr")}
	owner, err := user.Lookup("frr") // from the Debian package
	if err != nil {
		return nil, err
	}
	uid, err := strconv.Atoi(owner.Uid)
	if err := errors.Join(err, os.Mkdir(f.dir, 0o755), os.Chown(f.dir, uid, -1)); err != nil {
		return nil, err
	}
	file := filepath.Join(f.dir, "frr.conf")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		return nil, err
	}
	daemon := func(name string, more ...string) (*kit.Process, error) {
		return n.start(name, l.log(name), append([]string{lookUp(name), "-f", file,
			"--vty_socket", f.dir, "-z", filepath.Join(f.dir, "zserv.api"), "-i", filepath.Join(f.dir, name+".pid"),
			"-P", "0", "--log", "stdout"}, more...)...)
	}
	if f.Zebra, err = daemon("zebra"); err != nil {
		return nil, err
	}
	if err := f.Zebra.Await(ctx, 20*time.Second, func(context.Context) error {
		_, err := os.Stat(filepath.Join(f.dir, "zserv.api"))
		return err
	}); err != nil {
		return nil, err
	}
	if f.BGPd, err = daemon("bgpd"); err != nil {
		return nil, err
	}
	if f.Routes, err = n.Watch(); err != nil {
		return f, err
	}
	return f, f.BGPd.Await(ctx, 20*time.Second, func(ctx context.Context) error {
		_, err := f.Ask(ctx, "show bgp summary json")
		return err
	})
}

// Ask returns what vtysh prints for a command.
func (f *FRR) Ask(ctx context.Context, command string) (string, error) {
	return f.Namespace.Output(ctx, lookUp("vtysh"), "--vty_socket", f.dir, "-c", command)
}

// FRRPath is one path to a prefix, as FRR shows it.
type FRRPath struct {
	Valid  bool
	Best   struct{ Overall bool } `json:"bestpath"`
	MED    uint32                 `json:"metric"`
	ASPath struct {
		String string
	} `json:"aspath"`
	LocalPref uint32 `json:"locPrf"`
	Community struct {
		String string
	}
	LargeCommunity struct {
		String string
	}
	Peer struct {
		PeerID string `json:"peerId"`
	}
	NextHops []struct {
		IP   string
		Used bool
	}
}

// Paths returns the paths to a prefix.
func (f *FRR) Paths(ctx context.Context, prefix string) ([]FRRPath, error) {
	family := "ipv4"
	if prefix == Prefix6 {
		family = "ipv6"
	}
	text, err := f.Ask(ctx, fmt.Sprintf("show bgp %s unicast %s json", family, prefix))
	if err != nil {
		return nil, err
	}
	var all struct{ Paths []FRRPath }
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return nil, fmt.Errorf("FRR's answer %.200q: %w", text, err)
	}
	return all.Paths, nil
}
