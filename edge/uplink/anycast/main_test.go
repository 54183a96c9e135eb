package anycast

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"anymx/edge/config"
	"anymx/edge/service"
	"anymx/tests/netns"
)

// TestMain runs the tests in a network namespace of their own: announcers dial their
// routers and ask service addresses whether they are in service.
func TestMain(m *testing.M) { os.Exit(netns.Main(func() int { return runTests(m) })) }

// runTests fails the tests if a goroutine of this package outlives them.
func runTests(m *testing.M) int {
	code := m.Run()
	for end := time.Now().Add(5 * time.Second); code == 0; time.Sleep(10 * time.Millisecond) {
		buf := make([]byte, 1<<20)
		var left []string
		for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(stack, "anymx/") && !strings.Contains(stack, "runTests") {
				left = append(left, stack)
			}
		}
		if len(left) == 0 {
			break
		}
		if time.Now().After(end) {
			fmt.Fprintln(os.Stderr, "goroutines left behind:\n"+strings.Join(left, "\n\n"))
			code = 1
		}
	}
	return code
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

// testEnv has the config above, with more behind it.
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

// lines is a log that may be read while it is written.
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

func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not in time")
		}
	}
}

// contextWithDeadline ends soon.
func contextWithDeadline(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), 20*time.Millisecond)
}
