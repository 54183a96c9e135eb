package rescue

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"anymx/edge/config"
	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/spool"
	"anymx/tests/kit"
)

func TestMain(m *testing.M) { os.Exit(kit.Run(m, kit.Leaks{Files: true})) }

// Clients of ingress are turned away and requests are refused with the reason, until the spool is set
// aside; its listener stays open for the node.
func TestServe(t *testing.T) {
	dir, err := os.MkdirTemp("", "rescue") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	damaged := filepath.Join(dir, "spool")
	s, err := spool.Open(spool.Options{Dir: damaged})
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := &config.Config{}
	c.Node.Hostname, c.Node.Control = "mx.example.net", filepath.Join(dir, "edge.sock")
	why := &spool.Unsound{Dir: damaged, Problems: []string{"its log is cut"}}
	r := New(Options{Config: c, Unsound: why, Listeners: []net.Listener{l}, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	ended := make(chan error, 1)
	go func() { ended <- r.Serve(t.Context()) }()

	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if text, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(text), "421 4.3.0 mx.example.net ") {
		t.Errorf("%q, %v", text, err)
	}
	client := control.NewClient(c.Node.Control)
	defer client.Close()
	if st, err := client.Status(t.Context()); err != nil || st.Phase != api.Starting || st.Ready.OK || st.Spool.Problem != why.Error() {
		t.Errorf("%+v, %v", st, err)
	}
	var refused *api.Error
	if _, err := client.Resume(t.Context()); !errors.As(err, &refused) || refused.Code != api.Unavailable || refused.Text != why.Error() {
		t.Errorf("%v", err)
	}
	if report, err := client.Spool(t.Context()); err != nil || report.Sound() || report.Problems[0] != "its log is cut" {
		t.Errorf("%+v, %v", report, err)
	}
	aside, err := client.SetSpoolAside(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(aside.To); err != nil {
		t.Error(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("still serves after the spool was set aside")
	}
	again, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	if node, err := l.Accept(); err != nil {
		t.Error(err)
	} else {
		node.Close()
	}
}
