package tunnel

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// told returns the state of a device after a plan was applied, as WireGuard does it.
func told(have wgtypes.Device, c wgtypes.Config) wgtypes.Device {
	if c.PrivateKey != nil {
		have.PrivateKey = Key(*c.PrivateKey).clamped().wg()
	}
	if c.ListenPort != nil {
		have.ListenPort = *c.ListenPort
	}
	have.Peers = slices.Clone(have.Peers)
	for _, p := range c.Peers {
		i := slices.IndexFunc(have.Peers, func(h wgtypes.Peer) bool { return h.PublicKey == p.PublicKey })
		if p.Remove && i >= 0 {
			have.Peers = slices.Delete(have.Peers, i, i+1)
		}
		if p.Remove || i < 0 && p.UpdateOnly {
			continue
		}
		if i < 0 {
			i = len(have.Peers)
			have.Peers = append(have.Peers, wgtypes.Peer{PublicKey: p.PublicKey})
		}
		h := &have.Peers[i]
		if p.PresharedKey != nil {
			h.PresharedKey = *p.PresharedKey
		}
		if p.PersistentKeepaliveInterval != nil {
			h.PersistentKeepaliveInterval = *p.PersistentKeepaliveInterval
		}
		if p.Endpoint != nil {
			h.Endpoint = p.Endpoint
		}
		if p.ReplaceAllowedIPs {
			h.AllowedIPs = nil
		}
		for _, n := range p.AllowedIPs { // a network has one owner: the last one that was assigned it
			for j := range have.Peers {
				have.Peers[j].AllowedIPs = slices.DeleteFunc(slices.Clone(have.Peers[j].AllowedIPs), func(o net.IPNet) bool { return o.String() == n.String() })
			}
			h.AllowedIPs = append(h.AllowedIPs, n)
		}
	}
	return have
}

// random returns settings with few distinct keys and networks, so that two of them have much in
// common.
func random(r *rand.Rand) Settings {
	s := Settings{PrivateKey: Key{byte(8 + 8*r.IntN(2))}, ListenPort: r.IntN(3)}
	owner := rand.New(rand.NewPCG(r.Uint64(), 0)).Perm(6)
	for i := range 6 {
		if r.IntN(3) == 0 {
			continue
		}
		p := Peer{PublicKey: PublicKey{byte(i + 1)}, Keepalive: time.Duration(r.IntN(2)) * time.Second}
		if r.IntN(2) == 0 {
			p.Preshared = Key{byte(r.IntN(3))}
		}
		for n := range owner[i] % 3 {
			p.AllowedIPs = append(p.AllowedIPs, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(owner[i]), byte(n), byte(r.IntN(2))}), 24))
		}
		s.Peers = append(s.Peers, p)
	}
	return s
}

// TestPlanReaches takes a device through settings: after each plan it is as wanted, the next plan
// is empty, and a peer that needed no change was not touched.
func TestPlanReaches(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	have := wgtypes.Device{}
	for range 2000 {
		want := random(r)
		endpoints := map[PublicKey]netip.AddrPort{}
		for _, p := range want.Peers {
			if r.IntN(2) == 0 {
				endpoints[p.PublicKey] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(3))}), 51820)
			}
		}
		c := plan(&have, want, endpoints)
		if c.ReplacePeers {
			t.Fatal("all peers are replaced: each session would end")
		}
		have = told(have, c)
		if c := plan(&have, want, endpoints); !empty(c) {
			t.Fatalf("the second plan is not empty: %s", changes(c))
		}
		if len(have.Peers) != len(want.Peers) || have.PrivateKey != want.PrivateKey.clamped().wg() || want.ListenPort != 0 && have.ListenPort != want.ListenPort {
			t.Fatalf("the device has %d peers and port %d, want %d and %d", len(have.Peers), have.ListenPort, len(want.Peers), want.ListenPort)
		}
		for _, w := range want.Peers {
			h := have.Peers[slices.IndexFunc(have.Peers, func(h wgtypes.Peer) bool { return h.PublicKey == wgtypes.Key(w.PublicKey) })]
			if !slices.Equal(networksOf(h), networks(w.AllowedIPs)) || h.PresharedKey != w.Preshared.wg() || h.PersistentKeepaliveInterval != w.Keepalive {
				t.Fatalf("peer %s is %+v, want %+v", w.PublicKey, h, w)
			}
			if e, ok := endpoints[w.PublicKey]; ok && endpointOf(h) != e {
				t.Fatalf("peer %s is at %s, want %s", w.PublicKey, endpointOf(h), e)
			}
		}
	}
}

