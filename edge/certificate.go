package edge

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
)

// certificate is the one that STARTTLS shows. A reload that fails keeps the
// certificate before it: an expired one is better than none, and a node must
// not fall back to plaintext because a file was half written.
type certificate struct {
	current atomic.Pointer[tls.Certificate]
	problem atomic.Pointer[string] // of the last load; nil: it was good
}

// load reads and checks the pair of files.
func (c *certificate) load(certFile, keyFile string) error {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err == nil && pair.Leaf == nil {
		pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0])
	}
	if err != nil {
		err = fmt.Errorf("certificate %s, %s: %w", certFile, keyFile, err)
		text := err.Error()
		c.problem.Store(&text)
		return err
	}
	c.current.Store(&pair)
	c.problem.Store(nil)
	return nil
}

// leaf is the certificate itself; nil if there is none.
func (c *certificate) leaf() *x509.Certificate {
	if pair := c.current.Load(); pair != nil {
		return pair.Leaf
	}
	return nil
}

// config is the TLS of ingress. The certificate is looked up at each handshake,
// so that a new one needs nothing else.
func (c *certificate) config(minVersion string) *tls.Config {
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if pair := c.current.Load(); pair != nil {
				return pair, nil
			}
			return nil, errors.New("no certificate")
		},
	}
	if minVersion == "1.3" {
		cfg.MinVersion = tls.VersionTLS13
	}
	return cfg
}
