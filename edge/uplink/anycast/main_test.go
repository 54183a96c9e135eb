package anycast

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"anymx/edge/config"
	"anymx/edge/service"
	"anymx/tests/kit"
)

// TestMain runs the tests in their own network namespace: announcers dial their routers and probe
// service addresses.
func TestMain(m *testing.M) {
	os.Exit(kit.InNamespace(func() int { return kit.Run(m, kit.Leaks{Of: []string{"anymx/"}}) }))
}

const testConfig = `[node]
name = "ams1"
hostname = "mx.example.net"
state_dir = "DIR/state"
control = "DIR/edge.sock"
shutdown_grace = "2s"
[ingress]
listen = ["[::]:25", "192.0.2.25:8025"]
[core]
addresses = ["127.0.0.1:2525"]
[anycast]
addresses = ["192.0.2.25/32", "2001:db8:25::25/128"]
prefixes = ["192.0.2.0/24", "2001:db8:25::/48"]
[net]
control = "DIR/net.sock"
[bgp]
asn = 64512
router_id = "198.51.100.2"
control = "DIR/bgp.sock"
metrics = ""
[bgp.health]
rise_time = "0s"
[[bgp.peer]]
address = "198.51.100.1"
asn = 64500
next_hop6 = "2001:db8::2"
`

// testEnv returns the environment with the config above, followed by more.
func testEnv(t *testing.T, more string) *service.Env {
	t.Helper()
	dir, err := os.MkdirTemp("", "bgp") // a unix socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	file := filepath.Join(dir, "anymx.toml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(testConfig+more, "DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(file, Sections...)
	if err != nil {
		t.Fatal(err)
	}
	log := new(lines)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", log)
		}
	})
	return &service.Env{File: file, Config: c, Log: slog.New(slog.NewTextHandler(log, nil)), Level: new(slog.LevelVar)}
}

// lines is a log that can be read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// contextWithDeadline returns a context that ends soon.
func contextWithDeadline(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), 20*time.Millisecond)
}
