package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"anymx/tests/lab"
	"anymx/tests/vm"
)

// plain is QEMU's own network instead of a lab: the machine has neither router nor tunnel and only
// reaches core, which listens on the host's loopback.
type plain struct {
	dir, smtp string
	pipe      string // the command that connects the guest to core
	core      *exec.Cmd
	done      chan struct{}
}

const plainConfig = `[node]
name = "plain"
region = "lab"
hostname = "mx-a.example.net"

[[domain]]
name = "example.net"

[core]
addresses = ["10.0.2.100:2525"]
backoff_max = "2s"

[queue]
retry = ["2s", "5s", "10s", "30s"]

[spool]
disk_reserve = "64MiB"
`

func newPlain(o options) (*plain, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if strings.ContainsAny(self, " '\"\\") {
		return nil, fmt.Errorf("QEMU can't run a program in %q", self)
	}
	dir, err := os.MkdirTemp("", "anymx-qemu")
	if err != nil {
		return nil, err
	}
	p := &plain{dir: dir, done: make(chan struct{})}
	core, err := free()
	if err == nil {
		p.smtp, err = free()
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	p.pipe = self + " pipe " + core
	file := filepath.Join(dir, "anymx.toml")
	text := fmt.Sprintf(lab.CoreConfig, filepath.Join(dir, "edge.sock"), core, filepath.Join(dir, "store"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	p.core = exec.Command(filepath.Join(o.bin, "anymx-core"), "-config", file)
	p.core.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.core.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	go func() {
		defer close(p.done)
		_ = p.core.Wait()
	}()
	return p, nil
}

// free returns a free port of the loopback interface.
func free() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func (p *plain) nic() (vm.NIC, error) {
	return vm.NIC{User: map[string]int{p.smtp: 25}, Services: map[string]string{"10.0.2.100:2525": p.pipe}}, nil
}

func (p *plain) enter(f func() error) error { return f() }
func (p *plain) files() map[string]string   { return map[string]string{"anymx.toml": plainConfig} }
func (p *plain) mailbox() string            { return filepath.Join(p.dir, "store", "mail", "example.net", "b") }

func (p *plain) reached(ctx context.Context) ([]string, bool) {
	conn, err := p.dial(ctx)
	if err != nil {
		return nil, false
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return nil, false
	}
	b := make([]byte, 3) // QEMU accepts the connection before the guest does
	if _, err := io.ReadFull(conn, b); err != nil || string(b) != "220" {
		return nil, false
	}
	return []string{"it answers on port 25, which is " + p.smtp + " here"}, true
}

func (p *plain) dial(ctx context.Context) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", p.smtp)
}

func (p *plain) routes(context.Context) (string, error) { return "", nil }
func (p *plain) part(context.Context) error             { return nil }
func (p *plain) meet(context.Context) error             { return nil }

func (p *plain) down(context.Context) error {
	_ = p.core.Process.Kill()
	<-p.done
	return os.RemoveAll(p.dir)
}

// pipe connects the guest to core: QEMU runs it for each connection, with the connection as
// standard input and output.
func pipe(address string) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	ended := make(chan error, 2)
	go func() {
		_, err := io.Copy(conn, os.Stdin)
		ended <- errors.Join(err, conn.(*net.TCPConn).CloseWrite())
	}()
	go func() {
		_, err := io.Copy(os.Stdout, conn)
		ended <- err
	}()
	return errors.Join(<-ended, <-ended)
}
