package network

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"anymx/edge/config"
	"anymx/edge/secret"
	"anymx/edge/service"
	"anymx/edge/uplink/plumb"
	"anymx/edge/uplink/tunnel"
)

// wants returns what a config asks of the kernel besides the tunnel's device. Pure.
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

// keys remembers, by file name, each key that was read successfully.
type keys struct{ last service.Last[tunnel.Key] }

// settings returns what a config asks of the tunnel, with its keys read from their files. A peer
// whose preshared key can't be read is left out: it must not be contacted without it, and affects
// no other (service.AloneError, by the config's key). A key that was read before stays in use, and
// the error says so.
func (k *keys) settings(t *config.Tunnel) (tunnel.Settings, error) {
	private, known, err := k.read("tunnel.private_key_file", t.PrivateKeyFile)
	if !known {
		return tunnel.Settings{}, err
	}
	errs := []error{err}
	s := tunnel.Settings{Addresses: t.Address, ListenPort: int(t.ListenPort), PrivateKey: private, MTU: t.MTU}
	for i, p := range t.Peers {
		peer := tunnel.Peer{
			PublicKey: tunnel.PublicKey(p.PublicKey), Endpoint: p.Endpoint,
			AllowedIPs: p.AllowedIPs, Keepalive: time.Duration(p.Keepalive),
		}
		if p.PresharedKeyFile != "" {
			var known bool
			peer.Preshared, known, err = k.read(fmt.Sprintf("tunnel.peer[%d].preshared_key_file", i), p.PresharedKeyFile)
			errs = append(errs, err)
			if !known {
				continue
			}
		}
		s.Peers = append(s.Peers, peer)
	}
	return s, errors.Join(errs...)
}

// read reads a key, or returns the remembered one. Its error is a service.AloneError.
func (k *keys) read(name, file string) (value tunnel.Key, known bool, err error) {
	value, known, err = k.last.Read(file, func() (tunnel.Key, error) { return key(name, file) })
	if err != nil {
		err = &service.AloneError{Name: name, Err: err}
	}
	return value, known, err
}

// keyFiles returns the files of a tunnel's keys.
func keyFiles(t *config.Tunnel) []string {
	files := []string{t.PrivateKeyFile}
	for _, p := range t.Peers {
		if p.PresharedKeyFile != "" {
			files = append(files, p.PresharedKeyFile)
		}
	}
	return files
}

// key reads the key from the file named by the given config key.
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
