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

// keys remembers, by the name of its file, each key that was read well.
type keys struct{ last service.Last[tunnel.Key] }

// settings is what a config asks of the tunnel, with its keys read from their
// files. A peer whose preshared key can't be read is not among its peers, as it is
// never spoken to without, and costs itself alone (service.AloneError, by the config's
// key). Where a key is known from before it stays in use, and the error says so.
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

// read reads a key, or recalls it. Its error is a service.AloneError.
func (k *keys) read(name, file string) (value tunnel.Key, known bool, err error) {
	value, known, err = k.last.Read(file, func() (tunnel.Key, error) { return key(name, file) })
	if err != nil {
		err = &service.AloneError{Name: name, Err: err}
	}
	return value, known, err
}

// keyFiles are the files of a tunnel's keys.
func keyFiles(t *config.Tunnel) []string {
	files := []string{t.PrivateKeyFile}
	for _, p := range t.Peers {
		if p.PresharedKeyFile != "" {
			files = append(files, p.PresharedKeyFile)
		}
	}
	return files
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