// TestPlanSaysOnlyWhatDiffers changes one thing at a time.
func TestPlanSaysOnlyWhatDiffers(t *testing.T) {
	base := good()
	endpoint := netip.MustParseAddrPort("192.0.2.1:51820")
	have := told(wgtypes.Device{}, plan(&wgtypes.Device{}, base, map[PublicKey]netip.AddrPort{{1}: endpoint}))
	one := wgtypes.Key{1}
	for name, test := range map[string]struct {
		change func(*Settings)
		want   func(wgtypes.Config) bool
	}{
		"nothing":            {func(*Settings) {}, empty},
		"host bits":          {func(s *Settings) { s.Peers[0].AllowedIPs = prefixes("10.77.0.99/24", "10.77.0.0/24") }, empty},
		"order of the peers": {func(s *Settings) { slices.Reverse(s.Peers) }, empty},
		"any port":           {func(s *Settings) { s.ListenPort = 0 }, empty},
		"an endpoint's text": {func(s *Settings) { s.Peers[0].Endpoint = "elsewhere:1" }, empty}, // peerEndpoint decides
		"key": {func(s *Settings) { s.PrivateKey = Key{9} }, func(c wgtypes.Config) bool {
			return c.PrivateKey != nil && c.ListenPort == nil && len(c.Peers) == 0
		}},
		"keepalive": {func(s *Settings) { s.Peers[0].Keepalive = 0 }, func(c wgtypes.Config) bool {
			return len(c.Peers) == 1 && c.Peers[0].PublicKey == one && *c.Peers[0].PersistentKeepaliveInterval == 0 && c.Peers[0].UpdateOnly &&
				c.Peers[0].PresharedKey == nil && c.Peers[0].Endpoint == nil && !c.Peers[0].ReplaceAllowedIPs && c.PrivateKey == nil
		}},
		"preshared key": {func(s *Settings) { s.Peers[0].Preshared = Key{5} }, func(c wgtypes.Config) bool {
			return len(c.Peers) == 1 && *c.Peers[0].PresharedKey == wgtypes.Key{5} && !c.Peers[0].ReplaceAllowedIPs
		}},
		"no network left": {func(s *Settings) { s.Peers[0].AllowedIPs = nil }, func(c wgtypes.Config) bool {
			return len(c.Peers) == 1 && c.Peers[0].ReplaceAllowedIPs && len(c.Peers[0].AllowedIPs) == 0
		}},
		"a peer goes": {func(s *Settings) { s.Peers = s.Peers[1:] }, func(c wgtypes.Config) bool {
			return len(c.Peers) == 1 && c.Peers[0].Remove && c.Peers[0].PublicKey == one
		}},
		"a peer comes": {func(s *Settings) { s.Peers = append(s.Peers, Peer{PublicKey: PublicKey{4}}) }, func(c wgtypes.Config) bool {
			return len(c.Peers) == 1 && !c.Peers[0].UpdateOnly && c.Peers[0].PublicKey == wgtypes.Key{4}
		}},
	} {
		s := good()
		test.change(&s)
		if c := plan(&have, s, nil); !test.want(c) {
			t.Errorf("%s: the plan is %q", name, changes(c))
		}
	}
	roamed := have
	roamed.Peers = slices.Clone(have.Peers)
	roamed.Peers[0].Endpoint = net.UDPAddrFromAddrPort(netip.MustParseAddrPort("198.51.100.7:9"))
	if c := plan(&roamed, base, nil); !empty(c) {
		t.Errorf("a peer that roamed is called back: %s", changes(c))
	}
}

// A device stores a private key with its fixed bits set; the same key without them must not be set
// again and again.
func TestPlanOfAKeyThatIsNotClamped(t *testing.T) {
	key, err := ParseKey([]byte(exampleKey))
	if err != nil {
		t.Fatal(err)
	}
	if key.clamped() == key || key.clamped().PublicKey() != key.PublicKey() {
		t.Fatal("this key proves nothing")
	}
	want := Settings{PrivateKey: key}
	have := told(wgtypes.Device{}, plan(&wgtypes.Device{}, want, nil))
	if c := plan(&have, want, nil); !empty(c) {
		t.Errorf("the device is told again: %s", changes(c))
	}
}
