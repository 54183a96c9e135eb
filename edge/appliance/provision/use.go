package provision

import (
	"fmt"
	"slices"
	"strings"

	"anymx/edge/config"
)

// purpose is what a file is for.
type purpose int

const (
	certificate purpose = iota
	certificateKey
	recipients
	prefixList
	wireguardKey
	shieldKey
	password
)

// use is one key of a config that names a file or a credential.
type use struct {
	key    string // "tunnel.peer[1].preshared_key_file"
	path   string // as in the config
	why    purpose
	domain string // of recipients
}

// usesOf returns the files that a config names, in the order of the structs. A test checks that
// every key of package config that names one is included.
func usesOf(c *config.Config) []use {
	var all []use
	add := func(key, path string, why purpose) {
		if path != "" {
			all = append(all, use{key: key, path: path, why: why})
		}
	}
	add("ingress.tls_cert", c.Ingress.TLSCert, certificate)
	add("ingress.tls_key", c.Ingress.TLSKey, certificateKey)
	for i, d := range c.Domains {
		if file, ok := strings.CutPrefix(d.Recipients, config.RecipientsFile); ok {
			all = append(all, use{key: fmt.Sprintf("domain[%d].recipients", i), path: file, why: recipients, domain: d.Name})
		}
	}
	if t := c.Tunnel; t != nil {
		add("tunnel.private_key_file", t.PrivateKeyFile, wireguardKey)
		for i, p := range t.Peers {
			add(fmt.Sprintf("tunnel.peer[%d].preshared_key_file", i), p.PresharedKeyFile, wireguardKey)
		}
	}
	if b := c.BGP; b != nil {
		for i, p := range b.Peers {
			add(fmt.Sprintf("bgp.peer[%d].password_file", i), p.PasswordFile, password)
		}
	}
	if s := c.Shield; s != nil {
		add("shield.key_file", s.KeyFile, shieldKey)
		add("shield.block_file", s.BlockFile, prefixList)
		add("shield.allow_file", s.AllowFile, prefixList)
	}
	return all
}

// most returns the size limit of the file, in bytes.
func (u use) most() int64 {
	if u.secret() {
		return maxSecret
	}
	return maxFile
}

// secret reports whether only its program may read it.
func (u use) secret() bool {
	return u.why == wireguardKey || u.why == shieldKey || u.why == password
}

// program returns the program that reads it, which is also its user's group.
func (u use) program() string {
	switch u.why {
	case wireguardKey, shieldKey, prefixList:
		return "anymx-net"
	case password:
		return "anymx-bgp"
	}
	return "anymx-edge"
}

// prefix returns the common prefix of the credentials that its unit imports.
func (u use) prefix() string {
	switch u.why {
	case wireguardKey:
		return "wg."
	case shieldKey:
		return "shield."
	}
	return "bgp."
}

// prefixes are the prefixes of all units. A bundle can't provide other credentials, because some of
// systemd's names set passwords.
var prefixes = []string{"wg.", "shield.", "bgp."}

// imported reports whether a unit of a node reads a credential of this name.
func imported(name string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}
