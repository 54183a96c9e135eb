package tunnel

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// wireguard-go is configured in the lines of WireGuard's cross-platform interface: key=value, the
// device's first, then each peer's after its public_key. These lines contain keys: they are never
// logged.

// write formats a plan in those lines.
func write(c wgtypes.Config) string {
	var b strings.Builder
	line := func(key, value string) { b.WriteString(key + "=" + value + "\n") }

	if c.PrivateKey != nil {
		line("private_key", hex.EncodeToString(c.PrivateKey[:]))
	}
	if c.ListenPort != nil {
		line("listen_port", strconv.Itoa(*c.ListenPort))
	}
	for _, p := range c.Peers {
		line("public_key", hex.EncodeToString(p.PublicKey[:]))
		if p.UpdateOnly {
			line("update_only", "true")
		}
		if p.Remove {
			line("remove", "true")
			continue
		}
		if p.PresharedKey != nil {
			line("preshared_key", hex.EncodeToString(p.PresharedKey[:]))
		}
		if p.Endpoint != nil {
			line("endpoint", p.Endpoint.String())
		}
		if p.ReplaceAllowedIPs {
			line("replace_allowed_ips", "true")
		}
		for _, n := range p.AllowedIPs {
			line("allowed_ip", n.String())
		}
		// Last: a new keepalive is sent at once, and needs the rest.
		if p.PersistentKeepaliveInterval != nil {
			line("persistent_keepalive_interval", strconv.Itoa(int(*p.PersistentKeepaliveInterval/time.Second)))
		}
	}
	return b.String()
}

// read parses a device's state from those lines. An unknown key is ignored, an invalid value is an
// error that does not show it.
func read(text string) (*wgtypes.Device, error) {
	d := &wgtypes.Device{Type: wgtypes.Userspace}
	var handshake struct{ sec, nsec int64 }
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		var err error
		switch key {
		case "private_key":
			err = readKey(&d.PrivateKey, value)
			d.PublicKey = wgtypes.Key(Key(d.PrivateKey).PublicKey())
		case "listen_port":
			d.ListenPort, err = strconv.Atoi(value)
		case "public_key":
			d.Peers = append(d.Peers, wgtypes.Peer{})
			err = readKey(&d.Peers[len(d.Peers)-1].PublicKey, value)
		default:
			if len(d.Peers) == 0 {
				continue
			}
			p := &d.Peers[len(d.Peers)-1]
			switch key {
			case "last_handshake_time_sec":
				handshake.sec, err = strconv.ParseInt(value, 10, 64)
			case "last_handshake_time_nsec": // always after the seconds
				handshake.nsec, err = strconv.ParseInt(value, 10, 64)
				if handshake.sec != 0 || handshake.nsec != 0 {
					p.LastHandshakeTime = time.Unix(handshake.sec, handshake.nsec)
				}
			default:
				err = readPeer(p, key, value)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("wireguard-go: invalid value of %s", key)
		}
	}
	return d, nil
}

// readPeer parses one line of a peer.
func readPeer(p *wgtypes.Peer, key, value string) (err error) {
	switch key {
	case "preshared_key":
		err = readKey(&p.PresharedKey, value)
	case "endpoint":
		var endpoint netip.AddrPort
		endpoint, err = netip.ParseAddrPort(value)
		p.Endpoint = net.UDPAddrFromAddrPort(endpoint)
	case "tx_bytes":
		p.TransmitBytes, err = strconv.ParseInt(value, 10, 64)
	case "rx_bytes":
		p.ReceiveBytes, err = strconv.ParseInt(value, 10, 64)
	case "persistent_keepalive_interval":
		var seconds int64
		seconds, err = strconv.ParseInt(value, 10, 32)
		p.PersistentKeepaliveInterval = time.Duration(seconds) * time.Second
	case "allowed_ip":
		var network *net.IPNet
		if _, network, err = net.ParseCIDR(value); err == nil {
			p.AllowedIPs = append(p.AllowedIPs, *network)
		}
	}
	return err
}

// readKey parses the hexadecimal of a key.
func readKey(into *wgtypes.Key, value string) error {
	raw, err := hex.DecodeString(value)
	if err != nil || len(raw) != len(into) {
		return fmt.Errorf("invalid key")
	}
	*into = wgtypes.Key(raw)
	return nil
}
