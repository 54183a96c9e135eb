package network

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/uplink/tunnel"
	"anymx/tests/kit"
	"anymx/tests/pop"
)

// user is the user of the program: one that does not exist on the machine.
const user = 61234

// Capabilities of the program, as for setpriv: what it needs without and with a shield.
const (
	plain    = ",+net_admin"
	shielded = ",+net_admin,+bpf,+perfmon"
)

// pins is where the shield of a site is pinned: in a BPF file system of the site, in a folder of
// the user.
const pins = "/mnt/bpf/node/pins"

// site is a network namespace and a mount namespace of one node, held by an idle process. Its
// /dev/net/tun is open to all, as udev makes it.
type site struct {
	t    *testing.T
	name string
	dir  string // owned by the user
	pid  int    // of the holder
}

// newSite creates the namespaces, which end with the test.
func newSite(t *testing.T, name string) *site {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may make network namespaces")
	}
	for _, tool := range []string{"unshare", "nsenter", "setpriv", "ip", "ping"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	dir, err := os.MkdirTemp("", "anymx-net-"+name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chown(dir, user, user); err != nil {
		t.Fatal(err)
	}
	script := `set -e
mount -t tmpfs -o mode=755,dev none /mnt
mknod -m 666 /mnt/tun c 10 200
mount --bind /mnt/tun /dev/net/tun
mkdir -p /mnt/bpf
if mount -t bpf bpf /mnt/bpf; then mkdir /mnt/bpf/node && chown USER:USER /mnt/bpf/node; fi
ip link set lo up
echo ready
exec sleep 600`
	script = strings.ReplaceAll(script, "USER", strconv.Itoa(user))
	holder := exec.Command("unshare", "--net", "--mount", "sh", "-c", script)
	holder.Stderr = os.Stderr
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = holder.Process.Kill()
		_ = holder.Wait()
	})
	line := make([]byte, 6)
	if _, err := out.Read(line); err != nil || string(line) != "ready\n" {
		t.Skipf("cannot make the namespaces of a node: %v", err)
	}
	return &site{t: t, name: name, dir: dir, pid: holder.Process.Pid}
}

// command returns a command that runs in the site.
func (s *site) command(args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"-t", strconv.Itoa(s.pid), "-n", "-m", "--"}, args...)...)
}

func (s *site) ip(command string) string {
	s.t.Helper()
	out, err := s.command(append([]string{"ip"}, strings.Fields(command)...)...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s: ip %s: %v: %s", s.name, command, err, out)
	}
	return string(out)
}

// all returns everything in the site that the program manages.
func (s *site) all() string {
	var b strings.Builder
	for _, command := range []string{
		"-o address show", "-4 route show table all", "-6 route show table all", "-4 rule show", "-6 rule show",
	} {
		b.WriteString(s.ip(command))
	}
	return b.String()
}

// awaitAddresses waits until eth0 has its link-local address, and duplicate address detection has finished.
func (s *site) awaitAddresses() {
	s.t.Helper()
	kit.Eventually(s.t, s.name+" has finished duplicate address detection", func() bool {
		addresses := s.ip("-6 address show dev eth0")
		return strings.Contains(addresses, "scope link") && !strings.Contains(addresses, "tentative")
	})
}

// program returns the program in the site, run as the user, with these capabilities and unable to
// gain others.
func (s *site) program(capabilities string, args ...string) *exec.Cmd {
	id := strconv.Itoa(user)
	return s.command(append([]string{
		"setpriv", "--reuid", id, "--regid", id, "--clear-groups", "--no-new-privs",
		"--bounding-set", "-all" + capabilities, "--inh-caps", "-all" + capabilities, "--ambient-caps", "-all" + capabilities,
		"--securebits", "+noroot,+noroot_locked,+no_setuid_fixup,+no_setuid_fixup_locked",
		filepath.Join(pop.Build(s.t), "anymx-net"), "-config", s.config(),
	}, args...)...)
}

