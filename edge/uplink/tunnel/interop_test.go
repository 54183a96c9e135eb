package tunnel

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestInterop uses Debian's wireguard-go as the remote end, configured by its wg.
func TestInterop(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	for _, program := range []string{"wireguard-go", "wg"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed (Debian's wireguard-go, wireguard-tools)", program)
		}
	}
	name := fmt.Sprintf("anymx%d", os.Getpid()) // all namespaces share the directory of its socket
	remote := exec.Command("wireguard-go", "-f", name)
	remote.Env = append(os.Environ(), "LOG_LEVEL=error")
	p.b.do(remote.Start)
	t.Cleanup(func() {
		_ = remote.Process.Signal(syscall.SIGTERM)
		_ = remote.Wait()
	})
	wg := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("wg", args...)
		var out []byte
		p.b.do(func() (err error) { out, err = cmd.CombinedOutput(); return err })
		return string(out)
	}
	wait(t, "wireguard-go's socket", func() bool { _, err := os.Stat("/var/run/wireguard/" + name + ".sock"); return err == nil })

	keys := t.TempDir()
	write := func(file string, k Key) string {
		path := filepath.Join(keys, file)
		if err := os.WriteFile(path, append(k.Text(), '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	peer := p.sb.Peers[0]
	wg("set", name, "listen-port", "51820", "private-key", write("private", p.sb.PrivateKey),
		"peer", peer.PublicKey.String(), "preshared-key", write("shared", peer.Preshared), "allowed-ips", "10.77.0.1/32,fd77::1/128")
	p.b.address(name, "10.77.0.2/24")
	p.b.address(name, "fd77::2/64")

	a := p.a.open(Options{}, p.sa)
	wait(t, "the handshake", func() bool { return a.Status().Up })
	for _, address := range []string{"10.77.0.2:2525", "[fd77::2]:2525"} {
		s := p.b.serve(address, echo)
		p.a.passes(s.address, 8<<20)
	}
	// Both ends report the same.
	handshake := strings.Fields(wg("show", name, "latest-handshakes"))
	if len(handshake) != 2 || handshake[0] != p.sa.PrivateKey.PublicKey().String() {
		t.Fatalf("the remote end's handshakes are %q", handshake)
	}
	if at, err := strconv.ParseInt(handshake[1], 10, 64); err != nil || a.Status().Peers[0].LastHandshake.Sub(time.Unix(at, 0)).Abs() > 2*time.Second {
		t.Errorf("the remote end's handshake was at %s, this end's at %s", handshake[1], a.Status().Peers[0].LastHandshake)
	}
	counted := strings.Fields(wg("show", name, "transfer"))
	st := a.Status().Peers[0]
	if len(counted) != 3 {
		t.Fatalf("the remote end's counters are %q", counted)
	}
	if received, _ := strconv.ParseInt(counted[1], 10, 64); received < 16<<20 || received > st.Sent {
		t.Errorf("the remote end received %d bytes, this end sent %d", received, st.Sent)
	}

	// The remote end drops the preshared key: the next handshake fails, and succeeds once this end
	// has dropped it too.
	wg("set", name, "peer", peer.PublicKey.String(), "remove")
	wg("set", name, "peer", peer.PublicKey.String(), "allowed-ips", "10.77.0.1/32,fd77::1/128")
	a.stop()
	a = p.a.open(Options{}, p.sa)
	s := p.b.serve("10.77.0.2:2526", echo)
	if c, err := p.a.dial(s.address, time.Second); err == nil {
		c.Close()
		t.Error("a connection passes with a preshared key at one end")
	}
	a.settings.Peers[0].Preshared = Key{}
	a.apply()
	p.a.passes(s.address, 1<<16)
}
