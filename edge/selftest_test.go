package edge

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"anymx/edge/config"
	"anymx/edge/delivery/smtpc/smtptest"
	"anymx/edge/mail"
	"anymx/edge/operate/api"
	"anymx/edge/spool"
	"anymx/tests/kit"
)

// running is a whole node in this process, on listeners of the test.
type running struct {
	*Node
	t   *testing.T
	end func() error // ends the node and waits for it

	mu  sync.Mutex
	log bytes.Buffer // lines of the mail log

	stall sync.Mutex // blocks the logging of the start of a drain step
}

func (r *running) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(p)
}

func (r *running) mailLog() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}

// toml returns the config of a node whose core is never reachable.
func toml(dir, ingress, more string) string {
	return fmt.Sprintf(`[node]
name = "test1"
hostname = "mx.example.net"
state_dir = %q
control = %q
metrics = ""
shutdown_grace = "2s"
[ingress]
%s
[core]
addresses = ["127.0.0.1:1"]
[spool]
disk_reserve = "64MiB"
[[domain]]
name = "example.net"
%s`, filepath.Join(dir, "state"), filepath.Join(dir, "edge.sock"), ingress, more)
}

// open opens a node that the test has to run.
func open(t *testing.T, dir, ingress, more string, listeners ...net.Listener) *running {
	t.Helper()
	return openWith(t, dir, toml(dir, ingress, more), listeners...)
}

