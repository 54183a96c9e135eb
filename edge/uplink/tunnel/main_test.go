package tunnel

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"anymx/tests/kit"
)

// child, in the environment, makes this program the process that holds a tunnel, so that a test can
// kill it.
const child = "ANYMX_TUNNEL_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(child) != "" {
		if err := holdTunnel(); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(kit.Run(m, kit.Leaks{Files: true}))
}

// orders are the settings as the child reads them. They hold keys in plain text.
type orders struct {
	Private, Preshared, Public []byte
	Port                       int
	Endpoint                   string
	Addresses, Allowed         []netip.Prefix
}

// holdTunnel runs the child: it holds a tunnel until it is killed, in the network namespace in
// which it was started.
func holdTunnel() error {
	var o orders
	if err := json.NewDecoder(os.Stdin).Decode(&o); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	t, err := Open(Options{Interface: "wg-core", Implementation: Userspace, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	s := Settings{
		PrivateKey: Key(o.Private), ListenPort: o.Port, Addresses: o.Addresses,
		Peers: []Peer{{
			PublicKey: PublicKey(o.Public), Preshared: Key(o.Preshared), Endpoint: o.Endpoint,
			AllowedIPs: o.Allowed, Keepalive: 25 * time.Second,
		}},
	}
	if err := t.Apply(ctx, s); err != nil {
		return err
	}
	fmt.Println("ready", t.Status().MTU)
	if err := t.Run(ctx); err != nil {
		return err
	}
	return t.Close()
}

// process is a child process.
type process struct {
	*exec.Cmd
	t    testing.TB
	done bool
}

// start starts a child with the settings of one peer, as a user with only CAP_NET_ADMIN if asUser
// is not 0.
func (h *host) start(s Settings, asUser uint32) *process {
	h.t.Helper()
	peer := s.Peers[0]
	input, err := json.Marshal(orders{
		Private: s.PrivateKey[:], Preshared: peer.Preshared[:], Public: peer.PublicKey[:], Port: s.ListenPort,
		Endpoint: peer.Endpoint, Addresses: s.Addresses, Allowed: peer.AllowedIPs,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), child+"=1")
	cmd.Stdin = strings.NewReader(string(input))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if asUser != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: asUser, Gid: asUser}
		cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN}
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if asUser != 0 {
		h.do(func() error { return withTUN(cmd.Start) })
	} else {
		h.do(cmd.Start)
	}
	p := &process{Cmd: cmd, t: h.t}
	h.t.Cleanup(p.kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "ready") {
		h.t.Fatalf("the child says %q, %v", line, err)
	}
	return p
}

// withTUN calls f where every user may open /dev/net/tun, as udev sets it up: in a mount namespace
// of its own, on a thread that ends with it.
func withTUN(f func() error) error {
	space, err := here()
	if err != nil {
		return err
	}
	defer space.close()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- errors.Join(
			unix.Setns(int(space.file.Fd()), unix.CLONE_NEWNET),
			unix.Unshare(unix.CLONE_FS|unix.CLONE_NEWNS),
			unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
			unix.Mount("tmpfs", filepath.Dir(clone), "tmpfs", 0, ""),
			unix.Mknod(clone, unix.S_IFCHR, int(unix.Mkdev(10, 200))),
			os.Chmod(clone, 0o666),
			f(),
		)
	}()
	return <-done
}

// kill kills the process without a warning, and waits for it.
func (p *process) kill() { p.end(syscall.SIGKILL) }

func (p *process) end(s syscall.Signal) {
	if p.done {
		return
	}
	p.done = true
	_ = p.Process.Signal(s)
	if err := p.Wait(); s == syscall.SIGTERM && err != nil {
		p.t.Errorf("the child's end: %v", err)
	}
}
