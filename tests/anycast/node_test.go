package anycast

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/tests/pop"
)

const (
	service4 = "192.0.2.25/32"
	service6 = "2001:db8:25::25/128"
	prefix4  = "192.0.2.0/24"
	prefix6  = "2001:db8:25::/48"
	graceful = " 65535:0"
	// long is how long anything may take. What must be fast is measured by
	// the benchmark.
	long = 20 * time.Second
)

// node is anymx-edge and anymx-bgp on service addresses of lo.
type node struct {
	t       testing.TB
	dir     string
	bin     string
	config  string // file
	edge    *pop.Program
	bgp     *pop.Program
	speaker *control.SpeakerClient
}

// settings are what tests change in the config.
type settings struct {
	routers  []string // addresses
	ingress  string   // more keys
	health   string   // more keys
	riseTime string   // "" means 500ms
	peer     string   // more keys of each peer
	drain    string   // keys
	grace    string   // node.shutdown_grace; "" means 2s
	prefixes string   // "" means both
}

// newNode writes the config and puts the service addresses on lo. Nothing runs
// yet.
func newNode(t testing.TB, s settings) *node {
	t.Helper()
	needNamespace(t)
	n := &node{t: t, dir: t.TempDir(), bin: pop.Build(t)}
	n.config = filepath.Join(n.dir, "anymx.toml")
	run, err := os.MkdirTemp("", "node") // a unix socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(run) })
	if err := os.Symlink(run, filepath.Join(n.dir, "run")); err != nil {
		t.Fatal(err)
	}
	for _, a := range []string{service4, service6} {
		address(t, a, true)
	}
	n.speaker = control.NewSpeakerClient(filepath.Join(run, "bgp.sock"))
	t.Cleanup(n.speaker.Close)
	n.write(s)
	return n
}

// write writes the config file.
func (n *node) write(s settings) {
	n.t.Helper()
	run, err := os.Readlink(filepath.Join(n.dir, "run"))
	if err != nil {
		n.t.Fatal(err)
	}
	if s.grace == "" {
		s.grace = "2s"
	}
	if s.riseTime == "" {
		s.riseTime = "500ms"
	}
	if s.prefixes == "" {
		s.prefixes = fmt.Sprintf("%q, %q", prefix4, prefix6)
	}
	text := fmt.Sprintf(config, n.dir, run, s.grace, s.ingress, service4, service6, s.prefixes, nodeASN, s.riseTime, s.health, s.drain)
	for _, r := range s.routers {
		text += fmt.Sprintf(peer, r, routerASN, s.peer)
	}
	if err := os.WriteFile(n.config, []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

const config = `[node]
name = "test1"
hostname = "mx.example.net"
state_dir = "%[1]s/state"
control = "%[2]s/edge.sock"
metrics = ""
shutdown_grace = %[3]q

[ingress]
listen = ["[::]:25", "[::]:8025"]
%[4]s

[core]
addresses = ["127.0.0.9:2525"]

[spool]
disk_reserve = "64MiB"

[[domain]]
name = "example.net"

[anycast]
addresses = [%[5]q, %[6]q]
prefixes = [%[7]s]

[net]
control = "%[2]s/net.sock"

[bgp]
asn = %[8]d
router_id = "198.51.100.2"
control = "%[2]s/bgp.sock"
metrics = ""

[bgp.health]
rise_time = %[9]q
%[10]s

[drain]
%[11]s
`

const peer = `
[[bgp.peer]]
address = %q
asn = %d
local_address = "127.0.0.1"
next_hop6 = "2001:db8::1"
connect_retry = "1s"
%s
`

// start starts both programs and waits until the edge takes mail.
func (n *node) start() {
	n.t.Helper()
	n.startEdge()
	n.startBGP()
}

func (n *node) startEdge() {
	n.t.Helper()
	n.edge = pop.Run(n.t, filepath.Join(n.bin, "anymx-edge"), "-config", n.config)
	n.edge.Await("127.0.0.1:25")
}

func (n *node) startBGP() {
	n.t.Helper()
	n.bgp = pop.Run(n.t, filepath.Join(n.bin, "anymx-bgp"), "-config", n.config)
}

// status waits until the speaker's status is as wanted.
func (n *node) status(what string, good func(*api.SpeakerStatus) bool) api.SpeakerStatus {
	n.t.Helper()
	var s api.SpeakerStatus
	var err error
	for end := time.Now().Add(long); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if s, err = n.speaker.Status(n.t.Context()); err == nil && good(&s) {
			return s
		}
	}
	n.t.Fatalf("not in time: %s: %v\n%+v", what, err, s)
	return s
}

// awaitBusy waits until the speaker has heard 421.
func (n *node) awaitBusy() api.SpeakerStatus {
	n.t.Helper()
	return n.status("busy", func(s *api.SpeakerStatus) bool { return strings.Contains(s.Health.Reason, "421") })
}

// order sends an order that must be taken.
func (n *node) order(o api.DesiredState) api.SpeakerStatus {
	n.t.Helper()
	s, err := n.speaker.SetDesired(n.t.Context(), o)
	if err != nil {
		n.t.Fatal(err)
	}
	return s
}

// logged waits for a line of anymx-bgp with all of these in it.
func (n *node) logged(texts ...string) string {
	n.t.Helper()
	for end := time.Now().Add(long); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		for line := range strings.SplitSeq(n.bgp.Log(), "\n") {
			all := true
			for _, text := range texts {
				all = all && strings.Contains(line, text)
			}
			if all {
				return line
			}
		}
	}
	n.t.Fatalf("no line with %q in\n%s", texts, n.bgp.Log())
	return ""
}

func (n *node) reload() { n.bgp.Signal(syscall.SIGHUP) }
