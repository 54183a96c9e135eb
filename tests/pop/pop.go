// Package pop runs the real programs on loopback for tests: anymx-edge, and
// anymx-core behind it, built once, each with its own state directory.
//
// What happens to the data: Start writes one config file that both programs
// read, starts them, and waits for their banners. Everything lies in a
// temporary directory of the test, and every process ends with the test, also
// when it fails.
package pop

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"anymx/edge/operate/control"
	"anymx/tests/kit"
)

// PoP is an edge and, unless the test brings its own, the embedded core.
type PoP struct {
	SMTP   string // address of ingress
	Core   string // address of core's SMTP
	Socket string // of the edge's control
	Dir    string // state of both programs

	t         testing.TB
	options   Options
	client    *control.Client
	bin       string
	config    string // file
	mailstore string // where the embedded core listens
	groupCore string // where that of the group listens
	edge      *Program
	core      *Program
}

// Options of Start. The zero Options is an edge with the embedded core.
type Options struct {
	Core string // address of a core of the test's own; "": anymx-core
	// Group is the name of a core group with an anymx-core of its own, which takes the mail of the domain
	// NAME.example. "": none.
	Group  string
	Config string // more TOML, appended
	// CoreConfig replaces the keys of [core] but the addresses.
	CoreConfig string
	// Ingress are more keys of [ingress].
	Ingress string
	SMTP    string // address of ingress; "": a free one on loopback
	// Passed is the socket of ingress, which stays open between two runs of the
	// edge; nil: the edge listens itself.
	Passed *os.File
	// Memory runs the edge in a memory cgroup of so many bytes, which wants root and version 1. 0: in
	// that of the test.
	Memory int64
	// Disk puts the edge's state on a file system of its own with so many
	// octets, which wants root. 0: it is in the test's directory.
	Disk int64
}

// Start starts the programs and waits until they take mail.
func Start(t testing.TB, o Options) *PoP {
	t.Helper()
	p := &PoP{t: t, options: o, Dir: t.TempDir(), bin: Build(t), Core: o.Core}
	p.SMTP, p.mailstore, p.groupCore = kit.MustFreeAddress(t), kit.MustFreeAddress(t), kit.MustFreeAddress(t)
	if o.SMTP != "" {
		p.SMTP = o.SMTP
	}
	if p.Core == "" {
		p.Core = p.mailstore
	}
	// A unix socket's path must be short, and a test's directory may not be.
	run, err := os.MkdirTemp("", "pop")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(run) })
	p.Socket = filepath.Join(run, "edge.sock")
	p.client = control.NewClient(p.Socket)
	t.Cleanup(p.client.Close)
	p.config = filepath.Join(p.Dir, "anymx.toml")
	if o.Disk > 0 {
		p.mount(o.Disk)
	}
	p.write()
	if o.Core == "" {
		p.StartCore()
	}
	if o.Group != "" {
		p.startGroupCore()
	}
	p.StartEdge()
	return p
}

// write writes the config file.
func (p *PoP) write() {
	p.t.Helper()
	p.WriteConfig(p.configWith(p.mailstore, "core"))
}

// configWith is the config file for an embedded core that listens on an address and keeps its mail in a
// directory below Dir.
func (p *PoP) configWith(mailstore, dir string) string {
	more := p.options.Config
	if name := p.options.Group; name != "" {
		more += fmt.Sprintf("[[domain]]\nname = \"%s.example\"\ncore = %q\n[core.%s]\naddresses = [%q]\n", name, name, name, p.groupCore)
	}
	return fmt.Sprintf(config, filepath.Join(p.Dir, "edge"), p.Socket, p.SMTP, p.options.Ingress,
		p.Core, p.options.CoreConfig, mailstore, filepath.Join(p.Dir, dir), more)
}

// Rewrite writes the config file with other keys of [ingress]. The edge takes
// them with its next start or reload.
func (p *PoP) Rewrite(ingress string) {
	p.t.Helper()
	p.options.Ingress = ingress
	p.write()
}

// Config returns the text of the config file.
func (p *PoP) Config() string {
	p.t.Helper()
	text, err := os.ReadFile(p.config)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(text)
}

