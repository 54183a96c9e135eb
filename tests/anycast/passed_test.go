package anycast

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"anymx/tests/kit"
)

// On the appliance systemd holds the sockets of ingress: when anymx-edge dies
// they stay open, and a client that connects hears nothing. The routes go as
// fast as without that.
func TestDeathBehindAPassedSocket(t *testing.T) {
	r := newRouter(t, "127.0.0.2")
	n := newNode(t, settings{routers: []string{"127.0.0.2"}})
	var files []*os.File
	for _, address := range []string{"[::]:25", "[::]:8025"} {
		_, file := kit.ListenFile(t, address)
		files = append(files, file)
	}
	// As systemd does it (sd_listen_fds(3)): the process itself has to be named.
	edge := exec.Command("/bin/sh", "-c", `LISTEN_FDS=2 LISTEN_PID=$$ exec "$0" "$@"`,
		filepath.Join(n.bin, "anymx-edge"), "-config", n.config)
	edge.ExtraFiles = files
	if err := edge.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = edge.Wait() // it is killed
	}()
	defer func() {
		_ = edge.Process.Kill()
		<-ended
	}()
	n.startBGP()
	r.await(long, prefix4, prefix6)

	killed := time.Now()
	if err := edge.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	took := r.await(long).Sub(killed)
	t.Logf("gone from the router's table %s after kill -9", took.Round(time.Millisecond))
	if took > 3*time.Second {
		t.Errorf("the routes were gone only after %s", took)
	}
	n.logged("from=announced to=withdrawn", "readyz: connect: connection refused")
	conn, err := net.Dial("tcp", "192.0.2.25:25")
	if err != nil {
		t.Fatal("the socket is not held:", err)
	}
	conn.Close()
}
