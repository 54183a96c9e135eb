package main

import (
	"bytes"
	"cmp"
	"context"
	"debug/buildinfo"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"anymx/tests/kit"
)

// anymx is anymx-edge without tunnel and routes. Its core is the sink.
type anymx struct {
	binary string             // path of anymx-edge
	label  string             // which of several versions it is; "" if there is one
	config *template.Template // of its config, filled with configValues; nil means defaultConfig

	guarded   bool   // with the limits that it is shipped with
	smallDisk bool   // which its reserve has to fit
	metrics   string // address of the instance that was started last
}

func (a *anymx) name() string { return cmp.Or(a.label, "anymx") }

func (a *anymx) check(context.Context) error {
	path, err := filepath.Abs(a.binary)
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("anymx-edge: %w; build it with make", err)
	}
	a.binary = path
	return nil
}

// guard leaves its limits as they are shipped.
func (a *anymx) guard(small bool) { a.guarded, a.smallDisk = true, small }

// ready asks /readyz.
func (a *anymx) ready() bool {
	client := http.Client{Timeout: 5 * time.Second}
	answer, err := client.Get("http://" + a.metrics + "/readyz")
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	return answer.StatusCode == http.StatusOK
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
	if info, err := buildinfo.ReadFile(a.binary); err == nil && !strings.Contains(d.Title, info.GoVersion) {
		d.Title += " (" + info.GoVersion + ")"
	}
	return d
}

// configTemplate is the node's config. It has only the keys that a run needs, under names that any
// two versions which are compared must know; -old-config gives an older version its own names.
const configTemplate = `[node]
name = "bench"
region = "lab"
hostname = "mx.{{.Domain}}"
state_dir = {{printf "%q" .State}}
control = {{printf "%q" .Control}}
metrics = "{{.Metrics}}"

[ingress]
listen = ["{{.Listen}}"]
max_message_size = "35MiB"
{{if not .Guarded}}max_connections = 20000
max_connections_per_prefix = 20000
{{else}}max_connections = 5000
{{end}}tls_cert = {{printf "%q" .Cert}}
tls_key = {{printf "%q" .Key}}

[[domain]]
name = "{{.Domain}}"
recipients = "any"

[core]
protocol = "smtp"
addresses = ["{{.Core}}"]
{{if .SmallDisk}}
[spool]
disk_reserve = "100MiB"
{{end}}`

// defaultConfig is the config that every version gets unless the command line says otherwise.
var defaultConfig = template.Must(template.New("config").Parse(configTemplate))

// configValues fills the template.
type configValues struct {
	Domain  string // that mail is accepted for
	State   string // folder
	Control string // path of the control socket
	Metrics string // address
	Listen  string // address for SMTP
	Cert    string // PEM files
	Key     string
	Core    string // address to relay to

	Guarded, SmallDisk bool // see anymx
}

func (a *anymx) start(ctx context.Context, p place) (*process, error) {
	metrics, err := kit.FreeAddress()
	if err != nil {
		return nil, err
	}
	values := configValues{
		Domain: recipientDomain, State: filepath.Join(p.dir, "state"), Control: filepath.Join(p.sockets, filepath.Base(p.dir)),
		Metrics: metrics.String(), Listen: p.address, Cert: p.cert, Key: p.key, Core: p.sink,
		Guarded: a.guarded, SmallDisk: a.smallDisk,
	}
	a.metrics = values.Metrics
	if a.guarded {
		_, port, _ := net.SplitHostPort(p.address)
		values.Listen = "[::]:" + port
	}
	config := a.config
	if config == nil {
		config = defaultConfig
	}
	var text bytes.Buffer
	if err := config.Execute(&text, values); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	file := filepath.Join(p.dir, "anymx.toml")
	if err := os.WriteFile(file, text.Bytes(), 0o644); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(values.State, 0o700); err != nil {
		return nil, err
	}
	return startServer(ctx, p, a.binary, "-config", file)
}
