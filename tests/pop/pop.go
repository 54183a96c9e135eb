// Package pop runs the real programs on loopback for tests: anymx-edge, and
// anymx-core behind it, built once, each with its own state directory.
//
// What happens to the data: Start writes one config file that both programs
// read, starts them, and waits for their banners. Everything lies in a
// temporary directory of the test, and every process ends with the test, also
// when it fails.
package pop

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"anymx/edge/operate/control"
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
	edge      *Program
	core      *Program
}

// Options of Start. The zero Options is an edge with the embedded core.
type Options struct {
	Core   string // address of a core of the test's own; "": anymx-core
	Config string // more TOML, appended
	// CoreConfig replaces the keys of [core] but the addresses.
	CoreConfig string
	// Ingress are more keys of [ingress].
	Ingress string
	SMTP    string // address of ingress; "": a free one on loopback
	// Passed is the socket of ingress, which stays open between two runs of the
	// edge; nil: the edge listens itself.
	Passed *os.File
	// Disk puts the edge's state on a file system of its own with so many
	// octets, which wants root. 0: it is in the test's directory.
	Disk int64
}

// Start starts the programs and waits until they take mail.
func Start(t testing.TB, o Options) *PoP {
	t.Helper()
	p := &PoP{t: t, options: o, Dir: t.TempDir(), bin: Build(t), Core: o.Core}
	p.SMTP, p.mailstore = FreeAddress(t), FreeAddress(t)
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
	p.StartEdge()
	return p
}

// write writes the config file.
func (p *PoP) write() {
	p.t.Helper()
	text := fmt.Sprintf(config, filepath.Join(p.Dir, "edge"), p.Socket, p.SMTP, p.options.Ingress,
		p.Core, p.options.CoreConfig, p.mailstore, filepath.Join(p.Dir, "core"), p.options.Config)
	if err := os.WriteFile(p.config, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// Rewrite writes the config file with other keys of [ingress]. The edge takes
// them with its next start or reload.
func (p *PoP) Rewrite(ingress string) {
	p.t.Helper()
	p.options.Ingress = ingress
	p.write()
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

// StartEdge starts the edge, which is not running, and waits until it is in
// service: it greets, and has proven itself. The banner alone comes before the
// proof, and a node is not ready until then.
func (p *PoP) StartEdge() {
	p.t.Helper()
	p.LaunchEdge()
	p.edge.Await(p.SMTP)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		s, err := p.client.Status(p.t.Context())
		if err == nil && s.Ready.OK {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("the edge greets and is not ready: %v, %+v; it said:\n%s", err, s.Ready, p.edge.Tail(30))
		}
	}
}

// LaunchEdge starts the edge, which is not running, and waits until its control
// socket answers: it may be out of service.
func (p *PoP) LaunchEdge() {
	p.t.Helper()
	name, args := filepath.Join(p.bin, "anymx-edge"), []string{"-config", p.config}
	if p.options.Passed != nil {
		// As systemd does it (sd_listen_fds(3)): the process itself has to be named.
		args = append([]string{"-c", `LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@"`, name}, args...)
		name = "/bin/sh"
	}
	p.edge = run(p.t, p.options.Passed, name, args...)
	for deadline := time.Now().Add(time.Minute); ; {
		_, err := p.client.Status(p.t.Context())
		if err == nil {
			return
		}
		select {
		case <-p.edge.done:
			p.t.Fatalf("the edge has ended; it said:\n%s", p.edge.Tail(30))
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("the edge does not answer: %v; it said:\n%s", err, p.edge.Tail(30))
		}
	}
}

// StartCore is StartEdge for core.
func (p *PoP) StartCore() {
	p.t.Helper()
	p.core = Run(p.t, filepath.Join(p.bin, "anymx-core"), "-config", p.config)
	p.core.Await(p.Core)
}

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
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	client := p.Control()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		status, err := client.Status(ctx)
		if err == nil && status.Spool.Messages == 0 {
			return
		}
		select {
		case <-ctx.Done():
			p.t.Fatalf("queue is not empty after %s: %+v (%v)\nedge's log ends:\n%s", limit, status.Queue, err, p.edge.Tail(20))
		case <-tick.C:
		}
	}
}

// Program is one process of ours.
type Program struct {
	t    testing.TB
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// Run starts a program whose output goes to a file. It is killed at the end of
// the test, and if the test's own process dies.
func Run(t testing.TB, path string, args ...string) *Program {
	t.Helper()
	return run(t, nil, path, args...)
}

// run is Run with a file that the program has as its descriptor 3; nil: none.
func run(t testing.TB, passed *os.File, path string, args ...string) *Program {
	t.Helper()
	file, err := os.CreateTemp(t.TempDir(), filepath.Base(path)+"*.log")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	p := &Program{t: t, log: file.Name(), cmd: exec.Command(path, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = file, file
	if passed != nil {
		p.cmd.ExtraFiles = []*os.File{passed}
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // its state is in ProcessState
		close(p.done)
	}()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%s ends:\n%s", filepath.Base(path), p.Tail(30))
		}
	})
	return p
}

