package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// chasquid is Debian's chasquid. It is measured for its idle connections alone: it relays nothing here.
type chasquid struct {
	dir    string // where the package is unpacked, because it conflicts with Postfix's
	binary string
	about  string
}

func (c *chasquid) name() string { return "chasquid" }

// check unpacks the package.
func (c *chasquid) check(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "anymx-bench-chasquid-")
	if err != nil {
		return err
	}
	c.dir = dir
	get := exec.CommandContext(ctx, "apt-get", "-qq", "download", "chasquid")
	get.Dir = dir
	if err := runTool(get); err != nil {
		return err
	}
	found, err := filepath.Glob(filepath.Join(dir, "chasquid_*.deb"))
	if err != nil || len(found) != 1 {
		return errors.New("apt-get has not downloaded the package chasquid")
	}
	if err := runTool(exec.CommandContext(ctx, "dpkg-deb", "-x", found[0], dir)); err != nil {
		return err
	}
	c.binary = filepath.Join(dir, "usr/bin/chasquid")
	version, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(found[0]), "chasquid_"), "_")
	c.about = "chasquid " + version
	return nil
}

// remove removes the unpacked package.
func (c *chasquid) remove() error { return os.RemoveAll(c.dir) }

func (c *chasquid) describe() description { return description{Title: c.about, Settings: "defaults"} }

func (c *chasquid) start(ctx context.Context, p place) (*process, error) {
	config, certs := filepath.Join(p.dir, "etc"), filepath.Join(p.dir, "etc/certs/mx."+recipientDomain)
	for _, dir := range []string{certs, filepath.Join(config, "domains", recipientDomain)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(os.Symlink(p.cert, filepath.Join(certs, "fullchain.pem")), os.Symlink(p.key, filepath.Join(certs, "privkey.pem"))); err != nil {
		return nil, err
	}
	text := fmt.Sprintf("hostname: %q\nsmtp_address: %q\nsubmission_address: \"127.0.0.1:0\"\n"+
		"submission_over_tls_address: \"127.0.0.1:0\"\ndata_dir: %q\nmail_log_path: \"<syslog>\"\n",
		"mx."+recipientDomain, p.address, filepath.Join(p.dir, "data"))
	text = strings.ReplaceAll(text, "<syslog>", filepath.Join(p.dir, "mail.log"))
	if err := os.WriteFile(filepath.Join(config, "chasquid.conf"), []byte(text), 0o644); err != nil {
		return nil, err
	}
	return startServer(ctx, p, c.binary, "-config_dir", config, "-logfile", filepath.Join(p.dir, "chasquid.log"))
}
