package tunnel

import (
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

func TestWrite(t *testing.T) {
	key, port, keepalive, none := wgtypes.Key{0xab, 31: 0x01}, 51820, 25*time.Second, time.Duration(0)
	_, network, _ := net.ParseCIDR("10.77.0.0/24")
	_, six, _ := net.ParseCIDR("fd77::/64")
	hex := "ab" + strings.Repeat("00", 30) + "01"
	got := write(wgtypes.Config{
		PrivateKey: &key, ListenPort: &port,
		Peers: []wgtypes.PeerConfig{
			{PublicKey: key, Remove: true, UpdateOnly: true},
			{
				PublicKey: key, PresharedKey: &key, PersistentKeepaliveInterval: &keepalive, ReplaceAllowedIPs: true,
				Endpoint:   net.UDPAddrFromAddrPort(netip.MustParseAddrPort("[2001:db8::1]:51820")),
				AllowedIPs: []net.IPNet{*network, *six},
			},
			{PublicKey: key, UpdateOnly: true, PersistentKeepaliveInterval: &none},
		},
	})
	want := "private_key=" + hex + "\nlisten_port=51820\n" +
		"public_key=" + hex + "\nupdate_only=true\nremove=true\n" +
		"public_key=" + hex + "\npreshared_key=" + hex + "\nendpoint=[2001:db8::1]:51820\n" +
		"replace_allowed_ips=true\nallowed_ip=10.77.0.0/24\nallowed_ip=fd77::/64\npersistent_keepalive_interval=25\n" +
		"public_key=" + hex + "\nupdate_only=true\npersistent_keepalive_interval=0\n"
	if got != want {
		t.Errorf("wrote\n%s\nwant\n%s", got, want)
	}
	if got := write(wgtypes.Config{}); got != "" {
		t.Errorf("nothing is written as %q", got)
	}
}

// said is the answer of wireguard-go for a device with two peers.
var said = "private_key=" + strings.Repeat("01", 32) + "\nlisten_port=51820\nfwmark=7\n" +
	"public_key=" + strings.Repeat("02", 32) + "\npreshared_key=" + strings.Repeat("00", 32) + "\nprotocol_version=1\n" +
	"last_handshake_time_sec=0\nlast_handshake_time_nsec=0\ntx_bytes=148\nrx_bytes=0\npersistent_keepalive_interval=25\n" +
	"public_key=" + strings.Repeat("03", 32) + "\npreshared_key=" + strings.Repeat("04", 32) + "\nprotocol_version=1\n" +
	"endpoint=192.0.2.1:51820\nlast_handshake_time_sec=1700000000\nlast_handshake_time_nsec=5\ntx_bytes=1\nrx_bytes=2\n" +
	"persistent_keepalive_interval=0\nallowed_ip=10.77.0.0/24\nallowed_ip=fd77::/64\n"

func TestRead(t *testing.T) {
	d, err := read(said)
	if err != nil {
		t.Fatal(err)
	}
	var private Key
	for i := range private {
		private[i] = 1
	}
	if d.PrivateKey != private.wg() || PublicKey(d.PublicKey) != private.PublicKey() || d.ListenPort != 51820 || len(d.Peers) != 2 {
		t.Fatalf("read %d peers, port %d", len(d.Peers), d.ListenPort)
	}
	one, two := d.Peers[0], d.Peers[1]
	if one.PublicKey[0] != 2 || one.Endpoint != nil || !one.LastHandshakeTime.IsZero() || one.TransmitBytes != 148 ||
		one.PersistentKeepaliveInterval != 25*time.Second || len(one.AllowedIPs) != 0 {
		t.Errorf("the first peer is %+v", one)
	}
	if two.PresharedKey[0] != 4 || endpointOf(two).String() != "192.0.2.1:51820" || two.LastHandshakeTime.UnixNano() != 1700000000_000000005 ||
		two.TransmitBytes != 1 || two.ReceiveBytes != 2 || !reflect.DeepEqual(networksOf(two), prefixes("10.77.0.0/24", "fd77::/64")) {
		t.Errorf("the second peer is %+v", two)
	}
}

func TestReadRefuses(t *testing.T) {
	peer := "public_key=" + strings.Repeat("02", 32) + "\n"
	for _, text := range []string{
		"private_key=0g\n", "private_key=01\n", "listen_port=x\n", "public_key=\n",
		peer + "preshared_key=zz\n", peer + "endpoint=here\n", peer + "tx_bytes=-\n", peer + "rx_bytes=\n",
		peer + "last_handshake_time_sec=a\n", peer + "last_handshake_time_nsec=a\n",
		peer + "persistent_keepalive_interval=99999999999\n", peer + "allowed_ip=10.0.0.0\n",
	} {
		if _, err := read(text); err == nil {
			t.Errorf("%q is read", text)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(said)
	f.Add("public_key=\n\n=\nallowed_ip=::/0\n")
	f.Fuzz(func(t *testing.T, text string) {
		if d, err := read(text); err == nil {
			plan(d, Settings{}, nil)
			report(time.Now(), d, Settings{}, nil, nil)
		}
	})
}