func (s *site) config() string { return filepath.Join(s.dir, "anymx.toml") }
func (s *site) socket() string { return filepath.Join(s.dir, "net.sock") }

// write writes a file that the program reads.
func (s *site) write(name, text string) {
	s.t.Helper()
	file := filepath.Join(s.dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Chown(file, user, user); err != nil {
		s.t.Fatal(err)
	}
}

// configure writes a config with this program's part.
func (s *site) configure(text string) {
	s.t.Helper()
	s.write("anymx.toml", fmt.Sprintf(`[node]
name = %q
hostname = "mx.example.net"
state_dir = %q
[net]
control = %q
metrics = "127.0.0.1:9927"
`, s.name, s.dir, s.socket())+strings.ReplaceAll(text, "<dir>", s.dir))
}

// key creates a private key in the file wg.key and returns the public one.
func (s *site) key() string {
	s.t.Helper()
	key := tunnel.GenerateKey()
	s.write("wg.key", string(key.Text())+"\n")
	public := key.PublicKey()
	return base64.StdEncoding.EncodeToString(public[:])
}

// running is the program while it runs.
type running struct {
	*kit.Process
	site *site
}

// start starts the program with only CAP_NET_ADMIN, and waits until good accepts its status.
func (s *site) start(good func(api.NetworkStatus) bool) *running {
	s.t.Helper()
	return s.startWith(plain, good)
}

func (s *site) startWith(capabilities string, good func(api.NetworkStatus) bool) *running {
	s.t.Helper()
	r := &running{kit.StartFor(s.t, s.program(capabilities), "anymx-net of "+s.name), s}
	s.until("good", good)
	return r
}

// reload has the program read its config again.
func (r *running) reload() {
	r.site.t.Helper()
	if err := r.Signal(syscall.SIGHUP); err != nil {
		r.site.t.Fatal(err)
	}
}

// end ends the program by a signal and returns its exit code, -1 for a kill.
func (r *running) end(signal syscall.Signal) int {
	r.site.t.Helper()
	if err := r.Signal(signal); err != nil {
		r.site.t.Fatal(err)
	}
	if err := r.Wait(kit.Patience); err != nil {
		r.site.t.Fatal(err)
	}
	return r.ExitCode()
}

// status returns the program's status.
func (s *site) status() (api.NetworkStatus, error) {
	c := control.NewNetworkClient(s.socket())
	defer c.Close()
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Second)
	defer cancel()
	return c.Status(ctx)
}

// metrics returns the program's metrics.
func (s *site) metrics() string {
	s.t.Helper()
	_, text := s.ask(http.MethodGet, "/metrics", "")
	return text
}

// ask sends a request to the program's socket.
func (s *site) ask(method, path, body string) (status int, text string) {
	s.t.Helper()
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", s.socket())
		},
	}}
	request, err := http.NewRequestWithContext(s.t.Context(), method, "http://anymx"+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	answer, err := client.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	read, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer.StatusCode, string(read)
}

// until waits until good accepts the program's status.
func (s *site) until(what string, good func(api.NetworkStatus) bool) {
	s.t.Helper()
	err := kit.Poll(s.t.Context(), kit.Patience, func(context.Context) error {
		last, err := s.status()
		if err == nil && !good(last) {
			err = fmt.Errorf("%+v, tunnel %+v, shield %+v", last, last.Tunnel, last.Shield)
		}
		return err
	})
	if err != nil {
		s.t.Fatalf("%s: not %s %v", s.name, what, err)
	}
}

// well reports that nothing is missing.
func well(s api.NetworkStatus) bool { return s.Problem == "" }

// up also reports that the tunnel's peer has answered.
func up(s api.NetworkStatus) bool { return s.Problem == "" && s.Tunnel != nil && s.Tunnel.Up }

// once runs the program to its end.
func (s *site) once(capabilities string, args ...string) (out, errs string, code int) {
	s.t.Helper()
	cmd := s.program(capabilities, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run() // the caller checks the exit code
	return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}
