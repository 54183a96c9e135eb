package main

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// anymx is the node of this repository, without tunnel and routes: core is the sink.
type anymx struct {
	binary string // path of anymx-edge
}

func (a *anymx) name() string { return "anymx" }

func (a *anymx) check(context.Context) error {
	path, err := filepath.Abs(a.binary)
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("anymx-edge: %w (build it with make)", err)
	}
	a.binary = path
	return nil
}

func (a *anymx) describe() description {
	d := description{
		Title: "anymx",
		Settings: "defaults, with caps on connections above what the load opens, core = the sink " +
			"(16 connections, 1000 messages each)",
	}
	if version, err := exec.Command(a.binary, "-version").Output(); err == nil {
		d.Title += " " + strings.TrimSpace(string(version))
	}
	if info, err := buildinfo.ReadFile(a.binary); err == nil {
		d.Title += " (" + info.GoVersion + ")"
	}
	return d
}

func (a *anymx) start(ctx context.Context, p place) (*process, error) {
	metrics, err := freeAddress()
	if err != nil {
		return nil, err
	}
	config := fmt.Sprintf(`[node]
name = "bench"
region = "lab"
hostname = "mx.%[1]s"
state_dir = %[2]q
control = %[3]q
metrics = %[4]q

[ingress]
listen = [%[5]q]
max_message_size = "35MiB"
max_connections = 20000
max_connections_per_prefix = 20000
tls_cert = %[6]q
tls_key = %[7]q

[[domain]]
name = "%[1]s"
recipients = "any"

[core]
protocol = "smtp"
addresses = [%[8]q]
`, recipientDomain, filepath.Join(p.dir, "state"), filepath.Join(p.sockets, filepath.Base(p.dir)), metrics, p.address,
		p.cert, p.key, p.sink)
	file := filepath.Join(p.dir, "anymx.toml")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(p.dir, "state"), 0o700); err != nil {
		return nil, err
	}
	return startServer(ctx, p, a.binary, "-config", file)
}
