// Package certificate loads and holds the certificate for STARTTLS.
package certificate

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Certificate is the certificate for STARTTLS. A load that fails keeps the
// certificate before it: an expired one is better than none, and a node must
// not fall back to plaintext because a file was half written. Before the first
// good load there is none, and STARTTLS is not offered.
type Certificate struct {
	current atomic.Pointer[tls.Certificate]
	problem atomic.Pointer[string] // of the last load; nil: it was good
	log     *slog.Logger
}

// Read reads and checks a pair of files.
func Read(certFile, keyFile string) (tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err == nil && pair.Leaf == nil {
		pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0])
	}
	if err != nil {
		return pair, fmt.Errorf("certificate %s, %s: %w", certFile, keyFile, err)
	}
	return pair, nil
}

// New creates a certificate that is not loaded yet.
func New(log *slog.Logger) *Certificate { return &Certificate{log: log} }

// Load reads the pair of files and puts the certificate in use.
func (c *Certificate) Load(certFile, keyFile string) error {
	pair, err := Read(certFile, keyFile)
	if err != nil {
		text := err.Error()
		c.problem.Store(&text)
		return err
	}
	before := c.current.Swap(&pair)
	c.problem.Store(nil)
	if now := time.Now(); now.After(pair.Leaf.NotAfter) && (before == nil || !before.Leaf.Equal(pair.Leaf)) {
		c.log.Error("the certificate has expired; replace the file, it is reloaded within 2 s",
			"file", certFile, "expired", pair.Leaf.NotAfter)
	}
	return nil
}

// Forget drops the certificate, for a config that names none.
func (c *Certificate) Forget() {
	c.current.Store(nil)
	c.problem.Store(nil)
}

// Leaf returns the certificate itself; nil if there is none.
func (c *Certificate) Leaf() *x509.Certificate {
	if pair := c.current.Load(); pair != nil {
		return pair.Leaf
	}
	return nil
}

// Problem returns why the last load failed; "": it did not.
func (c *Certificate) Problem() string {
	if problem := c.problem.Load(); problem != nil {
		return *problem
	}
	return ""
}

// Config returns the TLS config of ingress; nil if there is no certificate. Each handshake looks up
// the certificate, so that a new one takes effect at once.
func (c *Certificate) Config(minVersion string) *tls.Config {
	if c.current.Load() == nil {
		return nil
	}
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

// The metric of a certificate:
//
//	anymx_tls_certificate_expiry_timestamp_seconds   end of the certificate in use; absent without one
var descExpiry = prometheus.NewDesc("anymx_tls_certificate_expiry_timestamp_seconds",
	"When the certificate that STARTTLS shows expires; absent while there is none.", nil, nil)

// Describe sends the description of the metric.
func (*Certificate) Describe(ch chan<- *prometheus.Desc) { ch <- descExpiry }

// Collect sends its value.
func (c *Certificate) Collect(ch chan<- prometheus.Metric) {
	if leaf := c.Leaf(); leaf != nil {
		ch <- prometheus.MustNewConstMetric(descExpiry, prometheus.GaugeValue, float64(leaf.NotAfter.Unix()))
	}
}