// PID is the process's.
func (p *Program) PID() int { return p.cmd.Process.Pid }

// Kill ends the process by SIGKILL and waits for it. It may have ended before.
func (p *Program) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Stop ends the process by SIGTERM and returns its exit code; it fails the
// test when that takes longer than limit.
func (p *Program) Stop(limit time.Duration) int {
	p.t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	return p.Wait(limit)
}

// Wait waits for the process to end, and returns its exit code; it fails the
// test when that takes longer than limit. A program that was told to end is
// killed by a second SIGTERM, such as Stop's.
func (p *Program) Wait(limit time.Duration) int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(limit):
		p.t.Fatalf("%s has not ended within %s; it said:\n%s", p.cmd.Path, limit, p.Tail(30))
	}
	return p.cmd.ProcessState.ExitCode()
}

// Signal sends a signal.
func (p *Program) Signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// Log is all that the program has written.
func (p *Program) Log() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Tail is the last n lines of Log.
func (p *Program) Tail(n int) string {
	lines := strings.Split(strings.TrimRight(p.Log(), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// Await waits for a banner at address, at most a minute.
func (p *Program) Await(address string) {
	p.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := greeted(address)
		if err == nil {
			return
		}
		select {
		case <-p.done:
			p.t.Fatalf("%s has ended; it said:\n%s", p.cmd.Path, p.Tail(30))
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("no banner at %s: %v; the program said:\n%s", address, err, p.Tail(30))
		}
	}
}

func greeted(address string) error {
	c, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	banner, err := bufio.NewReader(c).ReadString('\n')
	if err == nil && !strings.HasPrefix(banner, "220") {
		err = fmt.Errorf("banner %q", banner)
	}
	if err == nil {
		_, err = c.Write([]byte("QUIT\r\n"))
	}
	return err
}

// FreeAddress is a loopback address that nothing listens on at the moment. Its
// port lies below those that Linux gives to outgoing connections, so that it is
// still free when a program comes to listen on it, and comes back after a kill.
func FreeAddress(t testing.TB) string {
	t.Helper()
	const low, high = 10240, 32768
	for range 100 {
		port := low + rand.IntN(high-low)
		if _, given := ports.LoadOrStore(port, true); given {
			continue
		}
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no free port")
	return ""
}

// ports are those that FreeAddress has given: nobody may listen there yet.
var ports sync.Map

// linked is the directory that Build has made; "" if it was not called. It is
// read when all tests have ended.
var linked string

var build = sync.OnceValues(func() (string, error) {
	top, err := moduleRoot()
	if err != nil {
		return "", err
	}
	kept := filepath.Join(top, "bin", ".test")
	if err := os.MkdirAll(kept, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(kept, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock of %s: %w", kept, err)
	}
	// With the flags of the Makefile, also where tests run under the race detector, which
	// is linked with C: otherwise everything would be compiled a second time.
	// The tag lets a test set a program's clock (edge/service), and changes nothing else.
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-tags", "anymx_testclock", "-ldflags", "-s -w", "-o", kept, "./cmd/...")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Dir = top
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	if linked, err = os.MkdirTemp("", "anymx-bin"); err != nil {
		return "", err
	}
	if err := os.Chmod(linked, 0o755); err != nil { // tests run programs as other users
		return "", err
	}
	programs, err := os.ReadDir(filepath.Join(top, "cmd"))
	if err != nil {
		return "", err
	}
	for _, p := range programs {
		if err := link(filepath.Join(kept, p.Name()), filepath.Join(linked, p.Name())); err != nil {
			return "", err
		}
	}
	return linked, nil
})

// moduleRoot returns the folder of the go.mod file above the working directory, which
// for tests is their package's. Binaries built with -trimpath don't know their sources.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod in the working directory or above it")
		}
		dir = parent
	}
}

// link makes to the file that from is now, whatever becomes of from.
func link(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	in, err := os.Open(from) // on another file system
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// Build builds the programs, once for a test binary, and returns the directory
// that they are in. What was built stays in bin/.test, so that the next test
// binary has nothing to link: that costs many times what most tests take. The
// package's TestMain must call Main, which removes the directory.
func Build(t testing.TB) string {
	t.Helper()
	dir, err := Programs()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// Programs does what Build does, for a TestMain.
func Programs() (string, error) { return build() }

// Main runs a package's tests and removes what Build has made for them.
func Main(m *testing.M) int {
	code := m.Run()
	if linked != "" {
		_ = os.RemoveAll(linked)
	}
	return code
}
