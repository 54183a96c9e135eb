package network

import (
	"fmt"
	"net/netip"
	"time"

	"anymx/edge/config"
	"anymx/edge/plumb"
	"anymx/edge/secret"
	"anymx/edge/tunnel"
)

// wants is what a config asks of the kernel beside the tunnel's device. Pure.
func wants(c *config.Config) []plumb.Want {
	var all []plumb.Want
	for _, address := range c.Anycast.Addresses {
		all = append(all, plumb.Service(address)...)
	}
	var sources []plumb.Source
	for _, s := range c.Egress.Sources {
		sources = append(sources, plumb.Source{Address: s.Address, Interface: s.Interface, Gateway: s.Gateway})
	}
	all = append(all, plumb.Sources(sources)...)
	if c.Tunnel == nil {
		return all
	}
	var behind []netip.Prefix
	for _, peer := range c.Tunnel.Peers {
		behind = append(behind, peer.AllowedIPs...)
	}
	return append(all, plumb.Tunnel(c.Tunnel.Interface, c.Tunnel.Address, behind)...)
}

// settings is what a config asks of the tunnel, with its keys read from their
// files.
func settings(t *config.Tunnel) (tunnel.Settings, error) {
	private, err := key("tunnel.private_key_file", t.PrivateKeyFile)
	if err != nil {
		return tunnel.Settings{}, err
	}
	s := tunnel.Settings{Addresses: t.Address, ListenPort: int(t.ListenPort), PrivateKey: private, MTU: t.MTU}
	for i, p := range t.Peers {
		peer := tunnel.Peer{
			PublicKey: tunnel.PublicKey(p.PublicKey), Endpoint: p.Endpoint,
			AllowedIPs: p.AllowedIPs, Keepalive: time.Duration(p.Keepalive),
		}
		if p.PresharedKeyFile != "" {
			if peer.Preshared, err = key(fmt.Sprintf("tunnel.peer[%d].preshared_key_file", i), p.PresharedKeyFile); err != nil {
				return tunnel.Settings{}, err
			}
		}
		s.Peers = append(s.Peers, peer)
	}
	return s, nil
}

// key reads the key in the file that a config names under the given config key.
func key(name, file string) (tunnel.Key, error) {
	text, err := secret.Read(file, tunnel.KeyText)
	if err != nil {
		return tunnel.Key{}, fmt.Errorf("%s: %w", name, err)
	}
	k, err := tunnel.ParseKey(text)
	if err != nil {
		return tunnel.Key{}, fmt.Errorf("%s: %s: %w", name, file, err)
	}
	return k, nil
}
