package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// state is the directory that lasts from one run to the next.
type state struct {
	dir     string
	lock    *os.File
	socket  string // the edge's control socket
	scratch string // a directory with a short path for the socket; "" if dir is short enough
}

// maxSocketPath is the longest path of a unix socket, in bytes (unix(7)).
const maxSocketPath = 107

// openState creates the directory and locks it, so that two runs can't share it.
func openState(dir string) (*state, error) {
	for _, sub := range []string{"", "edge", "core", "sent"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, err
		}
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		by, _ := os.ReadFile(lock.Name())
		return nil, errors.Join(
			fmt.Errorf("%s is in use by another run (process %s); stop that one, or name another directory with -state", dir, strings.TrimSpace(string(by))), lock.Close())
	}
	pid := fmt.Appendf(nil, "%d\n", os.Getpid())
	if err := errors.Join(lock.Truncate(0), writeAt0(lock, pid)); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s := &state{dir: dir, lock: lock, socket: filepath.Join(dir, "edge.sock")}
	if len(s.socket) > maxSocketPath {
		if s.scratch, err = os.MkdirTemp("", "anymx"); err != nil {
			return nil, errors.Join(err, lock.Close())
		}
		s.socket = filepath.Join(s.scratch, "edge.sock")
	}
	return s, nil
}

func writeAt0(f *os.File, text []byte) error {
	_, err := f.WriteAt(text, 0)
	return err
}

// close unlocks the directory.
func (s *state) close() error {
	err := s.lock.Close()
	if s.scratch != "" {
		err = errors.Join(err, os.RemoveAll(s.scratch))
	}
	return err
}

func (s *state) file(name string) string { return filepath.Join(s.dir, name) }

// configText is the config file that both programs read. Each run rewrites it, because the ports may
// differ.
const configText = `# Written by make run. docs/config.md describes all keys.
[node]
name      = "demo"
region    = "local"
hostname  = "mx.example.net"
state_dir = %q
control   = %q
metrics   = %q

[ingress]
listen   = [%q]
tls_cert = %q
tls_key  = %q

[[domain]]
name = "example.net"

[core]
addresses = [%q]

[spool]
disk_reserve = "64MiB"

# The embedded core, anymx-core.
[mailstore]
listen    = [%q]
directory = %q
`

// configure writes the config file and returns its name.
func (s *state) configure(p ports) (string, error) {
	name := s.file("anymx.toml")
	text := fmt.Appendf(nil, configText,
		s.file("edge"), s.socket, p.metrics.address(), p.smtp.address(), s.file("cert.pem"), s.file("key.pem"),
		p.core.address(), p.core.address(), s.file("core"))
	return name, os.WriteFile(name, text, 0o600)
}

// certify makes a certificate for loopback unless there is one that is valid for another day. It
// reports whether it made one.
func (s *state) certify(now time.Time) (bool, error) {
	certFile, keyFile := s.file("cert.pem"), s.file("key.pem")
	if pair, err := tls.LoadX509KeyPair(certFile, keyFile); err == nil && now.Add(24*time.Hour).Before(pair.Leaf.NotAfter) {
		return false, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return false, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return false, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "mx.example.net"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(0, 0, 90),
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     []string{"mx.example.net", "localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		// Clients trust the certificate itself as a root.
		IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return false, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return false, err
	}
	return true, errors.Join(
		writePEM(keyFile, "PRIVATE KEY", secret),
		writePEM(certFile, "CERTIFICATE", cert))
}

func writePEM(name, kind string, data []byte) error {
	var b bytes.Buffer
	if err := pem.Encode(&b, &pem.Block{Type: kind, Bytes: data}); err != nil {
		return err
	}
	return os.WriteFile(name, b.Bytes(), 0o600)
}