// WriteConfig replaces the whole config file.
func (p *PoP) WriteConfig(text string) {
	p.t.Helper()
	if err := os.WriteFile(p.config, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// Reload has the edge read its config again.
func (p *PoP) Reload() {
	p.t.Helper()
	if _, err := p.client.Reload(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
}

const config = `[node]
name = "test1"
hostname = "mx.example.net"
state_dir = %q
control = %q
metrics = ""

[ingress]
listen = [%q]
max_connections_per_prefix = 5000
max_messages_per_connection = 100000
%s

[core]
addresses = [%q]
%s

[spool]
disk_reserve = "64MiB"

[[domain]]
name = "example.net"

[mailstore]
listen = [%q]
directory = %q

%s
`

// mount puts a small file system in memory where the edge's state will be.
func (p *PoP) mount(size int64) {
	p.t.Helper()
	dir := filepath.Join(p.Dir, "edge")
	if err := os.Mkdir(dir, 0o700); err != nil {
		p.t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			p.t.Error(err)
		}
	})
}

// memoryGroup makes a memory cgroup for the edge, which ends with the test, and returns the file to
// enter it by.
func (p *PoP) memoryGroup() string {
	p.t.Helper()
	dir := filepath.Join("/sys/fs/cgroup/memory", filepath.Base(filepath.Dir(p.Socket)))
	if err := os.Mkdir(dir, 0o755); err != nil {
		p.t.Skipf("memory cgroups of version 1 can't be made here: %v", err)
	}
	p.t.Cleanup(func() {
		kit.Eventually(p.t, "the memory cgroup can be removed", func() bool { return os.Remove(dir) == nil })
	})
	if err := os.WriteFile(filepath.Join(dir, "memory.limit_in_bytes"), fmt.Append(nil, p.options.Memory), 0); err != nil {
		p.t.Fatal(err)
	}
	return filepath.Join(dir, "cgroup.procs")
}

// StartEdge starts the edge, which is not running, and waits until it is in
// service: it greets, and has passed its self-test. The banner alone comes before the
// self-test, and a node is not ready until then.
func (p *PoP) StartEdge() {
	p.t.Helper()
	p.LaunchEdge()
	p.edge.Await(p.SMTP)
	p.edge.until(func(ctx context.Context) error {
		s, err := p.client.Status(ctx)
		if err == nil && !s.Ready.OK {
			err = fmt.Errorf("it greets, but is not in service: %+v", s.Ready)
		}
		return err
	})
}

// LaunchEdge starts the edge, which is not running, and waits until its control
// socket answers: it may be out of service.
func (p *PoP) LaunchEdge() {
	p.t.Helper()
	name, args := filepath.Join(p.bin, "anymx-edge"), []string{"-config", p.config}
	if p.options.Memory > 0 {
		group := p.memoryGroup()
		args = append([]string{"-c", `echo $$ >"$0" && exec "$@"`, group, name}, args...)
		name = "/bin/sh"
	}
	if p.options.Passed != nil {
		// As systemd does it (sd_listen_fds(3)): the process itself has to be named.
		args = append([]string{"-c", `LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@"`, name}, args...)
		name = "/bin/sh"
	}
	p.edge = run(p.t, p.options.Passed, name, args...)
	p.edge.until(func(ctx context.Context) error {
		_, err := p.client.Status(ctx)
		return err
	})
}

// StartCore is StartEdge for core.
func (p *PoP) StartCore() {
	p.t.Helper()
	p.core = Run(p.t, filepath.Join(p.bin, "anymx-core"), "-config", p.config)
	p.core.Await(p.Core)
}

// startGroupCore is StartCore for the core of the group.
func (p *PoP) startGroupCore() {
	p.t.Helper()
	file := filepath.Join(p.Dir, "group.toml")
	if err := os.WriteFile(file, []byte(p.configWith(p.groupCore, "group")), 0o600); err != nil {
		p.t.Fatal(err)
	}
	Run(p.t, filepath.Join(p.bin, "anymx-core"), "-config", file).Await(p.groupCore)
}

// GroupMaildirs is where the core of the group keeps mail.
func (p *PoP) GroupMaildirs() string { return filepath.Join(p.Dir, "group", "mail") }

// Edge and EmbeddedCore are the processes.
func (p *PoP) Edge() *Program { return p.edge }

// EmbeddedCore is nil if the test brought its own.
func (p *PoP) EmbeddedCore() *Program { return p.core }

// Control talks to the edge.
func (p *PoP) Control() *control.Client { return p.client }

// Maildirs is where core keeps mail.
func (p *PoP) Maildirs() string { return filepath.Join(p.Dir, "core", "mail") }

// AwaitEmpty waits until the edge's queue is empty, at most limit.
func (p *PoP) AwaitEmpty(limit time.Duration) {
	p.t.Helper()
	err := kit.Poll(p.t.Context(), limit, func(ctx context.Context) error {
		status, err := p.client.Status(ctx)
		if err == nil && status.Spool.Messages > 0 {
			err = fmt.Errorf("the queue is not empty: %+v", status.Queue)
		}
		return err
	})
	if err != nil {
		p.t.Fatalf("%v\nedge's log ends:\n%s", err, p.edge.Tail(20))
	}
}