func openWith(t *testing.T, dir, text string, listeners ...net.Listener) *running {
	t.Helper()
	file := filepath.Join(dir, "anymx.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(file, "core")
	if err != nil {
		t.Fatal(err)
	}
	if len(listeners) > 0 {
		c.Ingress.Listen = nil
		for _, l := range listeners {
			c.Ingress.Listen = append(c.Ingress.Listen, l.Addr().String())
		}
	}
	r := &running{t: t}
	r.Node, err = Open(Options{
		File: file, Config: c, Listeners: listeners, Stderr: r, Log: slog.New(stallable{slog.NewTextHandler(t.Output(), nil), &r.stall}), Level: new(slog.LevelVar),
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// run runs the node until the test ends or end is called.
func (r *running) run() *running {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.end = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	r.t.Cleanup(func() {
		if err := r.end(); err != nil {
			r.t.Error(err)
		}
	})
	return r
}

func (r *running) awaitSelfTest() {
	r.t.Helper()
	kit.Eventually(r.t, "the self-test has passed", func() bool { return r.selfTest.Passed() == nil })
}

func listenAt(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Skip("this host has no ", address, ": ", err)
	}
	return l
}

// short returns a folder whose path is short enough for a socket.
func short(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "selftest")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// pair writes a certificate for mx.example.net and returns the config keys for it.
func pair(t *testing.T, dir string) string {
	t.Helper()
	cert, _ := smtptest.Certificate("mx.example.net")
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: cert.Certificate[0]}, "key.pem": {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return fmt.Sprintf("tls_cert = %q\ntls_key = %q\n", filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
}

// wantNoTrace fails the test if a self-test has left anything in the node: in its spool, its queue,
// its mail log, or its metrics of mail and sessions.
func (r *running) wantNoTrace() {
	r.t.Helper()
	if log := r.mailLog(); log != "" {
		r.t.Errorf("the log of mail says %s", log)
	}
	if s := r.spool.Stats(); s.Messages != 0 || s.Bytes != 0 || s.Drafts != 0 {
		r.t.Errorf("the spool says %+v", s)
	}
	if err := r.spool.Each(func(e spool.Entry) error { return fmt.Errorf("%s is left", e.ID) }); err != nil {
		r.t.Error(err)
	}
	if s := r.queue.Stats(); s.Legs() != 0 {
		r.t.Errorf("the queue says %+v", s)
	}
	families, err := r.metrics.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		name := f.GetName()
		if !strings.HasPrefix(name, "anymx_smtpd_") && !strings.HasPrefix(name, "anymx_ingress_") && !strings.HasPrefix(name, "anymx_queue_") ||
			name == "anymx_ingress_connections_limit" || name == "anymx_ingress_memory_limit_bytes" {
			continue
		}
		for _, m := range f.Metric {
			if v := m.GetCounter().GetValue() + m.GetGauge().GetValue(); v != 0 {
				r.t.Errorf("%s%v is %v", name, m.Label, v)
			}
		}
	}
}

// TestSelfTest runs nodes with everything that can refuse clients: none of it refuses a self-test,
// and no self-test is counted as mail.
func TestSelfTest(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		ingress string
		tls     bool
		config  string
	}{
		"as it comes":          {},
		"PROXY protocol":       {ingress: `proxy_protocol_from = ["127.0.0.0/8", "::1/128"]`},
		"STARTTLS is required": {ingress: "starttls_required = true", tls: true},
		"banner delay":         {ingress: "banner_delay = \"30s\""},
		"session limits":       {ingress: "max_messages_per_connection = 1\nmax_commands = 1\nmax_recipients = 1\n", config: "[log]\nsessions = true\n"},
		"a wildcard domain":    {config: "[[domain]]\nname = \"*.invalid\"\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := short(t)
			if test.tls {
				test.ingress += "\n" + pair(t, dir)
			}
			r := open(t, dir, test.ingress, test.config,
				listenAt(t, "127.0.0.1:0"), listenAt(t, "[::]:0"), listenAt(t, "0.0.0.0:0"), listenAt(t, "[::1]:0")).run()
			r.awaitSelfTest()
			passed, err := r.SelfTest(t.Context())
			if err != nil || len(passed.Listeners) != 4 || passed.Refusing != "" {
				t.Fatalf("%+v, %v", passed, err)
			}
			seen := map[mail.ID]bool{}
			for i, l := range passed.Listeners {
				if l.Address != r.Addresses()[i].String() || seen[l.ID] || l.Bytes < 200 || l.Took <= 0 {
					t.Errorf("%+v", l)
				}
				seen[l.ID] = true
			}
			r.wantNoTrace()
			if err := r.end(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Many self-tests at a time, with all limits reached, neither disturb each other nor take capacity
// from clients.
func TestSelfTestsAtOnce(t *testing.T) {
	t.Parallel()
	r := open(t, short(t), "max_connections = 1\nmax_connections_per_prefix = 1\n", "", listenAt(t, "127.0.0.1:0")).run()
	r.awaitSelfTest()
	conn, err := net.Dial("tcp", r.Addresses()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	banner := make([]byte, 4)
	if _, err := io.ReadFull(conn, banner); err != nil || string(banner) != "220 " {
		t.Fatalf("%q, %v", banner, err)
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := r.SelfTest(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if open := r.ingress.Registry().Open(); open != 1 {
		t.Errorf("%d connections are open", open)
	}
}

// A node that is out of service still runs its self-test, at its start and later, and answers
// everybody else with 421.
func TestSelfTestWhileDrained(t *testing.T) {
	t.Parallel()
	dir := short(t)
	l := listenAt(t, "127.0.0.1:0")
	address := l.Addr().String()
	r := open(t, dir, "", "", l).run()
	r.awaitSelfTest()
	if err := r.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	for _, start := range []bool{false, true} {
		if start {
			if err := r.end(); err != nil {
				t.Fatal(err)
			}
			r = open(t, dir, "", "", listenAt(t, address)).run()
			r.awaitSelfTest()
		} else if err := r.Drain(t.Context(), api.DrainRequest{Reason: "test"}); err != nil {
			t.Fatal(err)
		}
		kit.Eventually(t, "it is drained", func() bool { phase, _ := r.drain.Phase(); return phase == api.Drained })
		if _, err := r.SelfTest(t.Context()); err != nil {
			t.Errorf("started drained %v: %v", start, err)
		}
		if err := r.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "drained: test") {
			t.Errorf("ready: %v", err)
		}
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		if line, _ := io.ReadAll(io.LimitReader(conn, 4)); string(line) != "421 " {
			t.Errorf("a client is told %q", line)
		}
		_ = conn.Close()
	}
}

// A spool at its high-water mark refuses mail; a self-test reports that and passes, and a node
// starts.
func TestSelfTestOfAFullSpool(t *testing.T) {
	t.Parallel()
	dir := short(t)
	r := open(t, dir, "", "", listenAt(t, "127.0.0.1:0")).run()
	r.awaitSelfTest()
	draft, err := r.spool.BeginDraft()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := draft.Write(make([]byte, 4000)); err != nil {
		t.Fatal(err)
	}
	if _, err := draft.Commit(&mail.Envelope{Arrived: time.Now(), Recipients: []mail.Recipient{{Path: mail.Path{Local: "b", Domain: "example.net"}}}}); err != nil {
		t.Fatal(err)
	}
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
	r = openWith(t, dir, strings.Replace(toml(dir, "", ""), "[spool]\n", "[spool]\nmax_messages = 1\n", 1), listenAt(t, "127.0.0.1:0")).run()
	r.awaitSelfTest()
	passed, err := r.SelfTest(t.Context())
	if err != nil || !strings.Contains(passed.Refusing, string(spool.ReasonMessages)) {
		t.Errorf("%+v, %v", passed, err)
	}
	if err := r.Ready(t.Context()); err != nil {
		t.Errorf("a backlog withdraws the node: %v", err)
	}
}

// A node that can't reach its own listener is not ready, says why, tries again, and ends when
// asked.
func TestSelfTestFails(t *testing.T) {
	t.Parallel()
	l := listenAt(t, "127.0.0.1:0")
	port := l.Addr().(*net.TCPAddr).Port
	elsewhere := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 77), Port: port} // not an address of this host
	r := open(t, short(t), "", "", &liar{l, elsewhere}).run()
	var err error
	kit.Eventually(t, "the reason is known", func() bool {
		err = r.Ready(context.Background())
		return err != nil && strings.Contains(err.Error(), "the self-test has not passed yet: ")
	})
	kit.Eventually(t, "it is tried", func() bool {
		err = r.Ready(context.Background())
		return strings.Contains(err.Error(), "this host does not have the address 192.0.2.77")
	})
	if _, err := r.SelfTest(t.Context()); err == nil {
		t.Error("the self-test has passed")
	}
	r.wantNoTrace()
	if err := r.end(); err != nil {
		t.Error(err)
	}
}

// liar is a listener that reports a wrong address.
type liar struct {
	net.Listener
	addr net.Addr
}

func (l *liar) Addr() net.Addr { return l.addr }

// A stranger on the port of ingress does not pass the self-test.
func TestSelfTestThroughAStranger(t *testing.T) {
	t.Parallel()
	l := listenAt(t, "127.0.0.1:0")
	other := smtptest.Start(t, &smtptest.Server{})
	host, err := netip.ParseAddrPort(other.Addr())
	if err != nil {
		t.Fatal(err)
	}
	r := open(t, short(t), "", "", &liar{l, net.TCPAddrFromAddrPort(host)}).run()
	kit.Eventually(t, "it has run", func() bool {
		err = r.selfTest.Passed()
		return err == nil || !strings.Contains(err.Error(), "so far")
	})
	if err == nil || !strings.Contains(err.Error(), "a 250 for a message that was not stored") {
		t.Error(err)
	}
}
